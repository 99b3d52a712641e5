"""Whether a release that answers texts answers others than its predecessor, by what devices counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeferry.domain.hollow_traffic import LATENCIES_MS, Manner, Traffic, serve
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_action import Hold, StartWave
from edgeferry.domain.rollout_evidence import (
    TEXT_MEASURES,
    Baseline,
    Comparison,
    DeviceEvidence,
    EvidenceVerdict,
    judge_comparisons,
    take_baseline,
    tally,
)
from edgeferry.domain.rollout_policy import Guard, Limit, RolloutPolicy
from edgeferry.domain.rollout_record import parse_baseline, parse_control, render_started
from edgeferry.domain.sketch import NOT_A_NUMBER, TEXT_BINS
from tests.domain.rollout_worlds import NEW, OLD, START_S, World, a_plan

TEXTS = Manner(texts=True)
GROWN = Manner(texts=True, stray=0.1)
NUMBERS = Manner()


def several(count: int, requests: int, manner: Manner = TEXTS, seed: int = 0) -> list[DeviceEvidence]:
    """Devices as hollow ones count; none of two seeds has drawn the same."""
    found = []
    for number in range(count):
        told = serve(Traffic(), seed * 1000 + number, requests, manner)
        found.append(
            DeviceEvidence(f"d{number}", "sha256:x", requests, told.errors, told.latency, told.outputs)
        )
    return found


def telling(devices: Sequence[DeviceEvidence], outputs: dict[int, int]) -> list[DeviceEvidence]:
    """The same, by whose servers only these answers were counted."""
    return [replace(each, outputs=outputs) for each in devices]


def refusing(devices: Sequence[DeviceEvidence], refused: int) -> list[DeviceEvidence]:
    """The same, who refused so many requests more."""
    return [
        replace(each, requests=each.requests + refused, outputs={**each.outputs, NOT_A_NUMBER: refused})
        for each in devices
    ]


def judge(
    exposed: Sequence[DeviceEvidence], control: Sequence[DeviceEvidence], baseline: Baseline = Baseline()
) -> EvidenceVerdict:
    """The verdict where all devices are of one stratum."""
    return judge_comparisons({"": Comparison(exposed, control, baseline)}, Guard())[1]


BEFORE = several(20, 1000)
AFTER = several(10, 1000, seed=1)
WORSE = several(10, 1000, GROWN, 1)


@pytest.mark.parametrize(
    ("exposed", "control", "state", "about"),
    [
        pytest.param(AFTER, BEFORE, "pass", "texts' group", id="as before"),
        pytest.param(WORSE, BEFORE, "fail", "group 5: 1", id="one label more often"),
        pytest.param(refusing(AFTER, 100), BEFORE, "fail", "no text: 9.1%", id="refuses what was answered"),
        pytest.param(refusing(AFTER, 100), refusing(BEFORE, 100), "pass", "group", id="refuses as before"),
        pytest.param(telling(AFTER, {TEXT_BINS[0]: 1000}), BEFORE, "fail", "group 0: 100", id="a new label"),
        pytest.param(telling(AFTER, {NOT_A_NUMBER: 1000}), BEFORE, "fail", "no text", id="refuses all"),
        pytest.param(several(4, 500, Manner(0.1, 0.0, True), 1), BEFORE, "fail", "errors", id="errors"),
        pytest.param(several(4, 20, seed=1), BEFORE, "inconclusive", "80 requests tell", id="hardly asked"),
        pytest.param(several(4, 0), BEFORE, "inconclusive", "0 requests tell too little", id="never asked"),
        pytest.param(AFTER, several(20, 40), "inconclusive", "predecessor has answered", id="idle control"),
        pytest.param(AFTER, [], "pass", "errors", id="no predecessor"),
        pytest.param(
            several(4, 500, NUMBERS, 1), BEFORE, "inconclusive", "kind: numbers, its", id="numbers for texts"
        ),
        pytest.param(
            AFTER,
            several(20, 500, NUMBERS),
            "inconclusive",
            "kind: texts, its predecessor's are numbers",
            id="texts for numbers",
        ),
        pytest.param(telling(AFTER, {}), BEFORE, "inconclusive", "10000 are no texts", id="none is told"),
        pytest.param(
            telling(AFTER, {NOT_A_NUMBER: 1}),
            several(20, 500, NUMBERS),
            "inconclusive",
            "9990 are no numbers",
            id="none for numbers, and one that was refused",
        ),
        pytest.param(
            AFTER, telling(BEFORE, {}), "inconclusive", "none is known", id="an old server counted no texts"
        ),
        pytest.param(
            AFTER, telling(BEFORE, {NOT_A_NUMBER: 1}), "inconclusive", "none is known", id="but a refusal"
        ),
        pytest.param(
            several(4, 500, replace(GROWN, errors=0.1), 1),
            several(20, 500, NUMBERS),
            "fail",
            "errors",
            id="another kind, and errors",
        ),
    ],
)
def test_one_stratum(
    exposed: list[DeviceEvidence], control: list[DeviceEvidence], state: str, about: str
) -> None:
    verdict = judge(exposed, control)
    assert (verdict.state, about in verdict.reason) == (state, True), verdict.reason


@pytest.mark.parametrize("refused", [1, 100])
def test_what_a_model_refuses_is_no_answer_that_others_must_have(refused: int) -> None:
    """Of models whose answers nobody counts, one bad request holds no later rollout."""
    control = telling(BEFORE, {NOT_A_NUMBER: refused})
    assert judge(telling(AFTER, {}), control).state == "pass"
    assert judge(telling(AFTER, {NOT_A_NUMBER: 1}), control).state == "pass"
    failing = telling(several(4, 500, Manner(errors=0.1), 1), {})
    assert judge(failing, control).state == "fail"


def test_a_text_in_place_of_a_number_is_outside_any_band() -> None:
    control = several(20, 500, NUMBERS)
    texts = telling(AFTER, {})
    exposed = [
        replace(each, outputs={**each.outputs, TEXT_BINS[3]: 100}) for each in several(4, 400, NUMBERS, 1)
    ]
    verdict = judge([replace(each, requests=500) for each in exposed], control)
    assert (verdict.state, "outputs outside" in verdict.reason) == ("fail", True)
    assert judge(texts, control).state == "inconclusive"


def test_one_device_that_answers_another_kind_makes_no_release_fail() -> None:
    strange = several(1, 500, NUMBERS, 2)
    exposed = [*several(19, 500, seed=1), *strange]
    assert judge(exposed, BEFORE).state == "inconclusive"
    verdicts = judge_comparisons({"": Comparison(exposed, BEFORE)}, Guard(), Limit(1))
    assert verdicts[1].state == "pass", verdicts[1].reason


def test_strata_are_compared_with_their_own_kind() -> None:
    often = several(20, 1000, GROWN, 3)
    strata = {
        "often": Comparison(WORSE, often),
        "seldom": Comparison(AFTER, BEFORE),
    }
    verdicts, whole = judge_comparisons(strata, Guard())
    assert {each.state for each in (*verdicts.values(), whole)} == {"pass"}, whole.reason
    swapped = {"often": strata["often"], "seldom": Comparison(WORSE, BEFORE)}
    verdicts, whole = judge_comparisons(swapped, Guard())
    assert [verdicts[name].state for name in ("often", "seldom")] == ["pass", "fail"]


def test_the_ledger_keeps_what_texts_the_predecessor_answered() -> None:
    baseline = {"": take_baseline(BEFORE)}
    control = {"": tally(BEFORE, baseline[""])}
    body = json.loads(json.dumps(render_started(StartWave(1, "*", "", baseline, control))))
    kept = parse_baseline(body)[""]
    assert kept.texts
    assert parse_control(body)[""].keys() >= set(TEXT_MEASURES)
    assert judge(WORSE, [], kept).state == "fail"
    assert judge(AFTER, [], kept).state == "pass"
    assert judge(several(4, 500, NUMBERS, 1), [], kept).state == "inconclusive"


def test_what_changes_for_all_devices_at_once_is_not_the_release() -> None:
    """At night everybody answers `free` more often: the control that serves beside the exposed does, too."""
    baseline = take_baseline(BEFORE)
    since = tally(BEFORE, baseline)
    night = []
    for before, later in zip(BEFORE, several(20, 1000, GROWN, 4), strict=True):
        outputs = {each: before.outputs.get(each, 0) + later.outputs[each] for each in later.outputs}
        night.append(replace(before, requests=2000, outputs=outputs))
    exposed = WORSE
    assert judge_comparisons({"": Comparison(exposed, night, baseline, since)}, Guard())[1].state == "pass"
    assert judge_comparisons({"": Comparison(exposed, BEFORE, baseline)}, Guard())[1].state == "fail"


def test_a_release_that_is_no_worse_is_hardly_ever_stopped() -> None:
    """30 rollouts, looked at three times each, under a policy for which any growth is too much."""
    verdicts = [
        judge_comparisons(
            {
                "": Comparison(
                    several(16, requests, seed=2 * number + 10), several(16, requests, seed=2 * number + 11)
                )
            },
            Guard(margin=0.0),
        )[1].state
        for number in range(30)
        for requests in (70, 100, 130)
    ]
    assert set(verdicts) == {"inconclusive"}


@pytest.mark.parametrize(("grown", "state"), [(350, "inconclusive"), (353, "fail")])
def test_the_twelve_shares_together_err_no_more_often_than_one_would(grown: int, state: str) -> None:
    """The first of these would surely have grown, were it the only one that is looked at."""
    control = telling(BEFORE, {TEXT_BINS[0]: 300, TEXT_BINS[1]: 700})
    exposed = telling(AFTER, {TEXT_BINS[0]: grown, TEXT_BINS[1]: 1000 - grown})
    assert judge(exposed, control).state == state


def answers(manner: Manner, before: Manner = TEXTS) -> World:
    """A world whose release answers like this, and its predecessor like that."""

    served: dict[tuple[str, bool], Traffic] = {}

    def evidence_of(device: str, exposed: bool, now_s: float) -> DeviceEvidence:
        count = int(now_s - START_S) + (0 if exposed else 200)
        key = int(device[1:]) + (1000 if exposed else 0)
        told = serve(served.get((device, exposed), Traffic()), key, count, manner if exposed else before)
        served[device, exposed] = told
        digest = NEW if exposed else OLD
        return DeviceEvidence(device, digest, count, told.errors, {LATENCIES_MS.bins[0]: count}, told.outputs)

    return World(a_plan(20, 80), RolloutPolicy(soak_s=300), evidence_of=evidence_of, tick_s=60)


@pytest.mark.parametrize(
    ("manner", "word", "about"),
    [
        pytest.param(TEXTS, State.SUCCEEDED, "measured on 100 devices", id="as before"),
        pytest.param(replace(GROWN, stray=0.3), State.FAILED, "texts' group 5", id="one label more often"),
    ],
)
def test_a_rollout_goes_by_the_texts_that_are_answered(manner: Manner, word: State, about: str) -> None:
    state = answers(manner).run()
    assert state.end is not None
    assert (state.end[0], about in state.end[1]) == (word, True), state.end


def test_a_person_lets_a_release_pass_that_answers_another_kind() -> None:
    world = answers(TEXTS, NUMBERS)
    world.run()
    assert isinstance(world.log[-1], Hold)
    assert "another kind" in world.log[-1].reason
    assert world.started() == [1]
    world.order("promote", "it names classes now", by="ann")
    world.step()
    world.step()
    assert world.started() == [1, 2]
