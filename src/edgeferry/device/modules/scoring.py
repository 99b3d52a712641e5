"""`POST /score`: quick models answer on the loop; others, and large bodies, in the worker's thread.

The answers of one round of the loop are captured together, with one write, and go out behind it.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from functools import partial
from typing import Any

from edgeferry.device.modules.capture import Asked, Captures
from edgeferry.device.modules.http_request import Request
from edgeferry.device.modules.loading import Answer, Read, Served, answer_body, choose_reader
from edgeferry.device.modules.metrics import Latencies
from edgeferry.device.modules.worker import Job, Worker
from edgeferry.domain.capture import USER
from edgeferry.wire.capture import ID_HEADER, PURPOSE_HEADER, parse_purpose, parse_request_id
from edgeferry.wire.serving import PNG

LARGE_BODY_BYTES = 256 * 1024
"""Larger bodies are read and scored off the loop, so that others are not kept waiting."""
DEADLINE_S = 30.0
DEADLINE_HEADER = "X-Edgeferry-Deadline-Ms"
"""Milliseconds after which the caller needs no answer any more; it can only shorten the deadline."""
_AGAIN = b"Retry-After: 1\r\n"
_ANYBODY = Asked("", USER)
_ID, _PURPOSE, _DEADLINE = (name.lower().encode() for name in (ID_HEADER, PURPOSE_HEADER, DEADLINE_HEADER))


class Scoring:
    """Answers for one model, once it is there."""

    def __init__(self, worker: Worker, deadline_s: float = DEADLINE_S) -> None:
        self.latencies = Latencies()
        self.served: Served | None = None
        self.captures: Captures | None = None
        self.deadline_s = deadline_s
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._group: list[tuple[Request, int, bytes]] = []

    def is_stuck(self) -> bool:
        """Whether the model has been at one request for longer than any deadline."""
        return self.served is not None and self._worker.busy_s() > 2 * self.deadline_s

    def take(self, request: Request) -> None:
        """The request is answered, now or later."""
        began = time.perf_counter()
        served = self.served
        if served is None or self.captures is None:
            request.refuse(503, "the model is still being loaded", "ask again in a moment", _AGAIN)
            return
        headers = request.headers
        kind = headers.get(b"content-type")
        read = served.read if kind is None or kind == b"application/json" else choose_reader(served, kind)
        if read is None:
            self.captures.refuse()
            _refuse_image(served, request)
        elif served.quick and len(request.body) <= LARGE_BODY_BYTES:
            self._reply(request, began, answer_body(served, read, request.body))
        else:
            self._hand_over(request, began, served, read)

    def _hand_over(self, request: Request, began: float, served: Served, read: Read) -> None:
        deadline_s = self.deadline_s
        said = request.headers.get(_DEADLINE)
        if said is not None:
            if not said.isdigit() or len(said) > 9:
                request.refuse(400, f"{DEADLINE_HEADER} is no number of milliseconds", "send one, as 500")
                return
            deadline_s = min(deadline_s, int(said) / 1000)
        timer: asyncio.TimerHandle | None = None

        def work() -> Answer | None:
            return answer_body(served, read, request.body) if request.is_waiting else None

        def done(answer: Answer | None) -> None:
            if timer is not None:
                timer.cancel()
            if answer is not None and request.is_waiting:
                self._reply(request, began, answer)

        job = self._worker.submit(work, done)
        if job is None:
            request.refuse(503, "too many requests wait for the model", "ask again in a moment", _AGAIN)
        else:
            timer = self._loop.call_later(deadline_s, self._expire, request, job, deadline_s)

    def _expire(self, request: Request, job: Job, deadline_s: float) -> None:
        within = f"within {deadline_s:g} s"
        if self._worker.give_up(job):
            request.refuse(503, f"the model had no time {within}", "ask again in a moment", _AGAIN)
        else:
            request.refuse(504, f"the model did not answer {within}", "send fewer rows, or allow more time")

    def _reply(self, request: Request, began: float, answer: Answer) -> None:
        status, question, said = answer
        captures = self.captures
        assert captures is not None
        latency_ms = (time.perf_counter() - began) * 1000
        self.latencies.add(latency_ms)
        if status == 400:
            captures.refuse()
        elif captures.folder is not None:
            captures.keep(_read_asked(request), request.body, question, said, status, latency_ms)
            self._group.append((request, status, said))
            if len(self._group) == 1:
                self._loop.call_soon(self._write)
            return
        request.answer(status, said)

    def _write(self) -> None:
        """What this round of the loop kept is written, then its answers go out."""
        assert self.captures is not None
        group, self._group = self._group, []
        try:
            self.captures.write(partial(_send, group))
        except Exception as error:  # noqa: BLE001 - captures never keep a model from answering
            sys.stderr.write("".join(traceback.format_exception(error)))
            _send(group)


def _send(group: list[tuple[Request, int, bytes]]) -> None:
    for request, status, said in group:
        request.answer(status, said)


def _read_asked(request: Request) -> Asked:
    headers: Any = request.headers
    if _ID not in headers and _PURPOSE not in headers:
        return _ANYBODY
    own, purpose = (headers.get(name, b"").decode("latin-1") for name in (_ID, _PURPOSE))
    return Asked(parse_request_id(own), parse_purpose(purpose))


def _refuse_image(served: Served, request: Request) -> None:
    takes = served.card.image
    if takes is None:
        request.refuse(415, "the model takes no images", 'send {"data": [[…]]} as application/json')
        return
    fix = f"send an 8-bit grayscale PNG of {takes.width}×{takes.height} pixels as {PNG}"
    request.refuse(415, "the model takes no images of this kind", fix)
