"""Smoke cases: questions asked of a model on the device, and the judgement of its answers. Pure.

Packaging chooses the cases (`smoke_checks`) and puts them into the image; the companion on the device asks
and judges (`smoke_judging`); whoever asked the companion judges again what it shows (`smoke_proof`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from edgeferry.domain.column import Value
from edgeferry.domain.model import Tolerance

Row = tuple[Any, ...]
"""Numbers; texts where the model's column is one; None where a value is missing."""
State = Literal["Passed", "Failed", "Inconclusive"]

JSON_TYPE = "application/json"


@dataclass(frozen=True)
class _Case:
    """What every case has."""

    id: str
    repeats: int = field(default=1, kw_only=True)
    """How often it is asked; it must hold each time."""
    latency_ms: float | None = field(default=None, kw_only=True)
    """The slowest acceptable answer; None: the set's."""


@dataclass(frozen=True)
class EqualCase(_Case):
    """The answers to `rows` must be `expected`: one number a row, within the tolerance, or one text."""

    rows: tuple[Row, ...]
    expected: tuple[Value, ...]
    columns: tuple[str, ...] = ()
    """When given, rows are asked as objects with these names, in this order."""


@dataclass(frozen=True)
class RefusedCase(_Case):
    """The request body (any JSON value) must be refused for its content: 400, 413, 415 or 422."""

    body: Any


@dataclass(frozen=True)
class IncreasingCase(_Case):
    """The answers must not fall from one row to the next."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class DecreasingCase(_Case):
    """The answers must not rise from one row to the next."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class BetweenCase(_Case):
    """Every answer must lie within `low` and `high`, both included."""

    rows: tuple[Row, ...]
    low: float
    high: float


@dataclass(frozen=True)
class ChangesCase(_Case):
    """The answers must not all be the same: the model must look at what differs between the rows."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SameCase(_Case):
    """However the question is put, the answer is the same: the requests of each way, their answers joined,
    must give what those of the first way give."""

    ways: tuple[tuple[Any, ...], ...]
    """Request bodies (JSON values); at least two ways of at least one request."""


@dataclass(frozen=True)
class MemoryCase(_Case):
    """Asked `repeats` times for the same rows, the server must not keep growing, and not be larger than
    allowed.

    Resident memory, from the server's `/metrics`; a server of another make need not have such, then the rest
    is looked at. All answers must be the same.
    """

    rows: tuple[Row, ...]
    growth_bytes: int
    """How much more resident memory is tolerated after the repeats than before."""
    most_bytes: int = 0
    """How much resident memory is tolerated; 0: any."""
    measured: bool = False
    """Whether the server is known to tell its memory: then it does not hold without."""
    repeats: int = field(default=100, kw_only=True)


Case = (
    EqualCase
    | RefusedCase
    | IncreasingCase
    | DecreasingCase
    | BetweenCase
    | ChangesCase
    | SameCase
    | MemoryCase
)


@dataclass(frozen=True)
class CaseSet:
    """All smoke cases of one model version."""

    model: str
    version: str
    tolerance: Tolerance
    latency_ms: float
    """The slowest acceptable answer of one request."""
    cases: tuple[Case, ...]
    model_sha256: str = ""
    """Of the file that the server loads, as its health must say; "": not known."""


@dataclass(frozen=True)
class Answer:
    """What the model said to one request; `values` is None when the body is no list of numbers or of
    texts."""

    status: int
    values: tuple[Value, ...] | None
    latency_ms: float
    media_type: str = JSON_TYPE
    memory_bytes: int | None = None
    """The server's resident memory after it (before the first of a MemoryCase); None: not measured."""


@dataclass(frozen=True)
class Judgement:
    """Whether one case holds, and why; `again` when it may hold when asked anew: it was only slow, or
    grew."""

    case: str
    passed: bool
    reason: str
    again: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a model answered to one case, in the order of its questions; of a MemoryCase its first and last
    answer, the latter with the latency that nine of ten of all its answers stayed within."""

    case: str
    answers: tuple[Answer, ...]


DIGEST_VARIABLE = "EDGEFERRY_DIGEST"
"""The environment variable that tells a model's server which digest it is of."""
NONCE_VARIABLE = "EDGEFERRY_NONCE"
"""The environment variable that tells a companion which rollout brought it: what another container of it
says does not have that."""


@dataclass(frozen=True)
class SmokeRequest:
    """What a model's layer asks of the companion: test this model, at this address, for this rollout."""

    model: str
    url: str
    digest: str
    version: str
    cases_sha256: str
    nonce: str


@dataclass(frozen=True)
class Verdict:
    """The companion's word on one smoke request; it counts only for this digest, these cases, this nonce."""

    model: str
    state: State
    digest: str
    version: str
    cases_sha256: str
    nonce: str
    reason: str
    asked: int
    failed: int
    latency_ms: float
    """Median over the cases."""
    slowest_ms: float
    at: str
    """ISO 8601, UTC."""
    evidence: tuple[Evidence, ...] = ()
    """What was answered; not all of it where there is not room for all."""
    left_out: int = 0
    """Of how many cases the evidence was left out for want of room."""
    companion: str = ""
    """The nonce of the rollout that brought the companion, by its own word; "" where it was told none."""
    room: int = field(default=0, compare=False)
    """How many characters of evidence its companion had room for, at least; 0: not known."""


def decide(
    request: SmokeRequest,
    case_set: CaseSet,
    judgements: Sequence[Judgement],
    latencies_ms: Sequence[float],
    at: str,
    evidence: Sequence[Evidence] = (),
) -> Verdict:
    """Passed only when every case of the set was judged and holds, and at least one compares an answer."""
    failed = [judgement for judgement in judgements if not judgement.passed]
    compared = any(isinstance(case, EqualCase) for case in case_set.cases)
    state: State = "Passed"
    reason = f"{len(judgements)} of {len(judgements)} cases hold"
    if failed:
        state = "Failed"
        reason = f"{len(failed)} of {len(judgements)} cases do not hold; {failed[0].case}: {failed[0].reason}"
    elif len(judgements) != len(case_set.cases):
        state, reason = "Inconclusive", f"{len(judgements)} of {len(case_set.cases)} cases were asked"
    elif not compared:
        state, reason = "Inconclusive", "no case compares an answer with the pipeline's"
    return Verdict(
        model=request.model,
        state=state,
        digest=request.digest,
        version=request.version,
        cases_sha256=request.cases_sha256,
        nonce=request.nonce,
        reason=reason,
        asked=len(judgements),
        failed=len(failed),
        latency_ms=round(median(latencies_ms), 3) if latencies_ms else 0.0,
        slowest_ms=round(max(latencies_ms), 3) if latencies_ms else 0.0,
        at=at,
        evidence=tuple(evidence),
    )


def unjudged(request: SmokeRequest, state: State, reason: str, at: str) -> Verdict:
    """The verdict when no case could be asked: what was found is not what the request names, or nothing."""
    return Verdict(
        model=request.model,
        state=state,
        digest=request.digest,
        version=request.version,
        cases_sha256=request.cases_sha256,
        nonce=request.nonce,
        reason=reason,
        asked=0,
        failed=0,
        latency_ms=0.0,
        slowest_ms=0.0,
        at=at,
    )
