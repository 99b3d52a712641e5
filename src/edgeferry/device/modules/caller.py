"""One model server beside the companion, asked over HTTP: standard library only."""

from __future__ import annotations

import http.client
import math
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edgeferry.domain.capture import SMOKE
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.capture import PURPOSE_HEADER
from edgeferry.wire.serving import MOST_BODY_BYTES, Health, parse_health

ANSWER_S = 10.0
"""How long a whole answer may take, from the request to its last byte."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    latency_ms: float
    media_type: str
    retry_after: str = ""


class Caller:
    """One model server at `url`, over one connection that is opened anew when it breaks."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        if not host or parts.scheme != "http":
            raise UsageError(f"{url!r} is not an http:// address", fix="correct the model's layer")
        self._prefix = parts.path.rstrip("/")
        self._connection = _Connection(host, port)
        self._most_s = ANSWER_S

    def wait_up_to(self, seconds: float) -> None:
        """From now on whole answers may take so long."""
        self._most_s = seconds

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """The answer; OutsideError (retryable) when none comes, or not all of it in time."""
        headers = {PURPOSE_HEADER: SMOKE}
        if body is not None:
            headers["Content-Type"] = "application/json"
        began = time.perf_counter()
        try:
            self._connection.allow(self._most_s)
            self._connection.request(method, self._prefix + path, body, headers)
            response = self._connection.getresponse()
            said = response.read(MOST_BODY_BYTES + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            self._connection.close()
            why = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                why = f"not all of it within {self._most_s:g} s"
            raise OutsideError(
                f"no answer to {path}: {why}", fix="look at its log", retryable=True
            ) from error
        latency_ms = (time.perf_counter() - began) * 1000
        if len(said) > MOST_BODY_BYTES:
            self._connection.close()
            raise OutsideError(f"the answer to {path} has no end", fix="look at what answers there")
        if response.length:  # read() of so many bytes takes less without a word
            self._connection.close()
            raise OutsideError(f"the answer to {path} is cut short", fix="look at what answers there")
        media_type = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return Reply(response.status, said, latency_ms, media_type, response.getheader("Retry-After") or "")


def fetch_health(url: str) -> Health | None:
    """What the server there says of itself; None when none answers."""
    try:
        caller = Caller(url)
    except UsageError:
        return None
    try:
        return parse_health(caller.call("GET", "/health").body)
    except (OutsideError, UsageError):
        return None
    finally:
        caller.close()


def mark_start(health: Health) -> str:
    """What tells this server from one that was started at another time, or of another image."""
    return f"{health.digest} {health.model_sha256} {health.started_at}"


class _Connection(http.client.HTTPConnection):
    """A connection with one deadline for a whole exchange: the library's own time is for each piece, and a
    server that drips has no end."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._until = math.inf

    def allow(self, seconds: float) -> None:
        """The next exchange may take so long."""
        self.timeout = seconds
        self._until = time.monotonic() + seconds
        if isinstance(self.sock, _Timed):
            self.sock.until = self._until

    def connect(self) -> None:
        super().connect()
        self.sock = _Timed(self.sock.detach(), self._until)


class _Timed(socket.socket):
    """A socket whose pieces together may take until a moment, on the monotonic clock."""

    def __init__(self, handle: int, until: float) -> None:
        super().__init__(fileno=handle)
        self.until = until

    def recv_into(self, *arguments: Any) -> int:
        self._take_rest()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._take_rest()
        super().sendall(*arguments)

    def _take_rest(self) -> None:
        rest = self.until - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        self.settimeout(rest)
