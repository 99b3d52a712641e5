"""Messages from devices: telemetry, as a hub keeps it and hands it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_EMPTY_BYTES = 64


@dataclass(frozen=True)
class Message:
    """One message, as it stands at a hub."""

    device: str
    module: str | None
    enqueued_at: str
    """When the hub took it, ISO 8601 UTC."""
    system: Mapping[str, str] = field(default_factory=dict)
    """What every message may carry: `messageId`, `contentType`, `contentEncoding`, `outputName` …"""
    properties: Mapping[str, str | None] = field(default_factory=dict)
    """The application's own."""
    body: bytes = b""
    sequence: int = 0
    """Its number: grows, and is never given twice. 0 before the hub has taken it."""

    @property
    def size_bytes(self) -> int:
        """What counts against a hub's limit: body, names and values, and what an empty one takes."""
        texts = (*self.system.items(), *self.properties.items())
        return (
            _EMPTY_BYTES
            + len(self.body)
            + sum(len(name.encode()) + len((value or "").encode()) for name, value in texts)
        )

    @property
    def is_json(self) -> bool:
        """Whether it says that its body is JSON in UTF-8, the way Azure wants it said: content type
        `application/json`, and encoding `utf-8` beside it or as its charset."""
        media_type, _, parameters = self.system.get("contentType", "").lower().partition(";")
        charset = parameters.strip().removeprefix("charset=").strip('"')
        encoding = self.system.get("contentEncoding", "").lower() or charset
        return media_type.strip() == "application/json" and encoding == "utf-8"


@dataclass(frozen=True)
class MessagePage:
    """Messages in their order, and where to go on."""

    messages: Sequence[Message]
    next: str
    """The cursor behind them; only who gave it can read it."""
    lost: int = 0
    """How many were dropped between the cursor given and these, because a hub keeps only so much."""
