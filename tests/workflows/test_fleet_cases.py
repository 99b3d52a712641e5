"""Twenty ways in which a rollout meets its fleet, each judged as docs/rollouts.md says, none falsely green,
none late: a real hub and ledger, hollow devices on the true wire."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.rollout import State
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.wire.deployment import render_configuration
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import load_rollouts
from tests.hollows import Hollows, open_services, release, roll, rules, say_yes
from tests.hubs import RunningHub

DEADLINE_S = 15.0
LATE_S = 30.0
"""A rollout has its word so long after its deadline at the latest."""
NEVER_S = 600.0


@dataclass(frozen=True)
class Case:
    """A device with its faults, and what is to be said of it."""

    name: str
    faults: tuple[Fault, ...]
    state: State
    reason: str
    """What the reason says, in part."""
    soak_s: float = 0.0
    """How long it has to be watched when it is rolled out alone: at first it looks well."""


CASES = (
    Case("sound", (), State.SUCCEEDED, "smoke"),
    Case("module-dead", (Fault("dead", module="taxi"),), State.FAILED, "ended by itself"),
    Case("wrong-digest", (Fault("wrong_digest"),), State.FAILED, "another content"),
    Case("image-404", (Fault("image_404", module="taxi"),), State.FAILED, "404"),
    Case("http-500", (Fault("http_500"),), State.FAILED, "500"),
    Case("wrong-predictions", (Fault("wrong_predictions"),), State.FAILED, "expected 5.0"),
    Case("slow-within", (Fault("slow_start", seconds=3.0),), State.SUCCEEDED, "smoke"),
    Case("slow-beyond", (Fault("slow_start", seconds=NEVER_S),), State.TIMED_OUT, "verdict"),
    Case("flapping", (Fault("flapping", module="taxi"),), State.FAILED, "ended by itself", soak_s=20.0),
    Case("other-down", (Fault("dead", module="other"),), State.SUCCEEDED, "smoke"),
    Case("offline", (Fault("offline"),), State.UNREACHABLE, ""),
    Case("stale-twin", (Fault("stale_twin"),), State.TIMED_OUT, "reports version 0"),
    Case("no-companion", (Fault("no_companion"),), State.TIMED_OUT, "companion"),
    Case("lying-digest", (Fault("lying_digest"),), State.TIMED_OUT, "another release"),
    Case("lying-cases", (Fault("lying_cases"),), State.TIMED_OUT, "another release"),
    Case("lying-nonce", (Fault("lying_nonce"),), State.TIMED_OUT, "another release"),
    Case("lying-hand", (Fault("lying_hand"),), State.TIMED_OUT, "not reported a verdict"),
    Case("registry-down", (Fault("registry_down", module="taxi"),), State.FAILED, "does not answer"),
    Case("registry-back", (Fault("registry_down", module="taxi", until_s=8),), State.SUCCEEDED, "smoke"),
)
"""Faults that make one device end as said, whatever the others do."""


@pytest.fixture
def live(hub: RunningHub) -> Iterator[Callable[..., Hollows]]:
    """Starts hollow devices, which are gone afterwards."""
    all_: list[Hollows] = []

    def start(names: Sequence[str], **faults: Sequence[Fault]) -> Hollows:
        by_name = {name.replace("_", "-"): given for name, given in faults.items()}
        all_.append(Hollows(hub, names, by_name).start())
        return all_[-1]

    yield start
    for hollows in all_:
        hollows.stop()


def measured(services: Services, **texts: str) -> tuple[RolloutResult, float]:
    """A new release's rollout, and how many seconds it took from the wave's start to the verdict on it, by
    the ledger: what a busy machine's git takes besides is no part of it."""
    by = rules(**{"timeout_s": f"{DEADLINE_S:g}", **texts})
    entry = release(services, 1)
    say_yes(services, entry, by)
    result = roll(services, entry, by)
    waves = services.ledger.entries("wave")
    verdict = next(one for one in waves if one.body["event"] not in ("started", "soaking"))
    began, ended = (datetime.fromisoformat(one.at).timestamp() for one in (waves[0], verdict))
    return result, ended - began


def in_time(took_s: float) -> bool:
    return took_s <= DEADLINE_S + LATE_S


def during(act: Callable[[], None], services: Services, **texts: str) -> RolloutResult:
    """The rollout's end, when `act` happened as soon as its first wave was started."""

    def wait_and_act() -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not services.ledger.entries("wave"):
            assert time.monotonic() < deadline, "no wave was started"
            time.sleep(0.1)
        act()

    acting = threading.Thread(target=wait_and_act)
    acting.start()
    result, took_s = measured(services, **texts)
    acting.join(DEADLINE_S)
    assert in_time(took_s)
    return result


def layer_of_another_model(hub: RunningHub) -> None:
    """Another model's release reaches the same devices."""
    spec = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": "r/other@sha256:" + "9" * 64, "createOptions": "{}"},
    }
    content = {"$edgeAgent": {"properties.desired.modules.other": spec}}
    layer = render_configuration("other", content, "tags.models.taxi = true", 500, {})
    hub.ask("PUT", "/configurations/other", layer)


def test_each_device_is_judged_by_what_it_reports(
    hub: RunningHub, services: Services, live: Callable[..., Hollows]
) -> None:
    layer_of_another_model(hub)
    live([case.name for case in CASES], **{case.name.replace("-", "_"): case.faults for case in CASES})
    more_s = 5.0  # a flapping module has ended for the third time only when the usual deadline is there
    result, took_s = measured(services, errors="100 %", timeout_s=f"{DEADLINE_S + more_s:g}")
    told = {outcome.device: outcome for outcome in result.outcomes}
    wrong = [
        f"{case.name}: {told[case.name].state}: {told[case.name].reason}"
        for case in CASES
        if told[case.name].state is not case.state or case.reason not in told[case.name].reason
    ]
    assert wrong == []
    assert result.state is State.UNREACHABLE  # as many as like may fail: the others' worst word it is
    assert in_time(took_s - more_s)


@pytest.mark.skipif("EDGEFERRY_TEST_FLEET_CASES" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rollouts_word_is_that_of_its_worst_device(
    hub: RunningHub, services: Services, live: Callable[..., Hollows], case: Case
) -> None:
    if case.name == "other-down":
        layer_of_another_model(hub)
    live(["beside", case.name], **{case.name.replace("-", "_"): case.faults})
    result, took_s = measured(services, soak_s=f"{case.soak_s:g}", guard="no")
    assert result.state is case.state, result.reason
    if case.state is State.FAILED:
        assert services.hub.configuration(result.layer) is None
    assert in_time(took_s - case.soak_s)


def test_one_bad_device_is_enough_to_take_a_release_back(
    services: Services, live: Callable[..., Hollows]
) -> None:
    live(["good", "bad"], bad=[Fault("http_500")])
    result, took_s = measured(services)
    assert result.state is State.FAILED
    assert "was removed" in result.reason
    assert services.hub.configuration(result.layer) is None
    assert in_time(took_s)


def test_nobody_targeted_is_not_success(services: Services) -> None:
    by, nobody = rules(), "tags.models.taxi = 'nobody'"
    entry = release(services, 1)
    say_yes(services, entry, by, nobody)
    result = roll(services, entry, by, nobody)
    assert result.state is State.INCONCLUSIVE
    assert "no device matches" in result.reason
    assert services.hub.configurations() == []


def test_a_device_without_a_base_is_told_before_anything_is_touched(
    hub: RunningHub, services: Services, live: Callable[..., Hollows]
) -> None:
    live(["based", "baseless"])
    hub.ask("PATCH", "/twins/baseless", {"tags": {"edgeferry": None}})
    with pytest.raises(RefusedError, match="base"):
        measured(services)
    assert services.hub.configurations() == []


def test_a_hub_without_room_is_told_before_anything_is_touched(
    hub: RunningHub, services: Services, live: Callable[..., Hollows]
) -> None:
    live(["crowded"])
    for number in range(99):
        spec = {f"properties.desired.modules.m{number}": {"settings": {"image": "m:1"}}}
        content = {"$edgeAgent": spec}
        name = f"filler-{number}"
        layer = render_configuration(name, content, "tags.nobody = true", 600 + number, {})
        hub.ask("PUT", f"/configurations/{name}", layer)
    with pytest.raises(RefusedError, match="deployments"):
        measured(services)
    assert not [one for one in services.hub.configurations() if one["id"].startswith("edgeferry-")]


def test_a_device_that_is_deleted_meanwhile_is_in_nobodys_way(
    hub: RunningHub, services: Services, live: Callable[..., Hollows]
) -> None:
    live(["stays", "goes"], goes=[Fault("slow_start", seconds=NEVER_S)])
    result = during(lambda: hub.ask("DELETE", "/devices/goes"), services)
    hub.create_device("goes")  # to be deleted at the end
    assert result.state is State.SUCCEEDED, result.reason
    assert [outcome.device for outcome in result.outcomes] == ["stays"]


def test_a_device_that_joins_meanwhile_has_to_prove_it_too(
    services: Services, live: Callable[..., Hollows]
) -> None:
    live(["first"], first=[Fault("slow_start", seconds=6.0)])
    result = during(lambda: live(["joins"]) and None, services)
    assert result.state is State.SUCCEEDED, result.reason
    assert {outcome.device for outcome in result.outcomes} == {"first", "joins"}


def test_another_models_release_at_the_same_time_makes_nothing_green_or_red(
    hub: RunningHub, services: Services, live: Callable[..., Hollows]
) -> None:
    live(["raced"])
    result = during(lambda: layer_of_another_model(hub), services)
    assert result.state is State.SUCCEEDED, result.reason
    assert services.hub.module_twin("raced", "$edgeAgent")["properties"]["desired"]["modules"]["other"]


def test_the_same_rollout_twice_at_once_is_one(
    hub: RunningHub, services: Services, live: Callable[..., Hollows], tmp_path: Path
) -> None:
    live(["shared"])
    by = rules(timeout_s=f"{DEADLINE_S:g}")
    entry = release(services, 1)
    say_yes(services, entry, by)
    results: list[RolloutResult] = []
    others = [open_services(hub.state, tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=lambda s=s: results.append(roll(s, entry, by))) for s in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE_S)
    for one in others:
        one.hub.close()
    assert [result.state for result in results] == [State.SUCCEEDED, State.SUCCEEDED]
    assert len(load_rollouts(services)) == 1
    started = [one for one in services.ledger.entries("wave") if one.body["event"] == "started"]
    assert [one.body["wave"] for one in started] == [1]
