"""The companion's own road, and a model's beside it: against a real hub with hollow devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.gate_policy import GatePolicy, parse_metric_rules
from edgeferry.domain.hollow_device import Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.model import ModelVersion
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.begin import open_running
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.release import release as sign
from edgeferry.workflows.rollback import Reverted, roll_back
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import find_rollout, load_plan, load_record
from tests.adapters.test_registry import make_image
from tests.hollows import (
    FLEET,
    Hollows,
    companion_digest,
    layers_of,
    open_services,
    release,
    release_companion,
    roll,
    rules,
    say_yes,
)
from tests.hubs import RunningHub
from tests.workflows.test_approve import verified

NAMES = ["a", "b", "c", "bare"]
WAVES = "1; 100 %"
STRICT = GatePolicy(evidence=("metrics",), metrics=parse_metric_rules("r2 >= 0.5"), self_approval=True)
"""As an environment with models has it."""
patient = partial(rules, timeout_s="120")
BAD = {
    3: Fault("asks_nothing", digest=companion_digest(3)),
    4: Fault("wrong_digest", module="companion", digest=companion_digest(4)),
    5: Fault("dead", module="companion", digest=companion_digest(5)),
}
PACE = Pace(pull_s=0.1, ask_s=0.1, report_s=60.0, trial=TrialRules(crashes=1))


@pytest.fixture(scope="module")
def services(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    opened = open_services(hub.state, tmp_path_factory.mktemp("companions"), print)
    yield opened
    opened.hub.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def fleet(hub: RunningHub) -> Iterator[Hollows]:
    """Four devices, one of them without a model."""
    tags = {name: {"rollout_bucket": 2500 * number} for number, name in enumerate(NAMES)}
    tags["bare"]["models"] = {}
    hollows = Hollows(hub, NAMES, {name: list(BAD.values()) for name in NAMES}, PACE).start(tags)
    yield hollows
    hollows.stop()


@pytest.fixture(scope="module")
def shipped(services: Services, fleet: Hollows) -> ModelLayer:
    """The companion that the first model has brought."""
    release_companion(services, 1)
    entry = release(services, 1)
    say_yes(services, entry, patient())
    result = roll(services, entry, patient())
    assert result.state is State.SUCCEEDED, result.reason
    (layer,) = layers_of(services, "companion")
    assert (layer.digest, layer.target_condition) == (companion_digest(1), FLEET.all_devices)
    return layer


def roll_companion(services: Services, entry: Entry) -> RolloutResult:
    by = replace(patient(waves=WAVES), gate=STRICT)
    say_yes(services, entry, by, FLEET.all_devices)
    return roll(services, entry, by, FLEET.all_devices)


def back(services: Services, module: str) -> Reverted:
    return roll_back(
        services, module, fleet=FLEET, reason="", rules=patient(), user="ann", on_change=lambda outcome: None
    )


def companions(fleet: Hollows) -> dict[str, tuple[str, float]]:
    """The digest of each device's companion, and since when it runs."""
    running = {name: fleet.hollow(name).running["companion"] for name in NAMES}
    return {name: (one.spec.image.partition("@")[2], one.started_at) for name, one in running.items()}


def exposed(fleet: Hollows, digest: str) -> set[str]:
    """The devices that were ever to run that image."""
    return {name for name in NAMES if any(image.endswith(digest) for image in fleet.hollow(name).images)}


def test_a_changed_companion_goes_out_in_waves_of_its_own_and_never_with_a_model(
    services: Services, fleet: Hollows, shipped: ModelLayer
) -> None:
    before = companions(fleet)
    newer = release_companion(services, 2)
    model = release(services, 2, companion=newer)
    say_yes(services, model, patient())
    assert roll(services, model, patient()).state is State.SUCCEEDED
    assert back(services, "taxi").ok
    assert companions(fleet) == before
    assert layers_of(services, "companion") == [shipped]
    unapproved = roll(services, newer, patient(waves=WAVES), FLEET.all_devices)
    assert unapproved.state is State.SKIPPED
    result = roll_companion(services, newer)
    assert (result.state, len(result.outcomes)) == (State.SUCCEEDED, 4), result.reason
    said = {outcome.device: outcome.reason for outcome in result.outcomes}
    assert said["a"] == "1 model passed through it"
    assert said["bare"] == "it answers; the device has no models"
    started = [one.body["wave"] for one in services.ledger.entries("wave", result.rollout) if started_by(one)]
    assert started == [1, 2]
    assert {digest for digest, _ in companions(fleet).values()} == {companion_digest(2)}
    assert [is_compared(services, name) for name in (result.rollout, model.subject)] == [False, True]
    assert [layer.digest for layer in layers_of(services, "companion")] == [
        companion_digest(1),
        companion_digest(2),
    ]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        pytest.param(3, "says Passed, but shows the answers to 0 of 1 cases", id="says Passed of everything"),
        pytest.param(4, "another content", id="is another digest"),
        pytest.param(5, "ended by itself", id="crashes"),
    ],
)
def test_a_bad_companion_is_taken_back_and_exposes_its_wave_only(
    services: Services, fleet: Hollows, shipped: ModelLayer, version: int, words: str
) -> None:
    top = layers_of(services, "companion")[-1]
    result = roll_companion(services, release_companion(services, version))
    assert (result.state, words in result.reason) == (State.FAILED, True), result.reason
    assert f"{top.release} serves again: Succeeded" in result.reason
    assert exposed(fleet, companion_digest(version)) == set(plan_of(services, result).waves[0].members)
    assert {digest for digest, _ in companions(fleet).values()} == {top.digest}


def test_a_person_takes_the_companion_back_and_the_first_one_stays(
    services: Services, fleet: Hollows, shipped: ModelLayer
) -> None:
    if len(layers_of(services, "companion")) == 1:
        assert roll_companion(services, release_companion(services, 2)).state is State.SUCCEEDED
    result = back(services, "companion")
    assert (result.ok, result.previous) == (True, shipped.release), result.reason
    assert layers_of(services, "companion") == [shipped]
    assert {digest for digest, _ in companions(fleet).values()} == {shipped.digest}
    with pytest.raises(RefusedError, match="only release"):
        back(services, "companion")


def test_a_model_is_not_planned_for_a_device_that_no_companion_reaches(
    services: Services, fleet: Hollows, shipped: ModelLayer
) -> None:
    found = services.hub.configuration(shipped.name)
    assert found is not None
    services.hub.update_configuration({**found, "targetCondition": "tags.rollout_bucket = 0"})
    try:
        plan = make_plan(services, release(services, 9), "tags.models.taxi = true", FLEET, patient().planned)
    finally:
        found = services.hub.configuration(shipped.name)
        assert found is not None
        services.hub.update_configuration({**found, "targetCondition": shipped.target_condition})
    (conflict,) = plan.obstacles
    assert (str(conflict.kind), set(conflict.examples)) == ("no-companion", {"b", "c"})


def test_another_companion_makes_no_new_release_of_a_model(services: Services, tmp_path: Path) -> None:
    image = make_image(tmp_path, "taxi", (b"model",))
    labels = {"io.edgeferry.cases-sha256": "c", "io.edgeferry.model-sha256": "m"}
    image = replace(image, labels=labels)
    version = ModelVersion("taxi", "7", "run", {"r2": 0.9}, ())
    proof = verified(image.digest, "7")
    made = [
        sign(services, version, image, proof, release_companion(services, number), "ann") for number in (1, 2)
    ]
    assert [new for _, new in made] == [True, False]
    assert made[0][0].body["companion"]["release"] == release_companion(services, 1).subject
    retrained = replace(version, metrics={"r2": 0.8})
    assert sign(services, retrained, image, proof, release_companion(services, 2), "ann")[1]


def is_compared(services: Services, rollout: str) -> bool:
    """Whether answers to users are, while it soaks."""
    return open_running(services, find_rollout(services, rollout), FLEET, STRICT).policy.guard.compare


def started_by(entry: Entry) -> bool:
    return bool(entry.body["event"] == "started")


def plan_of(services: Services, result: RolloutResult) -> RolloutPlan:
    record = load_record(services, result.rollout)
    return load_plan(services, result.release, record.state.plan_hash, "")
