"""Asking one model its smoke cases over HTTP, standard library only."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from edgeferry.domain.capture import SMOKE
from edgeferry.domain.smoke import (
    Answer,
    Case,
    CaseSet,
    Judgement,
    RefusedCase,
    SmokeRequest,
    Verdict,
    decide,
    judge,
    unjudged,
)
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.capture import PURPOSE_HEADER
from edgeferry.wire.cases import parse_cases
from edgeferry.wire.serving import Health, parse_health, parse_score_response, render_score_request

ANSWER_S = 10.0
MOST_BODY_BYTES = 16 * 1024 * 1024
PAUSE_S = 0.5
SLOW_TRIES = 3
"""A right but slow answer is asked for again: the case fails only when it is slow every time."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    latency_ms: float


class Caller:
    """One model server at `url`, over one connection that is opened anew when it breaks."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"{url!r} is not an http:// address", fix="correct the model's layer")
        self._prefix = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=ANSWER_S)

    def close(self) -> None:
        """The connection is closed."""
        self._connection.close()

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """The answer; OutsideError (retryable) when none comes."""
        headers = {PURPOSE_HEADER: SMOKE}
        if body is not None:
            headers["Content-Type"] = "application/json"
        began = time.perf_counter()
        try:
            self._connection.request(method, self._prefix + path, body, headers)
            response = self._connection.getresponse()
            said = response.read(MOST_BODY_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = str(error) or type(error).__name__
            raise OutsideError(
                f"no answer to {path}: {why}", fix="look at its log", retryable=True
            ) from error
        latency_ms = (time.perf_counter() - began) * 1000
        if len(said) > MOST_BODY_BYTES:
            self._connection.close()
            raise OutsideError(f"the answer to {path} has no end", fix="look at what answers there")
        return Reply(response.status, said, latency_ms)


def ask(request: SmokeRequest, *, patience_s: float, stopping: threading.Event) -> Verdict:
    """The verdict on one smoke request. Inconclusive when, for `patience_s`, the model that was asked for
    does not answer; Failed when its cases are not those of the release, or one of them does not hold."""
    try:
        caller = Caller(request.url)
    except UsageError as error:
        return unjudged(request, "Inconclusive", error.problem, now())
    try:
        return _ask(caller, request, time.monotonic() + patience_s, stopping)
    finally:
        caller.close()


def _ask(caller: Caller, request: SmokeRequest, deadline: float, stopping: threading.Event) -> Verdict:
    while isinstance(health := _look(caller, request), str):
        if stopping.is_set() or time.monotonic() + PAUSE_S > deadline:
            return unjudged(request, "Inconclusive", health, now())
        stopping.wait(PAUSE_S)
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
    return _judge_all(caller, request, case_set)


def _look(caller: Caller, request: SmokeRequest) -> Health | str:
    """The health of the image that was asked for, once it is ready; until then, what is wrong."""
    try:
        reply = caller.call("GET", "/health")
        health = parse_health(reply.body)
    except (OutsideError, UsageError) as error:
        return error.problem
    if reply.status != 200 or not health.ready:
        return f"the model is not ready ({reply.status})"
    if health.digest != request.digest:
        return f"{health.digest or 'an unnamed image'} answers, {request.digest} was asked for"
    return health


def _judge_all(caller: Caller, request: SmokeRequest, case_set: CaseSet) -> Verdict:
    judgements: list[Judgement] = []
    latencies: list[float] = []
    for case in case_set.cases:
        judgement, latency_ms = _ask_case(caller, case, case_set)
        judgements.append(judgement)
        latencies.append(latency_ms)
    return decide(request, case_set, judgements, latencies, now())


def _ask_case(caller: Caller, case: Case, case_set: CaseSet) -> tuple[Judgement, float]:
    body = (
        json.dumps(case.body).encode() if isinstance(case, RefusedCase) else render_score_request(case.rows)
    )
    judgement, latency_ms = Judgement(case.id, False, "not asked"), 0.0
    for _ in range(SLOW_TRIES):
        try:
            reply = caller.call("POST", "/score", body)
        except OutsideError as error:
            judgement = Judgement(case.id, False, error.problem)
            continue
        latency_ms = reply.latency_ms
        answer = Answer(reply.status, parse_score_response(reply.body), latency_ms)
        judgement = judge(case, answer, case_set.tolerance, case_set.latency_ms)
        if not judgement.slow:
            break
    return judgement, latency_ms


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
