"""The time of day, as the agent writes it down."""

from __future__ import annotations

from datetime import UTC, datetime


def now_text() -> str:
    """Now in UTC: ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
