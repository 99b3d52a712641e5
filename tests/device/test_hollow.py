"""Hollow devices at a real hub: they say there what ours say."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from edgeferry.device.hollow import Clock, HollowDevice, HollowFleet
from edgeferry.device.hollow_session import HubPlace
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.hollow import want
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.wire.deployment import (
    ModelLayer,
    render_base,
    render_companion_layer,
    render_model_layer,
)
from edgeferry.wire.facts import parse_evidence, parse_facts
from tests.hubs import RunningHub, free_address

DIGEST = "sha256:" + "b" * 64
COMPANION = "sha256:" + "c" * 64
LAYER = ModelLayer(
    "edgeferry-x", "taxi", "taxi-v1-aaaaaaaa", DIGEST, "cases", "nonce", "tags.on = true", 1000
)
PATIENCE_S = 60
PACE = Pace(trial=TrialRules(window_s=120))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    fleet = Fleet("tags.edgeferry = true")
    brings = ModelLayer(
        "companion", "companion", "companion-v1-cccccccc", COMPANION, "", "born", fleet.all_devices, 1
    )
    companion = render_companion_layer(brings, f"r/companion@{COMPANION}", fleet)
    for document in (
        render_base(fleet),
        companion,
        render_model_layer(LAYER, f"r/taxi@{DIGEST}", "1", fleet),
    ):
        running.ask("PUT", f"/configurations/{document['id']}", document)
    yield running
    running.stop()


def fleet_of(hub: RunningHub, hollows: list[Hollow], clock: Clock) -> HollowFleet:
    keys = {hollow.device: hub.create_device(hollow.device) for hollow in hollows}
    for name in keys:
        hub.ask("PATCH", f"/twins/{name}", {"tags": {"edgeferry": True, "on": True}})
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    place = HubPlace(hub.host_name, hub.address, hub.mqtt_port, context)
    return HollowFleet(place, clock, lambda _: None, hollows, keys)


async def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(fact):
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.05)


def live_until(fleet: HollowFleet, fact: Callable[[], bool]) -> None:
    async def both() -> None:
        living = asyncio.create_task(fleet.live())
        waiting = asyncio.create_task(until(fact))
        done, _ = await asyncio.wait({living, waiting}, return_when=asyncio.FIRST_COMPLETED)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        for task in done:
            task.result()

    asyncio.run(both())


def test_a_hollow_device_does_what_is_desired_and_tells_it(hub: RunningHub) -> None:
    clock = Clock(time.time(), speed=20)
    hollows = [
        Hollow("sound", 1, clock.began_at, (), PACE),
        Hollow("wrong", 1, clock.began_at, (Fault("http_500"),), PACE),
    ]
    fleet = fleet_of(hub, hollows, clock)

    def proven() -> bool:
        agent, companion = hub.twin("sound", "$edgeAgent"), module_twin(hub, "sound", "companion")
        facts = parse_facts("sound", "taxi", agent, companion)
        evidence = parse_evidence(companion, "taxi")
        layers = hub.reported("wrong", "$edgeAgent").get("layers", {}) if facts.image else {}
        is_told = layers.get(LAYER.name, {}).get("outcome") == "Failed"
        return (
            facts.layer_outcome == "Proven" and evidence is not None and evidence.requests >= 60 and is_told
        )

    live_until(fleet, proven)
    facts = parse_facts("sound", "taxi", hub.twin("sound", "$edgeAgent"), hub.twin("sound", "companion"))
    assert facts.image.endswith(DIGEST)
    assert facts.runtime_status == "running"
    assert facts.reported_version >= facts.brought_by > 0
    assert facts.verdict is not None
    assert (facts.verdict.state, facts.verdict.nonce) == ("Passed", "nonce")
    assert (facts.verdict.companion, facts.companion) == ("born", "born")
    other = parse_facts("wrong", "taxi", hub.twin("wrong", "$edgeAgent"), hub.twin("wrong", "companion"))
    assert other.verdict is not None
    assert other.verdict.state == "Failed"
    assert (other.layer_outcome, other.status_code) == ("Failed", 500)


def test_an_offline_device_is_not_connected_and_comes_back(hub: RunningHub) -> None:
    clock = Clock(time.time(), speed=10)
    fleet = fleet_of(hub, [Hollow("away", 1, clock.began_at, (Fault("offline", until_s=20),))], clock)
    seen: list[str] = []

    def connected() -> bool:
        seen.append(hub.twin("away", "$edgeAgent")["connectionState"])
        return seen[-1] == "Connected"

    live_until(fleet, connected)
    assert seen[0] == "Disconnected"


def test_a_fresh_smoke_test_and_the_evidence_can_be_asked_for(hub: RunningHub) -> None:
    clock = Clock(time.time(), speed=10)
    fleet = fleet_of(hub, [Hollow("asked", 1, clock.began_at)], clock)
    answers: list[dict] = []

    def answered() -> bool:
        if module_twin(hub, "asked", "companion")["properties"]["reported"].get("verdicts", {}).get("taxi"):
            answers.append(hub.call("asked", "companion", "smokeTest", {"nonce": "mine"}))
            answers.append(hub.call("asked", "companion", "evidence", {}))
        return bool(answers)

    live_until(fleet, answered)
    smoke, evidence = (answer["payload"] for answer in answers)
    assert smoke["verdicts"]["taxi"]["nonce"] == "mine"
    assert evidence["evidence"]["taxi"]["digest"] == DIGEST


def module_twin(hub: RunningHub, device: str, module: str) -> dict:
    """The twin; an empty one before there is such a module."""
    try:
        return hub.twin(device, module)
    except AssertionError:
        return {"properties": {"desired": {}, "reported": {}}}


def test_what_came_due_while_the_hub_was_slow_is_due_at_once() -> None:
    """A turn takes as long as the hub does to take its reports; nothing would wake the device later."""

    class Told(Clock):
        at = 100.0

        def now(self) -> float:
            return self.at

    clock = Told(0.0)
    pulled_s = 2.0
    spec = ModuleSpec("taxi", f"r/taxi@{DIGEST}", layer="layer")
    hollow = want(Hollow("slow", 1, 0.0, (), PACE), DeviceManifest({"taxi": spec}), 1, clock.at)
    fleet = HollowFleet(HubPlace("", "", 0, ssl.create_default_context()), clock, lambda _: None, [], {})
    device = HollowDevice(fleet, hollow, httpx.AsyncClient(), asyncio.Semaphore())
    device.catch_up()
    assert clock.at < device.due_at() < clock.at + 2 * pulled_s
    object.__setattr__(clock, "at", clock.at + 10 * pulled_s)
    assert device.due_at() < clock.at
