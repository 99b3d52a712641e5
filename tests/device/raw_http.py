"""HTTP in bytes: requests as nobody should write them, and what comes back on that very connection."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass

GOOD_BODY = b'{"data": [[2.0, 7.0]]}'
GOOD_ANSWER = b"[12.0]"
CHUNKED = "Transfer-Encoding: chunked"
NO_ANSWER = 0
"""The status where the connection ended instead."""


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


def render_request(
    body: bytes = GOOD_BODY, *headers: str, start: str = "POST /score HTTP/1.1", told: bool = True
) -> bytes:
    """A request with these headers besides Host and, unless not to be `told`, its Content-Length."""
    lines = [start, "Host: x", *headers]
    if told:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


GOOD = render_request(GOOD_BODY, "Content-Type: application/json")


class Line:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._said = self.socket.makefile("rb")

    def close(self) -> None:
        self._said.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sent, as far as the server takes it."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read(self, method: str = "POST") -> Reply:
        """The next answer, be it an interim one."""
        try:
            start = self._said.readline()
            if not start:
                return Reply(NO_ANSWER, {}, b"")
            version, status = start.split(b" ")[:2]
            assert version == b"HTTP/1.1", start
            said = http.client.parse_headers(self._said)
            headers = {name.lower(): value for name, value in said.items()}
            assert "transfer-encoding" not in headers
            if method == "HEAD" or status == b"100":
                return Reply(int(status), headers, b"")
            return Reply(int(status), headers, self._said.read(int(headers.get("content-length", -1))))
        except OSError:
            return Reply(NO_ANSWER, {}, b"")

    def is_open(self) -> bool:
        """Whether a good request is answered right on this connection."""
        self.send(GOOD)
        reply = self.read()
        if reply.status == NO_ANSWER:
            return False
        assert (reply.status, reply.body) == (200, GOOD_ANSWER)
        return True


@contextlib.contextmanager
def open_line(port: int) -> Iterator[Line]:
    """A connection that is closed afterwards."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


def port_of(url: str) -> int:
    """The port in an address."""
    return int(url.rpartition(":")[2])


def goes_well(port: int) -> bool:
    """Whether a good request is answered right, on a connection of its own."""
    with open_line(port) as line:
        return line.is_open()
