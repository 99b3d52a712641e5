"""The agent's own road: one further base in a layer's place, against a real hub with hollow devices."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow_device import Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.rollback import roll_back
from edgeferry.workflows.rollout import RolloutResult
from tests.hollows import (
    FLEET,
    Hollows,
    ListedLedger,
    layers_of,
    open_services,
    release,
    roll,
    rules,
    say_yes,
)
from tests.hubs import RunningHub

NAMES = ["a", "b", "c", "bare"]
PROGRAM = "program"
"""A device whose agent is no container."""
BOXES = "tags.site = 'boxes'"
"""The others."""
WAVES = "1; 100 %"
IOT_EDGE = "mcr.microsoft.com/azureiotedge-agent:1.5"
patient = partial(rules, timeout_s="120", waves=WAVES)
PACE = Pace(pull_s=0.1, ask_s=0.1, report_s=60.0, trial=TrialRules(crashes=1))


def digest_of(version: int) -> str:
    return f"sha256:{version:08x}{'a' * 56}"


FAILS, BREAKS = 7, 8
FAULTS = [Fault("agent_fails", digest=digest_of(FAILS)), Fault("agent_breaks", digest=digest_of(BREAKS))]


def release_agent(services: Services, version: int) -> Entry:
    name, digest = f"agent-v{version}-{version:08x}", digest_of(version)
    body = {"model": "agent", "version": str(version), "digest": digest, "config_digest": digest}
    known = services.ledger.entries("release", name)
    return (
        known[-1] if known else services.ledger.append("release", name, {**body, "cases_sha256": ""}, "ann")
    )


@pytest.fixture(scope="module")
def services(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    opened: Any = open_services(hub.state, tmp_path_factory.mktemp("agents"), print)
    opened.ledger = ListedLedger(opened.now)
    yield opened
    opened.hub.close()


@pytest.fixture(scope="module")
def fleet(hub: RunningHub, services: Services) -> Iterator[Hollows]:
    """Five devices, three of them with a model that was shipped to them."""
    tags: dict[str, dict[str, Any]] = {
        name: {"rollout_bucket": 2500 * number, "site": "boxes"} for number, name in enumerate(NAMES)
    }
    tags |= {PROGRAM: {"rollout_bucket": 9000, "models": {}}}
    tags["bare"]["models"] = {}
    faults = {**dict.fromkeys(NAMES, FAULTS), PROGRAM: [Fault("agent_fixed")]}
    hollows = Hollows(hub, [*NAMES, PROGRAM], faults, PACE).start(tags)
    entry = release(services, 1)
    say_yes(services, entry, patient(waves="100 %"))
    result = roll(services, entry, patient(waves="100 %"))
    assert result.state is State.SUCCEEDED, result.reason
    yield hollows
    hollows.stop()


def roll_agent(services: Services, version: int) -> RolloutResult:
    entry = release_agent(services, version)
    say_yes(services, entry, patient(), BOXES)
    return roll(services, entry, patient(), BOXES)


def agents(fleet: Hollows) -> dict[str, str]:
    """The digest of each device's agent, or its image where that has none."""
    running = {name: fleet.hollow(name).agent for name in NAMES}
    images = {name: one.spec.image if one else "" for name, one in running.items()}
    return {name: image.partition("@")[2] or image for name, image in images.items()}


def modules(fleet: Hollows) -> dict[str, set[tuple[str, float]]]:
    """What runs on each device, and since when."""
    return {
        name: {(module, one.started_at) for module, one in fleet.hollow(name).running.items()}
        for name in NAMES
    }


def exposed(fleet: Hollows, version: int) -> set[str]:
    """The devices that were ever to be that agent."""
    digest = digest_of(version)
    return {name for name in NAMES if any(image.endswith(digest) for image in fleet.hollow(name).images)}


def content(services: Services, name: str) -> Any:
    found = services.hub.configuration(name)
    assert found is not None
    return found["content"]["modulesContent"]


def test_a_good_agent_goes_out_in_waves_and_changes_nothing_else(services: Services, fleet: Hollows) -> None:
    before = modules(fleet)
    result = roll_agent(services, 1)
    assert (result.state, len(result.outcomes)) == (State.SUCCEEDED, 4), result.reason
    said = {outcome.device: outcome.reason for outcome in result.outcomes}
    assert said["a"] == "1 model passed since it runs"
    assert said["bare"] == "it runs; the device has no models"
    waves = services.ledger.entries("wave", result.rollout)
    assert [one.body["wave"] for one in waves if one.body["event"] == "started"] == [1, 2]
    assert set(agents(fleet).values()) == {digest_of(1)}
    assert modules(fleet) == before
    (layer,) = layers_of(services, "agent")
    base, copy = content(services, "edgeferry-base"), content(services, layer.name)
    own = copy["$edgeAgent"]["properties.desired"]["systemModules"]["edgeAgent"]
    own["settings"]["image"] = IOT_EDGE
    assert own.pop("env") == {"EDGEFERRY_NONCE": {"value": layer.nonce}}
    assert copy == base


def test_the_one_before_stays_beneath_and_a_person_goes_back_to_it(
    services: Services, fleet: Hollows
) -> None:
    assert proven(services).digest == digest_of(1)
    assert roll_agent(services, 2).state is State.SUCCEEDED
    found = layers_of(services, "agent")
    assert [layer.digest for layer in found] == [digest_of(1), digest_of(2)]
    model = make_plan(services, release(services, 2), "tags.models.taxi = true", FLEET, patient().planned)
    assert model.obstacles == ()
    assert [str(one.kind) for one in model.conflicts if str(one.kind) == "foreign-base"] == []
    back = roll_back(
        services, "agent", fleet=FLEET, reason="", rules=patient(), user="ann", on_change=lambda outcome: None
    )
    assert (back.ok, back.previous) == (True, release_agent(services, 1).subject), back.reason
    assert set(agents(fleet).values()) == {digest_of(1)}


def proven(services: Services) -> ModelLayer:
    """The agent that all devices have proven."""
    found = layers_of(services, "agent")
    if not found:
        assert roll_agent(services, 1).state is State.SUCCEEDED
        found = layers_of(services, "agent")
    return found[-1]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        pytest.param(FAILS, "went back to what it had proven before: the agent", id="falls back by itself"),
        pytest.param(BREAKS, "taxi: smoke test failed", id="runs, and breaks the models"),
    ],
)
def test_a_bad_agent_is_taken_back_and_reaches_its_wave_only(
    services: Services, fleet: Hollows, version: int, words: str
) -> None:
    top = proven(services)
    result = roll_agent(services, version)
    assert (result.state, words in result.reason) == (State.FAILED, True), result.reason
    assert f"{top.release} serves again: Succeeded" in result.reason
    assert exposed(fleet, version) == {"a"}
    assert set(agents(fleet).values()) == {top.digest}
    assert layers_of(services, "agent")[-1] == top


def test_an_agent_that_is_no_container_is_in_the_way_by_name(services: Services, fleet: Hollows) -> None:
    top = proven(services)
    entry = release_agent(services, 11)
    plan = make_plan(services, entry, FLEET.all_devices, FLEET, patient().planned)
    (conflict,) = plan.obstacles
    said = (str(conflict.kind), conflict.severity, conflict.examples)
    assert said == ("fixed-agent", "blocks", ("program",))
    with pytest.raises(RefusedError, match="container"):
        say_yes(services, entry, patient(), FLEET.all_devices)
    assert layers_of(services, "agent")[-1] == top


class Killed(BaseException):
    """The controller is gone, between one write and all that it would do next."""


class Dying:
    """A hub to which a controller writes once more, and ends."""

    def __init__(self, hub: Any, write: str) -> None:
        self._hub = hub
        self._write = write

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._hub, name)
        if name != self._write:
            return found

        def write(*given: Any) -> None:
            found(*given)
            raise Killed

        return write


@pytest.mark.parametrize(
    ("version", "writes", "state"),
    [
        pytest.param(21, ["create", "update", "delete"], State.SUCCEEDED, id="both waves, and collecting"),
        pytest.param(BREAKS, ["delete"], State.FAILED, id="taking back"),
    ],
)
def test_a_controller_that_is_killed_leaves_each_device_one_whole_base(
    services: Services, fleet: Hollows, version: int, writes: list[str], state: State
) -> None:
    proven(services)
    if len(layers_of(services, "agent")) < 2:  # so that there is one to be collected
        assert roll_agent(services, 4).state is State.SUCCEEDED
    old = proven(services)
    entry = release_agent(services, version)
    say_yes(services, entry, patient(), BOXES)
    whole = [told(content(services, "edgeferry-base"), image) for image in (old.digest, digest_of(version))]
    for write in writes:
        dying: Any = SimpleNamespace(
            **{**vars(services), "hub": Dying(services.hub, f"{write}_configuration")}
        )
        with pytest.raises(Killed):
            roll(dying, entry, patient(), BOXES)
        for name in NAMES:
            twin = services.hub.module_twin(name, "$edgeAgent")
            assert twin is not None
            assert told({"$edgeAgent": {"properties.desired": twin["properties"]["desired"]}}) in whole
    result = roll(services, entry, patient(), BOXES)
    assert result.state is state, result.reason
    new = digest_of(version) if state is State.SUCCEEDED else old.digest
    assert set(agents(fleet).values()) == {new}
    assert layers_of(services, "agent")[-1].digest == new
    assert len(layers_of(services, "agent")) == 2
    assert len(services.ledger.entries("end", result.rollout)) == 1


def told(content: Any, digest: str = "") -> tuple[Any, ...]:
    """The settings of a base's system modules, of its agent the digest of its image or this one."""
    system = content["$edgeAgent"]["properties.desired"]["systemModules"]
    image = system["edgeAgent"]["settings"]["image"]
    own = {**system["edgeAgent"]["settings"], "image": digest or image.partition("@")[2]}
    return own, system["edgeHub"]["settings"], sorted(system)
