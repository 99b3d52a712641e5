"""Clients of a model server, all at once, who keep what they were answered; and what its captures say."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgeferry.domain.capture import Cursor, Record
from edgeferry.wire.capture import parse_record
from edgeferry.wire.capture_page import PageRequest, parse_page, render_page_query

ANSWER_S = 60.0
"""Whoever waits longer was not answered."""


class Line:
    """One connection to a server; ConnectionError (or another OSError) when it ends."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def score(self, body: bytes, own_id: str = "") -> tuple[int, bytes]:
        """(status, answer) of `POST /score`."""
        named = f"X-Request-Id: {own_id}\r\n" if own_id else ""
        head = (
            "POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"{named}Content-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        said = b""
        while b"\r\n\r\n" not in said:
            said += self._more()
        said, _, answer = said.partition(b"\r\n\r\n")
        length = said.lower().partition(b"content-length:")[2].split()[0]
        while len(answer) < int(length):
            answer += self._more()
        return int(said.split(b" ", 2)[1]), answer

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        said = self._socket.recv(65536)
        if not said:
            raise ConnectionError("the server hung up")
        return said


@dataclass
class Answers:
    """What a crowd heard. A request has a number, and the id `PREFIX-NUMBER` at the server."""

    prefix: str
    asked: int = 0
    good: dict[int, bytes] = field(default_factory=dict)
    """Answers of status 200, by the request's number."""
    failures: Counter[str] = field(default_factory=Counter)
    took: list[tuple[float, float]] = field(default_factory=list)
    """(when it was due, how long its answer took from then on), of good answers, in seconds."""


class Crowd:
    """Clients on connections of their own; request `number` is `bodies(number)`.

    With a `rate` requests are due that often whether others were answered or not, and waiting counts from
    then on; without one each client asks as soon as it was answered.
    """

    def __init__(
        self,
        port: int,
        bodies: Callable[[int], bytes],
        *,
        clients: int,
        first: int = 0,
        most: int = 1 << 62,
        rate: float = 0.0,
        prefix: str = "r",
        named: bool = True,
        patient: bool = True,
    ) -> None:
        self.answers = Answers(prefix)
        self._port, self._bodies, self._named, self._patient = port, bodies, named, patient
        self._next, self._end, self._rate, self._first = first, first + most, rate, first
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> Answers:
        """All is asked (or the server is gone, for those who are not patient)."""
        for thread in self._threads:
            thread.join()
        return self.answers

    def leave(self) -> Answers:
        """Nothing more is asked, what was asked is answered."""
        self._leaving.set()
        return self.wait()

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self._end or self._leaving.is_set():
                return None
            self._next += 1
            self.answers.asked += 1
            return self._next - 1

    def _ask(self) -> None:
        said, line = self.answers, None
        while (number := self._take()) is not None:
            due = self._began + (number - self._first) / self._rate if self._rate else time.monotonic()
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
            try:
                line = line or Line(self._port)
                status, answer = line.score(
                    self._bodies(number), f"{said.prefix}-{number}" if self._named else ""
                )
            except OSError as error:
                with self._lock:
                    said.failures[type(error).__name__] += 1
                if line:
                    line.close()
                    line = None
                if not self._patient:
                    return
                continue
            if status == 200:
                said.good[number] = answer
                said.took.append((due, time.monotonic() - due))
            else:
                with self._lock:
                    said.failures[f"status {status}"] += 1
        if line:
            line.close()


def fetch(port: int, path: str) -> dict:
    """What a GET is answered, as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        return dict(json.loads(said))


class Captured:
    """The records of a store, read in pages, on and on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cursor = Cursor()
        self.damaged = 0
        self._rest = ""

    def read(self) -> Iterator[Record]:
        """The records that are new since the last time."""
        more = True
        while more:
            query = render_page_query(PageRequest(self.cursor, 100_000, ""))
            page = parse_page(fetch(self.port, f"/captures?{query}"))
            assert not page.more or page.next != self.cursor, f"pages lead nowhere after {self.cursor}"
            *lines, self._rest = (self._rest + page.text).split("\n")
            self.damaged += page.damaged
            self.cursor, more = page.next, page.more
            for line in lines:
                if line:
                    yield parse_record(line.encode())


@dataclass
class Audit:
    """Whether records are what clients were answered."""

    asked: Callable[[int], list[list[float]]]
    """The rows of a request."""
    right: Callable[[int], list[float]]
    """The true answer to a request; clients may have gone before they heard it."""
    seen: Counter[str] = field(default_factory=Counter)
    """Records, by id."""
    wrong: list[str] = field(default_factory=list)
    """Records that nobody asked for, or that say something else than was asked and answered."""
    lost: list[str] = field(default_factory=list)
    _last: int = 0

    def add(self, record: Record, answers: dict[str, Answers]) -> None:
        """One more record."""
        self.seen[record.id] += 1
        prefix, _, number = record.id.rpartition("-")
        if prefix not in answers or not number.isdecimal():
            self.wrong.append(f"{record.id}: nobody asked that")
            return
        heard = answers[prefix].good.get(int(number))
        output = json.loads(record.output)
        if heard is not None and output != json.loads(heard):
            self.wrong.append(f"{record.id}: {output} instead of {heard!r}")
        if heard is None:
            right = self.right(int(number))
            if len(right) != len(output) or max(map(abs, map(float.__sub__, right, output))) > 1e-6:
                self.wrong.append(f"{record.id}: {output} instead of {right}")
        if json.loads(record.inputs) != self.asked(int(number)):
            self.wrong.append(f"{record.id}: other rows")
        if record.sequence <= self._last:
            self.wrong.append(f"{record.id}: sequence {record.sequence} after {self._last}")
        self._last = max(self._last, record.sequence)

    def miss(self, answers: Answers) -> None:
        """What was answered must have been seen by now."""
        named = (f"{answers.prefix}-{number}" for number in answers.good)
        self.lost += [each for each in named if not self.seen[each]]

    def twice(self) -> list[str]:
        """The ids of records that were seen more than once."""
        return [each for each, count in self.seen.items() if count > 1]
