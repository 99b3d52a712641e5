"""Asking one model its smoke cases."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from datetime import UTC, datetime

from edgeferry.device.modules.caller import ANSWER_S, Caller, Reply, mark_start
from edgeferry.domain.smoke import (
    Answer,
    Case,
    CaseSet,
    Evidence,
    Judgement,
    MemoryCase,
    SmokeRequest,
    Verdict,
    decide,
    unjudged,
)
from edgeferry.domain.smoke_judging import judge, render_questions
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.cases import parse_cases
from edgeferry.wire.serving import Health, parse_health, parse_score_response

PAUSE_S = 0.5
TRIES = 5
"""A right answer that was slow, or a server that grew, is asked again, after twice the pause each time: the
case fails only when it is so every time."""
TRY_PAUSE_S = 0.1
UNANSWERED_TRIES = 2
RETURN_S = 15.0
"""How long a server that stopped answering may take to be ready again."""
BUSY = frozenset({429, 503})
BUSY_S = 20.0
"""How long a server may say that it is busy before it is left alone, unjudged."""
WARM_UP = 20
"""Requests before memory is measured."""
MEASURE_S = 20.0
"""How long a slow model is asked for its memory; then fewer repeats have to do."""

_MEMORY = re.compile(rb"^process_resident_memory_bytes(?:\{[^}]*\})? +([0-9.eE+]+)", re.MULTILINE)


def ask(request: SmokeRequest, *, patience_s: float, stopping: threading.Event) -> Verdict:
    """The verdict on one smoke request, with what was answered. Inconclusive when, for `patience_s`, the
    model that was asked for does not answer, is busy or gone; Failed when it is another model or version, its
    cases are not those of the release, or one of them does not hold."""
    try:
        caller = Caller(request.url)
    except UsageError as error:
        return unjudged(request, "Inconclusive", error.problem, now())
    try:
        return _ask(caller, request, patience_s, stopping)
    except Exception as error:  # noqa: BLE001 - whatever it is, the model is not judged, and is asked again
        why = f"it could not be asked: {type(error).__name__}: {error}"
        return unjudged(request, "Inconclusive", why, now())
    finally:
        caller.close()


def _ask(caller: Caller, request: SmokeRequest, patience_s: float, stopping: threading.Event) -> Verdict:
    health = _await(caller, request, patience_s, stopping)
    if isinstance(health, str):
        return unjudged(request, "Inconclusive", health, now())
    if (health.model, health.version) != (request.model, request.version):
        said = f"the image says it is {health.model} version {health.version}"
        return unjudged(request, "Failed", f"{said}; version {request.version} was asked for", now())
    try:
        reply = caller.call("GET", "/cases")
        found = hashlib.sha256(reply.body).hexdigest()
        if reply.status != 200 or found != request.cases_sha256.removeprefix("sha256:"):
            why = f"the cases ({reply.status}, sha256 {found[:12]}…) are not those of the release"
            return unjudged(request, "Failed", why, now())
        case_set = parse_cases(reply.body)
    except OutsideError as error:
        return unjudged(request, "Inconclusive", error.problem, now())
    except UsageError as error:
        return unjudged(request, "Failed", error.problem, now())
    if (case_set.model, case_set.version) != (request.model, request.version):
        why = f"the cases are of {case_set.model} version {case_set.version}"
        return unjudged(request, "Failed", why, now())
    if case_set.model_sha256 and health.model_sha256 != case_set.model_sha256:
        found, packaged = health.model_sha256[:12], case_set.model_sha256[:12]
        why = f"it serves a model of sha256 {found}…, packaged was {packaged}…"
        return unjudged(request, "Failed", why, now())
    try:
        verdict = _Round(caller, request, case_set, stopping).ask_all()
    except _UnjudgedError as why:
        return unjudged(request, "Inconclusive", str(why), now())
    after = _look(caller, request)
    if verdict.state == "Passed" and (isinstance(after, str) or mark_start(after) != mark_start(health)):
        return unjudged(request, "Inconclusive", "it was replaced or ended while it was asked", now())
    return verdict


def _await(
    caller: Caller, request: SmokeRequest, patience_s: float, stopping: threading.Event
) -> Health | str:
    """The health of the image that was asked for, once it is ready; after `patience_s`, what is wrong."""
    deadline = time.monotonic() + patience_s
    while isinstance(health := _look(caller, request), str):
        if stopping.is_set() or time.monotonic() + PAUSE_S > deadline:
            break
        stopping.wait(PAUSE_S)
    return health


def _look(caller: Caller, request: SmokeRequest) -> Health | str:
    """The health of the image that was asked for, if it is ready; else what is wrong."""
    try:
        reply = caller.call("GET", "/health")
        health = parse_health(reply.body)
    except (OutsideError, UsageError) as error:
        return error.problem
    if reply.status != 200 or not health.ready:
        return f"the model is not ready ({reply.status})"
    if health.digest != request.digest and health.model == request.model:
        return f"{health.digest or 'an unnamed image'} answers, {request.digest} was asked for"
    return health


class _UnjudgedError(Exception):
    """The model cannot be judged now; why."""


class _Round:
    """All cases of one request, asked once."""

    def __init__(
        self, caller: Caller, request: SmokeRequest, case_set: CaseSet, stopping: threading.Event
    ) -> None:
        self._caller, self._request, self._case_set = caller, request, case_set
        self._stopping = stopping
        self._busy_until: float | None = None
        self._tries = TRIES

    def ask_all(self) -> Verdict:
        """The verdict; it ends early when a case gets no answer."""
        limits = [case.latency_ms or self._case_set.latency_ms for case in self._case_set.cases]
        self._caller.wait_up_to(max([ANSWER_S, *(2 * limit / 1000 for limit in limits)]))
        judgements: list[Judgement] = []
        evidence: list[Evidence] = []
        for case in self._case_set.cases:
            judgement, answers = self._ask_case(case)
            judgements.append(judgement)
            evidence.append(Evidence(case.id, answers))
            if not answers:
                break
            if judgement.again:
                self._tries = 1
        slowest = [max(answer.latency_ms for answer in one.answers) for one in evidence if one.answers]
        return decide(self._request, self._case_set, judgements, slowest, now(), evidence)

    def _ask_case(self, case: Case) -> tuple[Judgement, tuple[Answer, ...]]:
        tried = unanswered = 0
        while True:
            try:
                answers = self._collect(case)
            except OutsideError as error:
                unanswered += 1
                if unanswered == UNANSWERED_TRIES:
                    return Judgement(case.id, False, error.problem), ()
                self._await_return(error.problem)
                continue
            judgement = judge(case, answers, self._case_set.tolerance, self._case_set.latency_ms)
            tried += 1
            if judgement.passed or not judgement.again or tried >= self._tries or self._stopping.is_set():
                return judgement, answers
            self._stopping.wait(TRY_PAUSE_S * 2**tried)

    def _collect(self, case: Case) -> tuple[Answer, ...]:
        bodies = [json.dumps(body).encode() for body in render_questions(case)]
        if isinstance(case, MemoryCase):
            return self._measure(bodies[0], case.repeats)
        return tuple(self._score(body) for _ in range(case.repeats) for body in bodies)

    def _measure(self, body: bytes, repeats: int) -> tuple[Answer, Answer]:
        """The first answer and the last, or the first that differs, with the memory before and after. The
        latter has the latency that nine of ten stayed within."""
        for _ in range(min(WARM_UP, repeats)):
            self._score(body)
        until = time.monotonic() + MEASURE_S
        before = self._fetch_memory()
        first = last = self._score(body, before)
        latencies = [first.latency_ms]
        for _ in range(repeats - 1):
            last = self._score(body)
            latencies.append(last.latency_ms)
            if (last.status, last.values) != (first.status, first.values) or time.monotonic() > until:
                break
        latency_ms = sorted(latencies)[9 * len(latencies) // 10]
        return first, Answer(last.status, last.values, latency_ms, last.media_type, self._fetch_memory())

    def _score(self, body: bytes, memory_bytes: int | None = None) -> Answer:
        reply = self._caller.call("POST", "/score", body)
        while reply.status in BUSY:
            self._wait_while_busy(reply)
            reply = self._caller.call("POST", "/score", body)
        self._busy_until = None
        values = parse_score_response(reply.body)
        return Answer(reply.status, values, round(reply.latency_ms, 3), reply.media_type, memory_bytes)

    def _wait_while_busy(self, reply: Reply) -> None:
        if self._busy_until is None:
            self._busy_until = time.monotonic() + BUSY_S
        if self._stopping.is_set() or time.monotonic() > self._busy_until:
            raise _UnjudgedError(f"it was too busy to be asked: answered {reply.status} for {BUSY_S:g} s")
        stated = float(reply.retry_after) if reply.retry_after.isdecimal() else 0.0
        self._stopping.wait(min(max(stated, TRY_PAUSE_S), 2.0))

    def _fetch_memory(self) -> int | None:
        try:
            reply = self._caller.call("GET", "/metrics")
        except OutsideError:  # a server of one's own need not know the path
            return None
        found = _MEMORY.search(reply.body) if reply.status == 200 else None
        try:
            return int(float(found[1])) if found else None
        except (ValueError, OverflowError):  # 1.2.3, 1e999
            return None

    def _await_return(self, problem: str) -> None:
        health = _await(self._caller, self._request, RETURN_S, self._stopping)
        if isinstance(health, str):
            raise _UnjudgedError(f"{problem}; then {health}")


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
