"""One HTTP request as the model server gets it, and how much of one it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import httptools

from edgeferry.wire.serving import MOST_BODY_BYTES, render_refusal

if TYPE_CHECKING:
    from edgeferry.device.modules.http_connection import Connection

JSON = b"application/json"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much, and how long: bytes and seconds. Times are kept to `look_s`, and never cut short."""

    connections: int = 1024
    head_bytes: int = 32 * 1024
    headers: int = 100
    head_s: float = 10
    body_bytes: int = MOST_BODY_BYTES
    body_s: float = 30
    held_bytes: int = 64 * MIB
    """Of all bodies that are arriving or wait for their answers, together."""
    idle_s: float = 75
    """Between two requests of a connection."""
    unread_s: float = 30
    """How long answers may lie unread by a client, before its connection is cut."""
    linger_s: float = 2
    """How long a refused client is still listened to, so that it can read why."""
    drain_s: float = 8
    look_s: float = 1


class Request:
    """One whole request; `answer` is called once, on the loop, at any time."""

    __slots__ = ("_connection", "body", "count", "headers", "is_old", "keep_alive", "method", "size", "url")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.method = b""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        """By name in small letters."""
        self.body = b""
        self.size = 0
        """Bytes of the headers' names and values."""
        self.count = 0
        """Headers, each as often as it was sent."""
        self.is_old = False
        """HTTP/1.0."""
        self.keep_alive = True

    @property
    def path(self) -> bytes:
        """The address's path alone, its escapes undone."""
        try:
            return unquote_to_bytes(httptools.parse_url(self.url).path or b"/")
        except httptools.HttpParserInvalidURLError:
            return self.url

    @property
    def is_waiting(self) -> bool:
        """Whether there still is somebody who has not got an answer."""
        return self._connection.current is self

    def answer(self, status: int, body: bytes, headers: bytes = b"", kind: bytes = JSON) -> None:
        """The answer goes out. `headers`: more of them, each ended by CRLF."""
        self._connection.answer(self, status, body, headers, kind)

    def refuse(self, status: int, problem: str, fix: str, headers: bytes = b"") -> None:
        """The answer says no, and why."""
        self.answer(status, render_refusal(problem, fix), headers)
