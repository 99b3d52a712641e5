"""What a companion's verdict is worth to whoever asked for it. Pure.

A companion may be of another version, broken, or lie. Its word counts only when it answers this very
question, and what it shows of the model's answers, judged here by the same rules, says the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeferry.domain.smoke import CaseSet, EqualCase, State, Verdict
from edgeferry.domain.smoke_judging import judge_all


@dataclass(frozen=True)
class Question:
    """What the companion was asked to judge."""

    digest: str
    cases_sha256: str
    nonce: str
    cases: CaseSet | None = None
    """The cases of `cases_sha256`; None when they are not at hand: then its counts are all there is."""


def weigh(verdict: Verdict, question: Question) -> tuple[State, str]:
    """What is to be believed, and why. `Passed` only for a verdict on this question that shows what was
    answered to every case, and all of it right; where there was no room for all, at least one comparison."""
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
        return "Inconclusive", "the companion says Passed, and that it asked nothing"
    return _weigh_evidence(verdict, question.cases) if question.cases else ("Passed", verdict.reason)


def _weigh_evidence(verdict: Verdict, cases: CaseSet) -> tuple[State, str]:
    count = len(cases.cases)
    if verdict.asked != count:
        return "Inconclusive", f"the companion says Passed after {verdict.asked} of {count} cases"
    for judgement in judge_all(cases, verdict.evidence):
        if not judgement.passed:
            return "Failed", f"the companion says Passed, but {judgement.case}: {judgement.reason}"
    shown = {one.case for one in verdict.evidence}
    if len(shown) + verdict.left_out != count or len(shown) != len(verdict.evidence):
        return (
            "Inconclusive",
            f"the companion says Passed, but shows the answers to {len(shown)} of {count} cases",
        )
    compared = [case for case in cases.cases if isinstance(case, EqualCase)]
    if not any(case.id in shown for case in compared):
        return "Inconclusive", "the companion says Passed, but shows no answer that can be compared"
    return "Passed", verdict.reason
