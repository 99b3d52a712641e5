"""The truth table of rollouts: the device's facts, the word for its state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.rollout import (
    DeviceFacts,
    Outcome,
    State,
    Wanted,
    judge_at_deadline,
    judge_device,
    judge_rollout,
)
from edgeferry.domain.smoke import Answer, CaseSet, EqualCase, Evidence, Verdict

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
CONFIG = "sha256:" + "c" * 64
IMAGE = f"registry:5443/taxi/nyc_taxi@{DIGEST}"
CASES = CaseSet("nyc_taxi", "1", Tolerance(1e-9, 0.0), 100.0, (EqualCase("one", ((1.0,),), (5.0,)),))
WANTED = Wanted("nyc_taxi", DIGEST, frozenset({DIGEST, CONFIG}), "cases", "nonce", CASES)
SHOWN = (Evidence("one", (Answer(200, (5.0,), 1.0),)),)
VERDICT = Verdict("nyc_taxi", "Passed", DIGEST, "1", "cases", "nonce", "", 1, 0, 2.0, 3.0, "", SHOWN)
PROVEN = DeviceFacts(
    device="device-1",
    connected=True,
    has_base=True,
    desired_image=IMAGE,
    brought_by=4,
    reported_version=4,
    status_code=200,
    status_reason="",
    image=IMAGE,
    image_hash=CONFIG,
    runtime_status="running",
    runtime_reason="",
    verdict=VERDICT,
)


@pytest.mark.parametrize(
    ("facts", "now", "at_deadline"),
    [
        pytest.param(PROVEN, "Succeeded", "Succeeded", id="all of it measured"),
        pytest.param(
            replace(PROVEN, reported_version=9),
            "Succeeded",
            "Succeeded",
            id="a later version of another layer",
        ),
        pytest.param(
            replace(PROVEN, image_hash=DIGEST),
            "Succeeded",
            "Succeeded",
            id="an engine that reports manifests",
        ),
        pytest.param(replace(PROVEN, desired_image=""), "Pending", "TimedOut", id="layer not applied"),
        pytest.param(
            replace(PROVEN, desired_image="", has_base=False), "Pending", "TimedOut", id="no base deployment"
        ),
        pytest.param(
            replace(PROVEN, desired_image=IMAGE.replace("a" * 64, "b" * 64)),
            "Pending",
            "TimedOut",
            id="another layer wins the module",
        ),
        pytest.param(replace(PROVEN, reported_version=3), "Pending", "TimedOut", id="stale report"),
        pytest.param(
            replace(PROVEN, reported_version=3, connected=False), "Pending", "Unreachable", id="switched off"
        ),
        pytest.param(
            replace(PROVEN, status_code=500, status_reason="manifest unknown", image=""),
            "Pending",
            "Failed",
            id="pull fails",
        ),
        pytest.param(
            replace(PROVEN, status_code=500, status_reason="manifest unknown"),
            "Succeeded",
            "Succeeded",
            id="another module's pull fails",
        ),
        pytest.param(
            replace(PROVEN, connected=False), "Pending", "Unreachable", id="power cut after it was proven"
        ),
        pytest.param(replace(PROVEN, image=""), "Pending", "TimedOut", id="module missing on the device"),
        pytest.param(
            replace(PROVEN, image=IMAGE.replace("a" * 64, "b" * 64), layer_outcome="RolledBack"),
            "Failed",
            "Failed",
            id="the device went back by itself",
        ),
        pytest.param(
            replace(PROVEN, image="", layer_outcome="Refused"), "Failed", "Failed", id="refused by the owner"
        ),
        pytest.param(
            replace(PROVEN, runtime_status="backoff", layer_outcome="Failed"),
            "Failed",
            "Failed",
            id="failed with nothing to go back to",
        ),
        pytest.param(
            replace(PROVEN, reported_version=3, layer_outcome="RolledBack"),
            "Pending",
            "TimedOut",
            id="what went back is an earlier version of the layer",
        ),
        pytest.param(replace(PROVEN, layer_outcome="Trial"), "Succeeded", "Succeeded", id="still on trial"),
        pytest.param(replace(PROVEN, image_hash=OTHER), "Failed", "Failed", id="image of another content"),
        pytest.param(replace(PROVEN, image_hash=""), "Failed", "Failed", id="image hash not reported"),
        pytest.param(replace(PROVEN, runtime_status="backoff"), "Pending", "Failed", id="crash loop"),
        pytest.param(replace(PROVEN, runtime_status="stopped"), "Pending", "TimedOut", id="not running"),
        pytest.param(replace(PROVEN, verdict=None), "Pending", "TimedOut", id="companion silent"),
        pytest.param(
            replace(PROVEN, verdict=replace(VERDICT, nonce="old")),
            "Pending",
            "TimedOut",
            id="verdict of an older rollout",
        ),
        pytest.param(
            replace(PROVEN, verdict=replace(VERDICT, digest=OTHER)),
            "Pending",
            "TimedOut",
            id="verdict on another image",
        ),
        pytest.param(
            replace(PROVEN, verdict=replace(VERDICT, cases_sha256="x")),
            "Pending",
            "TimedOut",
            id="verdict on other cases",
        ),
        pytest.param(
            replace(PROVEN, verdict=replace(VERDICT, state="Failed")),
            "Failed",
            "Failed",
            id="smoke test failed",
        ),
        pytest.param(
            replace(PROVEN, verdict=replace(VERDICT, state="Inconclusive")),
            "Pending",
            "Inconclusive",
            id="smoke test inconclusive",
        ),
    ],
)
def test_a_device_counts_only_when_all_is_measured(facts: DeviceFacts, now: str, at_deadline: str) -> None:
    assert judge_device(WANTED, facts).state == now
    assert judge_at_deadline(WANTED, facts).state == at_deadline


def outcome(state: State) -> Outcome:
    return Outcome(f"device-{state}", state, "because")


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        pytest.param([], State.INCONCLUSIVE, id="nobody targeted is not success"),
        pytest.param([State.SUCCEEDED], State.SUCCEEDED, id="one proven"),
        pytest.param([State.SUCCEEDED, State.FAILED], State.FAILED, id="one failed of two"),
        pytest.param([State.UNREACHABLE, State.FAILED], State.FAILED, id="failed outweighs unreachable"),
        pytest.param([State.SUCCEEDED, State.UNREACHABLE], State.UNREACHABLE, id="one switched off"),
        pytest.param([State.SUCCEEDED, State.TIMED_OUT], State.TIMED_OUT, id="one too slow"),
        pytest.param([State.SUCCEEDED, State.INCONCLUSIVE], State.INCONCLUSIVE, id="one without an answer"),
    ],
)
def test_a_rollout_is_as_good_as_its_worst_device(states: list[State], whole: State) -> None:
    assert judge_rollout([outcome(state) for state in states])[0] is whole


def test_the_reason_names_the_devices_that_kept_it_from_success() -> None:
    state, reason = judge_rollout([outcome(State.SUCCEEDED), outcome(State.FAILED)])
    assert (state, reason) == (State.FAILED, "device-Failed: because")


def test_the_reason_of_a_device_that_went_back_is_the_agents_own() -> None:
    facts = replace(PROVEN, image="", layer_outcome="RolledBack", layer_reason="module nyc_taxi is unhealthy")
    assert judge_device(WANTED, facts).reason == (
        "the device went back to what it had proven before: module nyc_taxi is unhealthy"
    )


def test_a_companion_that_passes_wrong_answers_is_found_and_one_that_shows_none_is_not_believed() -> None:
    def says(*values: float) -> DeviceFacts:
        shown = (Evidence("one", (Answer(200, values, 1.0),)),) if values else ()
        return replace(PROVEN, verdict=replace(VERDICT, evidence=shown))

    assert judge_device(WANTED, says(5.0)).state is State.SUCCEEDED
    assert judge_device(WANTED, says(5.1)).state is State.FAILED
    assert "the companion says Passed, but one" in judge_device(WANTED, says(5.1)).reason
    assert judge_device(WANTED, says()).state is State.PENDING
    assert judge_at_deadline(WANTED, says()).state is State.INCONCLUSIVE


def test_without_the_cases_at_hand_no_device_is_proven() -> None:
    wanted = replace(WANTED, cases=None)
    assert judge_device(wanted, PROVEN).state is State.PENDING
    assert judge_at_deadline(wanted, PROVEN).state is State.INCONCLUSIVE
