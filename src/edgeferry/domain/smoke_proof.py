"""What a companion's verdict is worth to whoever asked for it. Pure.

A companion may be of another version, broken, or lie. Its word counts only when it answers this very
question, and what it shows of the model's answers, judged here by the same rules, says the same. What it
leaves out is believed only where there was no room for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.domain.column import Value
from edgeferry.domain.smoke import Case, CaseSet, EqualCase, RefusedCase, SameCase, State, Verdict
from edgeferry.domain.smoke_judging import count_answers, judge_all

_CASE_CHARACTERS = 12
_ANSWER_CHARACTERS = 70
_VALUE_CHARACTERS = 26
"""What a case, one of its answers, and one number in it take in a verdict's evidence, at most."""


@dataclass(frozen=True)
class Question:
    """What the companion was asked to judge."""

    digest: str
    cases_sha256: str
    nonce: str
    cases: CaseSet | None = None
    """The cases of `cases_sha256`; None when they are not at hand: then nothing it shows can be judged."""


def weigh(verdict: Verdict, question: Question, unshown: State = "Inconclusive") -> tuple[State, str]:
    """What is to be believed, and why. `Passed` only for a verdict on this question that shows what was
    answered to every case for which there was room, all of it right, and at least one comparison.

    `unshown`: what a `Passed` is worth that could have been shown and was not. It says nothing of the model,
    and all of the companion.
    """
    if verdict.nonce != question.nonce:
        return "Inconclusive", "the verdict answers another question"
    if (verdict.digest, verdict.cases_sha256) != (question.digest, question.cases_sha256):
        return "Failed", "the verdict is about another release"
    if question.cases is not None and verdict.version != question.cases.version:
        told = f"version {verdict.version}, the release is version {question.cases.version}"
        return "Failed", f"the verdict is about {told}"
    if verdict.state != "Passed":
        return verdict.state, verdict.reason
    if verdict.failed:
        return "Failed", f"the companion says Passed, and that {verdict.failed} cases do not hold"
    if verdict.asked < 1:
        return unshown, "the companion says Passed, and that it asked nothing"
    if question.cases is None:
        return (
            "Inconclusive",
            "the companion says Passed, but the cases are not at hand to check that",
        )
    return _weigh_evidence(verdict, question.cases, unshown)


def _weigh_evidence(verdict: Verdict, cases: CaseSet, unshown: State) -> tuple[State, str]:
    count = len(cases.cases)
    if verdict.asked != count:
        return unshown, f"the companion says Passed after {verdict.asked} of {count} cases"
    for judgement in judge_all(cases, verdict.evidence):
        if not judgement.passed:
            return "Failed", f"the companion says Passed, but {judgement.case}: {judgement.reason}"
    shown = {one.case for one in verdict.evidence}
    if len(shown) + verdict.left_out != count or len(shown) != len(verdict.evidence):
        return unshown, f"the companion says Passed, but shows the answers to {len(shown)} of {count} cases"
    taken = sum(
        _most_characters(one.case, len(one.answers), _measure(each.values or () for each in one.answers))
        for one in verdict.evidence
    )
    compared = [case for case in cases.cases if isinstance(case, EqualCase)]
    longest = max((_measure([[value]]) for case in compared for value in case.expected), default=0)
    for case in cases.cases:
        if case.id not in shown and taken + _most_to_show(case, longest) < verdict.room:
            why = f"leaves out the answers to {case.id}, for which there is room"
            return unshown, f"the companion says Passed, but {why}"
    if not any(case.id in shown for case in compared):
        return "Inconclusive", "the companion says Passed, but shows no answer that can be compared"
    return "Passed", verdict.reason


def _most_to_show(case: Case, longest: int) -> float:
    """What the evidence of a case takes, at most, when all its answers are as they should be; `longest`: what
    one expected answer takes, at most, where a text is taken to be no longer than those expected."""
    answers = count_answers(case)
    match case:
        case RefusedCase():
            values = 0
        case EqualCase():
            values = answers * _measure([case.expected])
        case SameCase():  # how many rows each way has, the model's server alone knows
            return math.inf
        case _:
            values = answers * len(case.rows) * max(longest, _VALUE_CHARACTERS)
    return _most_characters(case.id, answers, values)


def _most_characters(case: str, answers: int, values: int) -> int:
    named = 12 * len(case) + _CASE_CHARACTERS  # a letter may be written as two of \uXXXX
    return named + answers * _ANSWER_CHARACTERS + values


def _measure(answers: Iterable[Iterable[Value]]) -> int:
    """What all values in them take, at most."""
    return sum(
        len(json.dumps(value)) + 1 if isinstance(value, str) else _VALUE_CHARACTERS
        for values in answers
        for value in values
    )
