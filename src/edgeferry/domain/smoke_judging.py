"""Judging what a model answered to its smoke cases: the same rules on the device and at home. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from edgeferry.domain.column import Value
from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    JSON_TYPE,
    Answer,
    BetweenCase,
    Case,
    CaseSet,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    Evidence,
    IncreasingCase,
    Judgement,
    MemoryCase,
    RefusedCase,
    SameCase,
)

REFUSALS = frozenset({400, 413, 415, 422})
"""What says that a request's content is wrong; other 4xx speak of address, login or load."""


def render_questions(case: Case) -> tuple[Any, ...]:
    """The bodies (JSON values) of the requests that ask this case once, in order."""
    match case:
        case RefusedCase():
            return (case.body,)
        case SameCase():
            return tuple(body for way in case.ways for body in way)
        case EqualCase() if case.columns:
            return ({"data": [dict(zip(case.columns, row, strict=True)) for row in case.rows]},)
    return ({"data": [list(row) for row in case.rows]},)


def count_answers(case: Case) -> int:
    """How many answers the evidence of this case has."""
    return 2 if isinstance(case, MemoryCase) else len(render_questions(case)) * case.repeats


def judge(case: Case, answers: Sequence[Answer], tolerance: Tolerance, latency_ms: float) -> Judgement:
    """Whether `answers`, to the questions of `case` and their repeats, satisfy it; the reason says what was
    wrong, or what was found right. `latency_ms` is the set's limit."""
    if len(answers) != count_answers(case):
        return Judgement(case.id, False, f"{len(answers)} answers to {count_answers(case)} requests")
    if isinstance(case, MemoryCase):
        return _judge_memory(case, answers, tolerance, case.latency_ms or latency_ms)
    asks = len(render_questions(case))
    for start in range(0, len(answers), asks):
        judgement = _judge_once(case, answers[start : start + asks], tolerance, case.latency_ms or latency_ms)
        if not judgement.passed:
            return judgement
    return judgement


def judge_all(case_set: CaseSet, evidence: Sequence[Evidence]) -> list[Judgement]:
    """The judgements on all of the evidence; a case that the set does not have does not hold."""
    cases = {case.id: case for case in case_set.cases}
    return [
        judge(cases[shown.case], shown.answers, case_set.tolerance, case_set.latency_ms)
        if shown.case in cases
        else Judgement(shown.case, False, "there is no such case")
        for shown in evidence
    ]


def _judge_once(case: Case, answers: Sequence[Answer], tolerance: Tolerance, latency_ms: float) -> Judgement:
    slowest = max(answer.latency_ms for answer in answers)
    if isinstance(case, RefusedCase):
        status = answers[0].status
        if status not in REFUSALS:
            return Judgement(case.id, False, f"should be refused, was answered {status}")
        good = f"refused with {status}"
    else:
        wrong = _find_wrong(case, answers, tolerance)
        if wrong:
            return Judgement(case.id, False, wrong)
        good = f"right after {slowest:.1f} ms"
    return _judge_latency(case, slowest, latency_ms) or Judgement(case.id, True, good)


def _judge_latency(case: Case, slowest_ms: float, latency_ms: float) -> Judgement | None:
    if slowest_ms <= latency_ms:
        return None
    late = f"right, but after {slowest_ms:.1f} ms; allowed are {latency_ms:g} ms"
    return Judgement(case.id, False, late, again=True)


def _judge_memory(
    case: MemoryCase, answers: Sequence[Answer], tolerance: Tolerance, latency_ms: float
) -> Judgement:
    first, last = answers
    for answer in answers:
        if wrong := _find_wrong_form(answer, len(case.rows)):
            return Judgement(case.id, False, wrong)
    if differs := _find_difference(last.values or (), first.values or (), tolerance):
        return Judgement(case.id, False, f"after {case.repeats} repeats, {differs}")
    before, after = first.memory_bytes, last.memory_bytes
    if before is not None and after is not None:
        if after - before > case.growth_bytes:
            grown = f"grew by {_mb(after - before)} in up to {case.repeats} requests"
            return Judgement(
                case.id, False, f"{grown}; allowed are {_mb(case.growth_bytes)}: it leaks", again=True
            )
        if case.most_bytes and after > case.most_bytes:
            return Judgement(
                case.id, False, f"uses {_mb(after)} of memory; allowed are {_mb(case.most_bytes)}", again=True
            )
    elif case.measured:
        return Judgement(
            case.id, False, "its memory could not be measured: /metrics does not say it", again=True
        )
    slowest = max(answer.latency_ms for answer in answers)
    memory = "memory not measured" if before is None or after is None else f"{_mb(after)} of memory"
    return _judge_latency(case, slowest, latency_ms) or Judgement(
        case.id, True, f"the same {case.repeats} times, {memory}"
    )


def _find_wrong(case: Case, answers: Sequence[Answer], tolerance: Tolerance) -> str:
    """What is wrong with the answers to one round of a case that must be answered; "" when nothing is."""
    if isinstance(case, SameCase):
        return _find_otherwise(case, answers, tolerance)
    assert not isinstance(case, RefusedCase)
    answer = answers[0]
    if wrong := _find_wrong_form(answer, len(case.rows)):
        return wrong
    values = answer.values or ()
    match case:
        case EqualCase():
            return _find_difference(values, case.expected, tolerance)
        case ChangesCase():
            if all(tolerance.allows(value, values[0]) for value in values):
                return f"answered {values[0]!r} to every row, whatever it holds"
            return ""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) != len(values):
        return f"answered {values[0]!r}, which is no number"
    match case:
        case IncreasingCase():
            return _find_turn(numbers, tolerance, "falls", lambda before, after: after < before)
        case DecreasingCase():
            return _find_turn(numbers, tolerance, "rises", lambda before, after: after > before)
        case BetweenCase():
            for row, value in enumerate(numbers, start=1):
                if not case.low <= value <= case.high:
                    return (
                        f"row {row}: answered {value!r}, which is not within {case.low:g} and {case.high:g}"
                    )
    return ""


def _find_wrong_form(answer: Answer, count: int) -> str:
    if answer.status != 200:
        return f"answered {answer.status}"
    if answer.media_type != JSON_TYPE:
        return f"answered {answer.media_type or 'no content type'}, not {JSON_TYPE}"
    if answer.values is None:
        return "the answer is not a list of numbers, or of texts"
    if len(answer.values) != count:
        return f"{len(answer.values)} answers to {count} rows"
    for row, value in enumerate(answer.values, start=1):
        if not isinstance(value, str) and not math.isfinite(value):
            return f"row {row}: an answer is not a finite number"
    return ""


def _find_difference(values: Sequence[Value], expected: Sequence[Value], tolerance: Tolerance) -> str:
    for row, (value, wanted) in enumerate(zip(values, expected, strict=True), start=1):
        if not tolerance.allows(value, wanted):
            return f"row {row}: answered {value!r}, expected {wanted!r}"
    return ""


def _find_otherwise(case: SameCase, answers: Sequence[Answer], tolerance: Tolerance) -> str:
    told: list[list[Value]] = []
    place = 0
    for way in case.ways:
        told.append([])
        for answer in answers[place : place + len(way)]:
            if wrong := _find_wrong_form(answer, len(answer.values or ())):
                return wrong
            told[-1].extend(answer.values or ())
        place += len(way)
    first, *others = told
    for number, values in enumerate(others, start=2):
        if len(values) != len(first):
            return f"way {number} of asking gives {len(values)} answers, the first gives {len(first)}"
        for row, (value, wanted) in enumerate(zip(values, first, strict=True), start=1):
            if not tolerance.allows(value, wanted):
                return f"row {row}: {wanted!r} when asked the first way, {value!r} the other ({number})"
    return "" if first else "no request has rows"


def _find_turn(
    values: Sequence[float], tolerance: Tolerance, word: str, turns: Callable[[float, float], bool]
) -> str:
    for row, (before, after) in enumerate(pairwise(values), start=2):
        if turns(before, after) and not tolerance.allows(after, before):
            return f"{word} from {before!r} to {after!r} at row {row}"
    return ""


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
