"""`POST /score`: quick models answer on the loop; others, and large bodies, in the worker's thread.

The answers of one round of the loop go out together, once they are captured.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from edgeferry.device.modules.capture import ANYBODY, Answered, Asked, Captures
from edgeferry.device.modules.http_request import Request
from edgeferry.device.modules.loading import Answer, Read, Served, answer_body, choose_reader
from edgeferry.device.modules.metrics import Latencies, Tally
from edgeferry.device.modules.worker import Job, Worker
from edgeferry.domain.capture import SMOKE
from edgeferry.wire.capture import ID_HEADER, PURPOSE_HEADER, parse_purpose, parse_request_id
from edgeferry.wire.serving import PNG

LARGE_BODY_BYTES = 256 * 1024
"""Larger bodies are read and scored off the loop, so that others are not kept waiting."""
DEADLINE_S = 30.0
DEADLINE_HEADER = "X-Edgeferry-Deadline-Ms"
"""Milliseconds after which the caller needs no answer any more, whatever the model; it can only shorten the
deadline."""
_AGAIN = b"Retry-After: 1\r\n"
_PLAIN = b"Accept-Encoding: identity\r\n"
_ID, _PURPOSE, _DEADLINE = (name.lower().encode() for name in (ID_HEADER, PURPOSE_HEADER, DEADLINE_HEADER))
_ENCODING = b"content-encoding"
_MOST_WORD = 40


class Scoring:
    """Answers for one model, once it is there."""

    def __init__(self, worker: Worker, deadline_s: float = DEADLINE_S) -> None:
        self.latencies = Latencies()
        self.tally = Tally()
        self.problem = ""
        """Why there will be none."""
        self.served: Served | None = None
        self.captures: Captures | None = None
        self.deadline_s = deadline_s
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._group: list[Answered] = []
        """Answers of this round of the loop: written together they wake a client once."""

    def is_stuck(self) -> bool:
        """Whether the model has been at one request for longer than any deadline."""
        return self.served is not None and self._worker.busy_s() > 2 * self.deadline_s

    def take(self, request: Request) -> None:
        """The request is answered, now or later."""
        began = time.perf_counter_ns()
        served = self.served
        if served is None or self.captures is None:
            problem = self.problem or "the model is still being loaded"
            request.refuse(503, problem, "ask again in a moment", _AGAIN)
            return
        headers = request.headers
        if _ENCODING in headers and headers[_ENCODING].lower() != b"identity":
            self.captures.refuse()
            said = headers[_ENCODING].decode("latin-1")
            encoding = said if len(said) <= _MOST_WORD else said[:_MOST_WORD] + "…"
            request.refuse(415, f"the body's Content-Encoding is {encoding}", "send it as it is", _PLAIN)
            return
        deadline_s = self.deadline_s
        if _DEADLINE in headers:
            text = headers[_DEADLINE]
            if not text.isdigit() or len(text) > 9:
                self.captures.refuse()
                request.refuse(400, f"{DEADLINE_HEADER} is no number of milliseconds", "send one, as 500")
                return
            deadline_s = min(deadline_s, int(text) / 1000)
        kind = headers.get(b"content-type")
        read = served.read if kind is None or kind == b"application/json" else choose_reader(served, kind)
        if read is None:
            self.captures.refuse()
            _refuse_image(served, request)
        elif served.quick and len(request.body) <= LARGE_BODY_BYTES:
            answer = answer_body(served, read, request.body)
            if time.perf_counter_ns() - began > deadline_s * 1e9:
                self._refuse_late(request, deadline_s)
            else:
                self._reply(request, began, answer)
        else:
            self._hand_over(request, began, served, read, deadline_s)

    def _hand_over(self, request: Request, began: int, served: Served, read: Read, deadline_s: float) -> None:
        timer: asyncio.TimerHandle | None = None

        def work() -> Answer | None:
            return answer_body(served, read, request.body) if request.is_waiting else None

        def done(answer: Answer | BaseException | None) -> None:
            if timer is not None:
                timer.cancel()
            if answer is None or not request.is_waiting:
                return
            try:
                if isinstance(answer, BaseException):
                    raise answer
                self._reply(request, began, answer)
            except BaseException as error:  # noqa: BLE001 - no bug of ours leaves a request unanswered
                sys.stderr.write("".join(traceback.format_exception(error)))
                problem = f"the server failed: {type(error).__name__}"
                self._refuse_unscored(request, 500, problem, "read the module's log")

        job = self._worker.submit(work, done)
        if job is None:
            problem = "too many requests wait for the model"
            self._refuse_unscored(request, 503, problem, "ask again in a moment")
        else:
            timer = self._loop.call_later(deadline_s, self._expire, request, job, deadline_s)

    def _expire(self, request: Request, job: Job, deadline_s: float) -> None:
        if self._worker.give_up(job):
            problem = f"the model had no time within {deadline_s:g} s"
            self._refuse_unscored(request, 503, problem, "ask again in a moment")
        else:
            self._refuse_late(request, deadline_s)

    def _refuse_late(self, request: Request, deadline_s: float) -> None:
        problem = f"the model did not answer within {deadline_s:g} s"
        self._refuse_unscored(request, 504, problem, "send fewer rows, or allow more time")

    def _refuse_unscored(self, request: Request, status: int, problem: str, fix: str) -> None:
        """Not the caller's fault, and counted as such."""
        assert self.captures is not None
        self.captures.refuse()
        if _read_asked(request).purpose != SMOKE:
            self.tally.fail()
        request.refuse(status, problem, fix, _AGAIN if status == 503 else b"")

    def _reply(self, request: Request, began: int, answer: Answer) -> None:
        status, question, said, numbers = answer
        captures = self.captures
        assert captures is not None
        latency_us = (time.perf_counter_ns() - began) // 1000
        latency_ms = latency_us / 1000
        self.latencies.add(latency_ms)
        asked = _read_asked(request)
        if asked.purpose != SMOKE:
            if status == 500:
                self.tally.fail()
            elif status == 200 or numbers:
                self.tally.add(latency_ms, numbers)
        if status == 400:
            captures.refuse()
        self._group.append((request, asked, request.body, question, said, status, latency_us))
        if len(self._group) == 1:
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        """What this round of the loop answered is written, then it goes out."""
        assert self.captures is not None
        group, self._group = self._group, []
        try:
            self.captures.write(group, _send)
        except Exception as error:  # noqa: BLE001 - captures never keep a model from answering
            sys.stderr.write("".join(traceback.format_exception(error)))
            _send(group)


def _send(group: Sequence[Answered]) -> None:
    for request, _, _, _, said, status, _ in group:
        request.answer(status, said)


def _read_asked(request: Request) -> Asked:
    headers: Any = request.headers
    if _ID not in headers and _PURPOSE not in headers:
        return ANYBODY
    own, purpose = (headers.get(name, b"").decode("latin-1") for name in (_ID, _PURPOSE))
    return Asked(parse_request_id(own), parse_purpose(purpose))


def _refuse_image(served: Served, request: Request) -> None:
    takes = served.card.image
    if takes is None:
        request.refuse(415, "the model takes no images", 'send {"data": [[…]]} as application/json')
        return
    fix = f"send an 8-bit grayscale PNG of {takes.width}×{takes.height} pixels as {PNG}"
    request.refuse(415, "the model takes no images of this kind", fix)
