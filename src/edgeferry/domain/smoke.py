"""Smoke cases: questions asked of a model on the device, and the judgement of its answers. Pure.

Packaging chooses the cases and puts them into the image; the companion on the device asks and judges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from edgeferry.domain.model import Tolerance
from edgeferry.errors import DefinitionError

Row = tuple[Any, ...]
"""Numbers; texts where the model's column is one."""
State = Literal["Passed", "Failed", "Inconclusive"]


@dataclass(frozen=True)
class EqualCase:
    """The answers to `rows` must be `expected`, one number a row, within the tolerance."""

    id: str
    rows: tuple[Row, ...]
    expected: tuple[float, ...]


@dataclass(frozen=True)
class RefusedCase:
    """The request body (any JSON value) must be refused with a 4xx status."""

    id: str
    body: Any


@dataclass(frozen=True)
class IncreasingCase:
    """The answers must not fall from one row to the next."""

    id: str
    rows: tuple[Row, ...]


Case = EqualCase | RefusedCase | IncreasingCase


@dataclass(frozen=True)
class CaseSet:
    """All smoke cases of one model version."""

    model: str
    version: str
    tolerance: Tolerance
    latency_ms: float
    """The slowest acceptable answer of one case."""
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Answer:
    """What the model said to one case; `values` is None when the body is not a list of numbers."""

    status: int
    values: tuple[float, ...] | None
    latency_ms: float


@dataclass(frozen=True)
class Judgement:
    """Whether one case holds, and why; `slow` when only the latency did not."""

    case: str
    passed: bool
    reason: str
    slow: bool = False


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


def choose_cases(
    rows: Sequence[Sequence[Any]], predictions: Sequence[float], count: int
) -> tuple[EqualCase, ...]:
    """Up to `count` held-out rows as cases, spread evenly over the range of predictions, both ends included.

    Rows with a value or prediction that is not finite are passed over: JSON cannot carry them.
    """
    usable = [
        index
        for index, prediction in enumerate(predictions)
        if math.isfinite(prediction) and all(_is_said(value) for value in rows[index])
    ]
    ranked = sorted(usable, key=lambda index: (predictions[index], index))
    count = min(count, len(ranked))
    if count <= 0:
        return ()
    last = len(ranked) - 1
    places = [round(step * last / (count - 1)) for step in range(count)] if count > 1 else [last // 2]
    chosen = sorted(ranked[place] for place in places)
    return tuple(
        EqualCase(
            id=f"held-out-{index}",
            rows=(_plain(rows[index]),),
            expected=(float(predictions[index]),),
        )
        for index in chosen
    )


def _is_said(value: Any) -> bool:
    """Whether JSON can say it: a text or a finite number."""
    return isinstance(value, str) or math.isfinite(value)


def _plain(row: Sequence[Any]) -> Row:
    return tuple(value if isinstance(value, str) else float(value) for value in row)


def parse_checks(
    checks: Sequence[Mapping[str, object]], columns: Sequence[str], base_row: Sequence[Any]
) -> tuple[Case, ...]:
    """The cases that a model folder's `smoke/checks.yml` declares.

    `increasing` varies one column of `base_row` (a held-out row); `refused` gives a request `body`, or the
    `data` of one. DefinitionError with the key, in the terms of that file.
    """
    cases = tuple(
        _parse_check(index, check, tuple(columns), _plain(base_row)) for index, check in enumerate(checks)
    )
    ids = [case.id for case in cases]
    for index, id_ in enumerate(ids):
        if id_ in ids[:index]:
            raise _wrong(index, (), f"the id {id_!r} is used twice", "give each check its own id")
    return cases


def judge(case: Case, answer: Answer, tolerance: Tolerance, latency_ms: float) -> Judgement:
    """Whether `answer` satisfies `case`; the reason says what was wrong, or what was found right."""
    match case:
        case RefusedCase():
            if 400 <= answer.status < 500:
                return Judgement(case.id, True, f"refused with {answer.status}")
            return Judgement(case.id, False, f"should be refused, was answered {answer.status}")
        case EqualCase():
            wrong = _wrong_values(answer, len(case.rows)) or _wrong_equal(case, answer, tolerance)
        case IncreasingCase():
            wrong = _wrong_values(answer, len(case.rows)) or _falls(answer, tolerance)
    if wrong:
        return Judgement(case.id, False, wrong)
    if answer.latency_ms > latency_ms:
        late = f"right, but after {answer.latency_ms:.1f} ms; allowed are {latency_ms:g} ms"
        return Judgement(case.id, False, late, slow=True)
    return Judgement(case.id, True, f"right after {answer.latency_ms:.1f} ms")


def decide(
    request: SmokeRequest,
    case_set: CaseSet,
    judgements: Sequence[Judgement],
    latencies_ms: Sequence[float],
    at: str,
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


def _wrong_values(answer: Answer, count: int) -> str:
    if answer.status != 200:
        return f"answered {answer.status}"
    if answer.values is None:
        return "the answer is not a list of numbers"
    if len(answer.values) != count:
        return f"{len(answer.values)} answers to {count} rows"
    return ""


def _wrong_equal(case: EqualCase, answer: Answer, tolerance: Tolerance) -> str:
    for row, (value, expected) in enumerate(zip(answer.values or (), case.expected, strict=True), start=1):
        if not tolerance.allows(value, expected):
            return f"row {row}: answered {value!r}, expected {expected!r}"
    return ""


def _falls(answer: Answer, tolerance: Tolerance) -> str:
    values = answer.values or ()
    if not all(math.isfinite(value) for value in values):
        return "an answer is not a finite number"
    for row, (before, after) in enumerate(pairwise(values), start=2):
        if after < before and not tolerance.allows(after, before):
            return f"falls from {before!r} to {after!r} at row {row}"
    return ""


def _wrong(index: int, key: tuple[str, ...], problem: str, fix: str) -> DefinitionError:
    return DefinitionError(f"smoke/checks.yml, check {index + 1}: {problem}", fix=fix, key=(index, *key))


def _parse_check(index: int, check: object, columns: tuple[str, ...], base_row: Row) -> Case:
    shapes = "write `- increasing: {id, column, values}` or `- refused: {id, data}`"
    if not isinstance(check, Mapping) or len(check) != 1:
        raise _wrong(index, (), "is not one mapping with one kind", shapes)
    kind, body = next(iter(check.items()))
    if kind not in ("increasing", "refused") or not isinstance(body, Mapping):
        raise _wrong(index, (), f"{kind!r} is not a kind of check", shapes)
    allowed = {"id", "column", "values"} if kind == "increasing" else {"id", "data", "body"}
    for key in body:
        if key not in allowed:
            raise _wrong(index, (kind, str(key)), f"{key!r} is not a key of {kind}", shapes)
    id_ = body.get("id")
    if not isinstance(id_, str) or not id_:
        raise _wrong(index, (kind, "id"), "has no id", "add `id: some-name`")
    if kind == "refused":
        if ("data" in body) == ("body" in body):
            raise _wrong(index, (kind,), "needs either `data` or `body`", "give the request to be refused")
        return RefusedCase(id_, {"data": body["data"]} if "data" in body else body["body"])
    column, values = body.get("column"), body.get("values")
    if column not in columns:
        raise _wrong(
            index,
            (kind, "column"),
            f"the model has no column {column!r}",
            f"use one of: {', '.join(columns)}",
        )
    if not _rises(values):
        raise _wrong(
            index,
            (kind, "values"),
            "values are not rising numbers",
            "list at least two numbers, smallest first",
        )
    place = columns.index(str(column))
    assert isinstance(values, Sequence)
    rows = tuple((*base_row[:place], float(value), *base_row[place + 1 :]) for value in values)
    return IncreasingCase(id_, rows)


def _rises(values: object) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) < 2:
        return False
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return False
    return all(before < after for before, after in pairwise(values))
