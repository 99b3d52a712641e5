"""Companions that are absent-minded, broken or lie: none of them is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import Answer, CaseSet, EqualCase, Evidence, RefusedCase, SmokeRequest, decide
from edgeferry.domain.smoke_judging import judge_all
from edgeferry.domain.smoke_proof import Question, weigh

CASES = CaseSet(
    "taxi",
    "3",
    Tolerance(1e-9, 0.0),
    100.0,
    (EqualCase("one", ((1.0,),), (5.0,)), EqualCase("two", ((2.0,),), (6.0,)), RefusedCase("bad", {})),
)
RIGHT = (
    Evidence("one", (Answer(200, (5.0,), 1.0),)),
    Evidence("two", (Answer(200, (6.0,), 1.0),)),
    Evidence("bad", (Answer(400, None, 1.0),)),
)
REQUEST = SmokeRequest("taxi", "http://taxi:8080", "sha256:aa", "3", "bb", "n1")
HONEST = decide(REQUEST, CASES, judge_all(CASES, RIGHT), [1.0, 1.0, 1.0], "2026-01-01T00:00:00Z", RIGHT)
QUESTION = Question("sha256:aa", "bb", "n1", CASES)


def with_answer(case: str, answer: Answer) -> tuple[Evidence, ...]:
    return tuple(Evidence(case, (answer,)) if shown.case == case else shown for shown in RIGHT)


def test_an_honest_verdict_counts_with_and_without_the_cases_at_hand() -> None:
    assert weigh(HONEST, QUESTION) == ("Passed", "3 of 3 cases hold")
    assert weigh(replace(HONEST, evidence=()), replace(QUESTION, cases=None))[0] == "Passed"


def test_evidence_for_which_there_was_no_room_is_taken_on_trust_while_some_comparison_is_shown() -> None:
    assert weigh(replace(HONEST, evidence=RIGHT[:1], left_out=2), QUESTION)[0] == "Passed"


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        pytest.param({"nonce": "n0"}, "Inconclusive", "another question", id="an older verdict again"),
        pytest.param({"digest": "sha256:b"}, "Failed", "another release", id="of another image"),
        pytest.param({"cases_sha256": "b"}, "Failed", "another release", id="of other cases"),
        pytest.param({"version": "2"}, "Failed", "version 2", id="of another version"),
        pytest.param({"asked": 0}, "Inconclusive", "asked nothing", id="nothing was asked"),
        pytest.param({"asked": -1}, "Inconclusive", "asked nothing", id="less than nothing was asked"),
        pytest.param({"asked": 2}, "Inconclusive", "2 of 3 cases", id="not all was asked"),
        pytest.param({"asked": 4}, "Inconclusive", "4 of 3 cases", id="more was asked than there is"),
        pytest.param({"failed": 1}, "Failed", "1 cases do not hold", id="passed, and yet not"),
        pytest.param({"failed": -1}, "Failed", "-1 cases", id="a count that is none"),
        pytest.param({"evidence": ()}, "Inconclusive", "answers to 0 of 3", id="shows nothing"),
        pytest.param({"evidence": RIGHT[:2]}, "Inconclusive", "answers to 2 of 3", id="leaves one away"),
        pytest.param(
            {"evidence": (*RIGHT[:2], RIGHT[0])}, "Inconclusive", "answers to 2 of 3", id="shows one twice"
        ),
        pytest.param(
            {"evidence": RIGHT[2:], "left_out": 2},
            "Inconclusive",
            "no answer that can be compared",
            id="no room for what matters",
        ),
        pytest.param(
            {"evidence": with_answer("two", Answer(200, (6.1,), 1.0))},
            "Failed",
            "says Passed, but two: row 1: answered 6.1, expected 6.0",
            id="a wrong answer",
        ),
        pytest.param(
            {"evidence": with_answer("two", Answer(500, (6.0,), 1.0))},
            "Failed",
            "answered 500",
            id="an error",
        ),
        pytest.param(
            {"evidence": with_answer("bad", Answer(200, (1.0,), 1.0))},
            "Failed",
            "bad: should be refused",
            id="nonsense was answered",
        ),
        pytest.param(
            {"evidence": with_answer("one", Answer(200, (5.0,), 900.0))}, "Failed", "900.0 ms", id="too slow"
        ),
        pytest.param(
            {"evidence": (*RIGHT[:2], Evidence("three", RIGHT[2].answers))},
            "Failed",
            "there is no such case",
            id="a case of its own",
        ),
        pytest.param({"state": "Failed", "reason": "off"}, "Failed", "off", id="it says so itself"),
        pytest.param({"state": "Inconclusive", "reason": "?"}, "Inconclusive", "?", id="it does not know"),
    ],
)
def test_what_is_not_shown_is_not_believed(changes: dict[str, object], state: str, reason: str) -> None:
    found = weigh(replace(HONEST, **changes), QUESTION)  # type: ignore[arg-type]
    assert found[0] == state
    assert reason in found[1]
