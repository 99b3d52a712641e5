"""Companions that are absent-minded, broken or lie: none of them is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    Answer,
    CaseSet,
    ChangesCase,
    EqualCase,
    Evidence,
    MemoryCase,
    RefusedCase,
    SameCase,
    SmokeRequest,
    Verdict,
    decide,
)
from edgeferry.domain.smoke_judging import judge_all
from edgeferry.domain.smoke_proof import Question, weigh
from edgeferry.wire.verdict import parse_verdict, render_verdict

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


def test_an_honest_verdict_counts() -> None:
    assert weigh(HONEST, QUESTION) == ("Passed", "3 of 3 cases hold")


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        pytest.param(HONEST, "Inconclusive", id="passed, and shows it"),
        pytest.param(replace(HONEST, evidence=()), "Inconclusive", id="passed, and shows nothing"),
        pytest.param(replace(HONEST, failed=1), "Failed", id="passed, and yet not"),
        pytest.param(replace(HONEST, state="Failed", reason="off"), "Failed", id="failed"),
    ],
)
def test_without_the_cases_at_hand_nothing_passes_and_what_failed_has_failed(
    verdict: Verdict, state: str
) -> None:
    found = weigh(verdict, replace(QUESTION, cases=None))
    assert found[0] == state
    assert state == "Failed" or "not at hand" in found[1]


LABELS = EqualCase("labels", ((1.0,), (2.0,)), ("fine", "worn " * 100))
GROWS = MemoryCase("grows", ((1.0,),), 1)
CHANGES = ChangesCase("changes", ((1.0,), (2.0,)))


@pytest.mark.parametrize(
    ("case", "room", "believed"),
    [
        pytest.param(LABELS, 1200, True, id="a long text that has no room"),
        pytest.param(LABELS, 9000, False, id="a long text that has room"),
        pytest.param(GROWS, 2000, True, id="another answer, which could be as long and has no room then"),
        pytest.param(GROWS, 9000, False, id="another answer, which has room however long"),
        pytest.param(CHANGES, 2000, True, id="a changed answer that has no room when it is long"),
        pytest.param(CHANGES, 9000, False, id="a changed answer that has room however long"),
    ],
)
def test_a_text_that_is_left_out_is_believed_where_it_had_no_room(
    case: EqualCase | MemoryCase | ChangesCase, room: int, believed: bool
) -> None:
    texts = replace(CASES, cases=(*CASES.cases, LABELS, GROWS, CHANGES))
    right = {
        "labels": (Answer(200, LABELS.expected, 1.0),),
        "grows": (Answer(200, ("fine",), 1.0),) * 2,
        "changes": (Answer(200, ("fine", "worn"), 1.0),),
    }
    shown = tuple(Evidence(name, answers) for name, answers in right.items() if name != case.id)
    verdict = replace(HONEST, asked=6, evidence=(*RIGHT, *shown), left_out=1, room=room)
    state, reason = weigh(verdict, replace(QUESTION, cases=texts))
    assert (state == "Passed") == believed, reason


WIDE = tuple((float(number),) for number in range(100))
LARGE = EqualCase("large", WIDE, tuple(2.0 * row[0] for row in WIDE))
SAME = SameCase("same", (({"data": [[1.0]]},), ({"data": [{"x": 1.0}]},)))
MANY = replace(CASES, cases=(*CASES.cases, LARGE, SAME))
SHOWN = {
    **{one.case: one for one in RIGHT},
    "large": Evidence("large", (Answer(200, LARGE.expected, 1.0),)),
    "same": Evidence("same", (Answer(200, (5.0,), 1.0), Answer(200, (5.0,), 1.0))),
}


@pytest.mark.parametrize(
    ("left_out", "room", "believed"),
    [
        pytest.param((), 3000, True, id="nothing is left out"),
        pytest.param(("large",), 2000, True, id="what is too large for the room"),
        pytest.param(("large", "same"), 3000, True, id="what is too large beside the rest"),
        pytest.param(("large",), 9000, False, id="what fits beside the rest"),
        pytest.param(("two",), 3000, True, id="what is small, where something large takes the room"),
        pytest.param(("two",), 9000, False, id="what is small, where there is room for all"),
        pytest.param(("two", "large"), 1500, False, id="what is small, beside what is too large"),
        pytest.param(("two", "bad", "large", "same"), 3000, False, id="all but one comparison"),
        pytest.param(("two", "bad", "large", "same"), 0, True, id="nobody knows what room there was"),
        pytest.param(("same",), 9000, True, id="what nobody at home knows the size of"),
    ],
)
def test_what_is_left_out_is_believed_only_where_there_was_no_room_for_it(
    left_out: tuple[str, ...], room: int, believed: bool
) -> None:
    shown = tuple(one for case, one in SHOWN.items() if case not in left_out)
    verdict = replace(HONEST, asked=5, evidence=shown, left_out=len(left_out), room=room)
    state, reason = weigh(verdict, replace(QUESTION, cases=MANY))
    assert state == ("Passed" if believed else "Inconclusive"), reason
    assert believed or "for which there is room" in reason


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.floats(-1e308, 1e308),
    st.integers(100, 12_000),
)
def test_an_honest_companion_with_little_room_is_never_doubted(
    sizes: list[int], value: float, room: int
) -> None:
    made = tuple(
        EqualCase(f"größe-{number}", ((1.0,),) * size, (value,) * size) for number, size in enumerate(sizes)
    )
    asked = replace(CASES, cases=(EqualCase("first", ((1.0,),), (5.0,)), *made))
    answered = tuple(Evidence(case.id, (Answer(200, case.expected, 99.999),)) for case in asked.cases)
    honest = decide(REQUEST, asked, judge_all(asked, answered), [1.0], "2026-01-01T00:00:00Z", answered)
    told = parse_verdict("taxi", render_verdict(honest, room), room)
    assert weigh(told, replace(QUESTION, cases=asked))[0] == "Passed"


@pytest.mark.parametrize(
    ("measured", "memory", "passes"),
    [
        pytest.param(False, (50_000_000, 50_000_000), True, id="another server's, told"),
        pytest.param(False, (None, None), True, id="another server's, not told"),
        pytest.param(True, (50_000_000, 50_000_000), True, id="ours, told"),
        pytest.param(True, (50_000_000, 59_000_000), False, id="ours, grown"),
        pytest.param(True, (None, None), False, id="ours, not told"),
        pytest.param(True, (50_000_000, None), False, id="ours, told once"),
    ],
)
def test_memory_is_taken_on_trust_only_of_a_server_that_need_not_tell_it(
    measured: bool, memory: tuple[int | None, int | None], passes: bool
) -> None:
    case = MemoryCase("memory", ((1.0,),), 1_000_000, measured=measured)
    cases = replace(CASES, cases=(*CASES.cases, case))
    answers = tuple(Answer(200, (5.0,), 1.0, memory_bytes=size) for size in memory)
    verdict = replace(HONEST, asked=4, evidence=(*RIGHT, Evidence("memory", answers)))
    assert weigh(verdict, replace(QUESTION, cases=cases))[0] == ("Passed" if passes else "Failed")


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
