"""Requests by the hundred, good ones mixed with malformed ones, each answer looked at: `ask`."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

from tests.device.raw_http import Line, render_request
from tests.device.test_malformed import BODIES, CONNECTIONS, ROUTES

AT_ONCE = 50
"""Requests sent before their answers are read, on one connection."""
MALFORMED_OF = 10
"""One in so many requests is malformed, and gets its answer on the same connection."""
LARGE_BYTES = 4096
"""Larger malformed requests are as rare as those that end a connection: they would take all the time."""
RARE = 40
"""After so many batches comes one request that is large, or ends its connection."""


class WrongAnswerError(Exception):
    """What came is not what had to come."""


class Asker:
    """One client of the server at `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: Counter[int] = Counter()
        kept = {**BODIES, **ROUTES}
        self._small = _again(
            [(sent, status) for sent, status, _ in kept.values() if len(sent) <= LARGE_BYTES]
        )
        large = [(sent, status) for sent, status, _ in kept.values() if len(sent) > LARGE_BYTES]
        self._rare = _again([*large, *CONNECTIONS.values()])
        self._line = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._said = b""
        self._number = 0

    def close(self) -> None:
        """The connection is closed."""
        self._line.close()

    def ask(self) -> int:
        """How many requests were answered as they had to be; WrongAnswerError otherwise."""
        requests, expected = [], []
        for place in range(AT_ONCE):
            self._number += 1
            if place % MALFORMED_OF == 0:
                sent, status = next(self._small)
                requests.append(sent)
                expected.append((status, None))
            else:
                body = b'{"data": [[%d.5, %d]]}' % (self._number % 1000, self._number % 24)
                requests.append(render_request(body))
                expected.append((200, b"[%.1f]" % (2 * (self._number % 1000 + 0.5) + self._number % 24 + 1)))
        self._line.sendall(b"".join(requests))
        for status, body in expected:
            found, said = self._read()
            self.statuses[found] += 1
            if found != status or (body is not None and said != body):
                raise WrongAnswerError(f"{found} {said!r} instead of {status} {body!r}")
        if self._number % (RARE * AT_ONCE):
            return AT_ONCE
        self._ask_rarely()
        return AT_ONCE + 1

    def _ask_rarely(self) -> None:
        sent, status = next(self._rare)
        line = Line(self.port)
        try:
            line.send(sent)
            found = line.read().status
        finally:
            line.close()
        self.statuses[found] += 1
        if found != status:
            raise WrongAnswerError(f"{found} instead of {status} to {sent[:100]!r}")

    def _read(self) -> tuple[int, bytes]:
        while (end := self._said.find(b"\r\n\r\n")) < 0:
            self._more()
        head = self._said[:end].lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[start:].split(b"\r\n", 1)[0])
        while len(self._said) < end + 4 + length:
            self._more()
        body = self._said[end + 4 : end + 4 + length]
        self._said = self._said[end + 4 + length :]
        return int(head[9:12]), body

    def _more(self) -> None:
        data = self._line.recv(262144)
        if not data:
            raise WrongAnswerError("the connection ended")
        self._said += data


def _again(rows: list[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    while True:
        yield from rows
