"""One request to an engine whose answer is read line by line while it is written, and can be ended at any
time from another thread: the engine then gives up what it does for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

_CONNECT_S = 60.0
_LOOK_S = 0.2
_AT_ONCE = 64 * 1024

BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What `Stream` raises when the engine is not there, or ends or breaks its answer."""


class Stream:
    """A connection of its own to the engine at `url` (`unix:///path` or `tcp://host:port`)."""

    def __init__(self, url: str) -> None:
        self._socket = _connect(url)
        self._connection = http.client.HTTPConnection("localhost")
        self._connection.sock = self._socket
        self._response: http.client.HTTPResponse | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """The status of the answer, as soon as the engine begins it."""
        self._connection.request(method, path, headers=dict(headers))
        self._response = self._connection.getresponse()
        return self._response.status

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """The answer's JSON objects, each as soon as it comes."""
        rest = b""
        # `readline` takes a connection that broke for the end of the answer; `read1` does not.
        while self._response is not None and (came := self._response.read1(_AT_ONCE)):
            *whole, rest = (rest + came).split(b"\n")
            yield from (json.loads(line) for line in whole if line.strip())
        if rest.strip():
            yield json.loads(rest)

    def end(self) -> None:
        """The engine and whoever reads the answer see the connection end; for any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The connection has ended and is freed; for the thread that reads it."""
        self.end()
        if self._response is not None:
            self._response.close()
        self._connection.close()


@contextlib.contextmanager
def ended_by(stream: Stream, given_up: Callable[[], str] | None) -> Iterator[Callable[[], str]]:
    """Meanwhile the stream ends as soon as `given_up` gives a reason; then it is closed. Gives the reason,
    or ""."""
    reasons: list[str] = []
    done = threading.Event()

    def look() -> None:
        while given_up and not done.wait(_LOOK_S):
            reason = given_up()
            if reason:
                reasons.append(reason)
                stream.end()
                return

    if given_up:
        threading.Thread(target=look, name="give up", daemon=True).start()
    try:
        yield lambda: reasons[0] if reasons else ""
    finally:
        done.set()
        stream.close()


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme != "unix":
        connected = socket.create_connection((parts.hostname or "", parts.port or 2375), _CONNECT_S)
    else:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(_CONNECT_S)
        try:
            connected.connect(parts.path)
        except OSError:
            connected.close()
            raise
    connected.settimeout(None)
    return connected
