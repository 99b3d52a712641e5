"""How long to wait before a request is sent again: `Retry-After` (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_FIRST_WAIT_S = 1.0


def choose_wait(retry_after: str, attempt: int, now: float, jitter: float = 0.0) -> float:
    """Seconds to wait after attempt number `attempt` (from 0), never negative: what the header's value says,
    seconds or a date, else 1, 2, 4 … seconds, halved at most by `jitter` (0 to 1); `now` in Unix seconds."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return float(_FIRST_WAIT_S * 2**attempt * (1 - jitter / 2))
