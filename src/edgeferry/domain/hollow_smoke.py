"""What a hollow model answers to smoke cases, and what its companion makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeferry.domain.column import Value
from edgeferry.domain.smoke import (
    Answer,
    BetweenCase,
    Case,
    CaseSet,
    DecreasingCase,
    EqualCase,
    Evidence,
    MemoryCase,
    RefusedCase,
    SameCase,
    SmokeRequest,
    Verdict,
    decide,
    unjudged,
)
from edgeferry.domain.smoke_judging import judge_all

_LATENCY_MS = 2.0
_MEMORY_BYTES = 20_000_000


def ask_hollow(request: SmokeRequest, cases: CaseSet | None, kinds: Sequence[str], at: str) -> Verdict:
    """The companion's verdict on a model that answers as the kinds of fault say. Without the cases it has
    nothing to show, and its word is all there is."""
    if cases is None:
        verdict = _word_only(request, kinds, at)
    else:
        evidence = tuple(Evidence(case.id, _answers(case, kinds)) for case in cases.cases)
        latencies = [each.latency_ms for shown in evidence for each in shown.answers]
        verdict = decide(request, cases, judge_all(cases, evidence), latencies, at, evidence)
    if "asks_nothing" in kinds:
        verdict = replace(_word_only(request, (), at), asked=len(cases.cases) if cases else 1)
    if "lying_verdict" in kinds:
        verdict = replace(verdict, state="Passed", failed=0, reason="all cases hold")
    return replace(
        verdict,
        digest=f"sha256:{'0' * 64}" if "lying_digest" in kinds else verdict.digest,
        cases_sha256="0" * 64 if "lying_cases" in kinds else verdict.cases_sha256,
        nonce="another" if "lying_nonce" in kinds else verdict.nonce,
    )


def _word_only(request: SmokeRequest, kinds: Sequence[str], at: str) -> Verdict:
    wrong = "answered 500" if "http_500" in kinds else "wrong" if "wrong_predictions" in kinds else ""
    if wrong:
        return replace(unjudged(request, "Failed", f"equal: {wrong}", at), asked=1, failed=1)
    passed = unjudged(request, "Passed", "1 of 1 cases hold", at)
    return replace(passed, asked=1, latency_ms=_LATENCY_MS, slowest_ms=_LATENCY_MS)


def _answers(case: Case, kinds: Sequence[str]) -> tuple[Answer, ...]:
    """What the model answers to all questions of the case, its repeats included."""
    if "http_500" in kinds:
        count = 2 if isinstance(case, MemoryCase) else _count(case)
        return (Answer(500, None, _LATENCY_MS),) * count
    once = _right_answers(case)
    if "wrong_predictions" in kinds:
        once = tuple(
            replace(each, values=tuple(map(_distort, each.values))) if each.values is not None else each
            for each in once
        )
    return once if isinstance(case, MemoryCase) else once * case.repeats


def _distort(value: Value) -> Value:
    return f"not {value}" if isinstance(value, str) else value * 1.5 + 1


def _count(case: Case) -> int:
    return len(_right_answers(case)) * case.repeats


def _right_answers(case: Case) -> tuple[Answer, ...]:
    """Answers that hold, to one round of the case's questions."""
    match case:
        case EqualCase():
            return (Answer(200, case.expected, _LATENCY_MS),)
        case RefusedCase():
            return (Answer(400, None, _LATENCY_MS),)
        case SameCase():
            return tuple(
                Answer(200, (1.0,) * (rows // len(way)), _LATENCY_MS)
                for way, rows in ((way, _rows_of(case)) for way in case.ways)
                for _ in way
            )
        case MemoryCase():
            one = Answer(200, (1.0,) * len(case.rows), _LATENCY_MS, memory_bytes=_MEMORY_BYTES)
            return (one, one)
        case BetweenCase():
            return (Answer(200, ((case.low + case.high) / 2,) * len(case.rows), _LATENCY_MS),)
        case DecreasingCase():
            return (Answer(200, tuple(float(-row) for row in range(len(case.rows))), _LATENCY_MS),)
        case _:
            return (Answer(200, tuple(float(row) for row in range(len(case.rows))), _LATENCY_MS),)


def _rows_of(case: SameCase) -> int:
    """How many rows each way gives in all: a number that every way's requests divide."""
    rows = 1
    for way in case.ways:
        rows *= len(way)
    return rows
