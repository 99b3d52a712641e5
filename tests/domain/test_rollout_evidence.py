"""Whether a release answers worse than its predecessor, by what devices counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeferry.domain.rollout_evidence import (
    Baseline,
    Comparison,
    DeviceEvidence,
    EvidenceVerdict,
    judge_comparisons,
    take_baseline,
    tally,
)
from edgeferry.domain.rollout_policy import Guard, Limit
from edgeferry.domain.sketch import NOT_A_NUMBER

GUARD = Guard()


def counted(
    requests: int, *, stray: float = 0.018, slow: float = 0.0, errors: float = 0.0, name: str = "d"
) -> DeviceEvidence:
    """A device whose outputs lie in bin 300, but for a share below and above; a share of answers is slow."""
    failed, late, out = (round(requests * share) for share in (errors, slow, stray))
    outputs = {300: requests - out, 100: out // 2, 500: out - out // 2}
    return DeviceEvidence(name, "sha256:x", requests, failed, {80: requests - late, 120: late}, outputs)


def several(count: int, requests: int, **shares: float) -> list[DeviceEvidence]:
    return [counted(requests, name=f"d{number}", **shares) for number in range(count)]


def judge_evidence(
    exposed: Sequence[DeviceEvidence],
    control: Sequence[DeviceEvidence],
    guard: Guard,
    spare: Limit = Limit(),
    baseline: Baseline = Baseline(),
) -> EvidenceVerdict:
    """The verdict where all devices are of one stratum."""
    return judge_comparisons({"": Comparison(exposed, control, baseline)}, guard, spare)[1]


CONTROL = several(20, 1000)


@pytest.mark.parametrize(
    ("exposed", "control", "state", "about"),
    [
        pytest.param(several(4, 1000), CONTROL, "pass", "outputs", id="as before"),
        pytest.param(several(4, 1000, stray=0.07), CONTROL, "fail", "outputs", id="outputs elsewhere"),
        pytest.param(several(4, 1000, slow=0.1), CONTROL, "fail", "slower", id="a tenth is slow"),
        pytest.param(several(4, 1000, errors=0.05), CONTROL, "fail", "errors", id="errors"),
        pytest.param(several(4, 1000, stray=0.0), CONTROL, "pass", "outputs", id="better than before"),
        pytest.param(several(4, 20), CONTROL, "inconclusive", "too little", id="hardly asked"),
        pytest.param(several(4, 0), CONTROL, "inconclusive", "too little", id="never asked"),
        pytest.param([], CONTROL, "inconclusive", "no exposed device", id="nothing told"),
        pytest.param(several(4, 1000), several(20, 1), "inconclusive", "predecessor", id="idle predecessor"),
        pytest.param(several(4, 1000), [], "pass", "errors", id="no predecessor"),
        pytest.param(several(4, 1000, errors=0.1), [], "fail", "errors", id="no predecessor, and errors"),
        pytest.param(several(4, 10), [], "inconclusive", "errors", id="no predecessor, hardly asked"),
        pytest.param(
            [counted(1000, stray=0.9), *several(9, 1000)],
            CONTROL,
            "inconclusive",
            "too many",
            id="one device",
        ),
        pytest.param([counted(1000, errors=1.0)], CONTROL, "inconclusive", "errors", id="one device is all"),
        pytest.param(
            several(4, 1000, errors=0.03),
            several(20, 1000, errors=0.03),
            "pass",
            "errors",
            id="errors as the predecessor's",
        ),
        pytest.param(several(4, 150, stray=0.04), CONTROL, "inconclusive", "too many", id="neither"),
    ],
)
def test_one_stratum(
    exposed: list[DeviceEvidence], control: list[DeviceEvidence], state: str, about: str
) -> None:
    verdict = judge_evidence(exposed, control, GUARD)
    assert verdict.state == state, verdict.reason
    assert about in verdict.reason


def test_answers_that_are_no_numbers_are_outside_any_band() -> None:
    broken = [
        DeviceEvidence(each.device, "sha256:x", 1000, 0, each.latency, {NOT_A_NUMBER: 1000})
        for each in several(4, 1000)
    ]
    assert judge_evidence(broken, CONTROL, GUARD).state == "fail"


def test_a_model_without_numbers_is_judged_by_errors_and_latency() -> None:
    def mute(devices: list[DeviceEvidence]) -> list[DeviceEvidence]:
        return [
            DeviceEvidence(each.device, "x", each.requests, each.errors, each.latency, {}) for each in devices
        ]

    assert judge_evidence(mute(several(4, 1000)), mute(CONTROL), GUARD).state == "pass"
    assert judge_evidence(mute(several(4, 1000, errors=0.1)), mute(CONTROL), GUARD).state == "fail"


def test_a_predecessor_with_few_numbers_makes_no_band() -> None:
    control = [replace(each, requests=60, outputs={300: 20}) for each in CONTROL]
    verdict = judge_evidence(several(4, 1000), control, GUARD)
    assert (verdict.state, "too few to compare with" in verdict.reason) == ("inconclusive", True)


def test_the_numbers_of_one_answer_are_no_independent_witnesses() -> None:
    """Answers of a thousand numbers each: thirty of them tell as little as thirty of one."""
    few = [DeviceEvidence(f"d{number}", "x", 10, 0, {80: 10}, {300: 9000, 500: 1000}) for number in range(4)]
    assert judge_evidence(few, CONTROL, GUARD).state == "inconclusive"


def test_as_many_bad_devices_as_may_fail_stand_in_nobodys_way() -> None:
    exposed = [*several(2, 1000, errors=0.5), *several(18, 1000)]
    assert judge_evidence(exposed, CONTROL, GUARD, Limit(2)).state == "pass"
    assert judge_evidence(exposed, CONTROL, GUARD, Limit(1)).state != "pass"
    assert judge_evidence(exposed, CONTROL, GUARD).state == "fail"


def test_many_requests_of_few_devices_tell_less_where_devices_differ() -> None:
    """Half of the predecessor's devices leave the band four times as often as the others: two devices of the
    first kind are no worse than they were."""
    mixed = [*several(20, 5000, stray=0.008), *several(20, 5000, stray=0.03)]
    assert judge_evidence(several(3, 5000, stray=0.06), mixed, GUARD).state != "fail"
    assert judge_evidence(several(3, 5000, stray=0.06), several(40, 5000), GUARD).state == "fail"


def test_a_broken_stratum_is_told_apart_from_one_that_is_well() -> None:
    strata = {
        "rare": Comparison(several(2, 1000, stray=0.07), several(9, 1000)),
        "common": Comparison(several(18, 1000), several(90, 1000)),
    }
    verdicts, whole = judge_comparisons(strata, GUARD)
    assert {name: each.state for name, each in verdicts.items()} == {"rare": "fail", "common": "pass"}
    assert whole.state == "pass"


def test_strata_that_are_exposed_unequally_are_compared_with_their_own_kind() -> None:
    """Errors are at home in one stratum: that more of it is exposed makes the release no worse."""
    strata = {
        "rough": Comparison(several(10, 1000, errors=0.08), several(10, 1000, errors=0.08)),
        "calm": Comparison(several(10, 1000), several(200, 1000)),
    }
    verdicts, whole = judge_comparisons(strata, GUARD)
    assert {each.state for each in (*verdicts.values(), whole)} == {"pass"}


def test_without_a_control_the_ledgers_baseline_is_compared_with() -> None:
    baseline = take_baseline(CONTROL)
    assert judge_evidence(several(4, 1000, stray=0.07), [], GUARD, baseline=baseline).state == "fail"
    assert judge_evidence(several(4, 1000), [], GUARD, baseline=baseline).state == "pass"
    idle = take_baseline(several(20, 1))
    assert judge_evidence(several(4, 1000), [], GUARD, baseline=idle).state == "inconclusive"


def test_what_changes_for_all_devices_at_once_is_not_the_release() -> None:
    """At night everybody's outputs leave the band of the day: the control that serves beside the exposed
    does, too."""
    baseline = take_baseline(CONTROL)
    since = tally(CONTROL, baseline)
    night = [
        DeviceEvidence(
            e.device, e.digest, e.requests + 500, 0, {80: 1500}, {**e.outputs, 500: e.outputs[500] + 50}
        )
        for e in CONTROL
    ]
    exposed = several(4, 1000, stray=0.1)
    assert judge_comparisons({"": Comparison(exposed, night, baseline, since)}, GUARD)[1].state == "pass"
    assert judge_comparisons({"": Comparison(exposed, CONTROL, baseline)}, GUARD)[1].state == "fail"


def test_a_control_that_was_restarted_is_taken_as_it_is() -> None:
    baseline = take_baseline(CONTROL)
    since = tally(several(20, 50_000), baseline)
    assert (
        judge_comparisons({"": Comparison(several(4, 1000), CONTROL, baseline, since)}, GUARD)[1].state
        == "pass"
    )


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_a_release_that_is_no_worse_is_hardly_ever_stopped(spread: float) -> None:
    """60 rollouts, looked at ten times each; devices are alike, or differ."""
    dice = random.Random(8)

    def draw(before: DeviceEvidence | None, rate: float, name: str) -> DeviceEvidence:
        out = sum(dice.random() < rate for _ in range(60))
        old = before or DeviceEvidence(name, "x", 0, 0, {}, {})
        outputs = {300: old.outputs.get(300, 0) + 60 - out, 500: old.outputs.get(500, 0) + out}
        return DeviceEvidence(name, "x", old.requests + 60, 0, {}, outputs)

    stopped = 0
    for _ in range(60):
        rates = [dice.betavariate(0.02 / spread, 0.98 / spread) if spread else 0.02 for _ in range(40)]
        devices: list[DeviceEvidence | None] = [None] * 40
        for _ in range(10):
            devices = [draw(devices[each], rates[each], f"d{each}") for each in range(40)]
            known = [each for each in devices if each]
            band = Baseline(40, (300, 300), None, {})
            stopped += judge_evidence(known[:4], known[4:], GUARD, baseline=band).state == "fail"
    assert stopped == 0
