"""Watching a rollout: no device is left out, whatever the hub answers. The hub is a stand-in for one that
fails at chosen moments, which no real one does on demand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from edgeferry.domain.hollow_smoke import ask_hollow
from edgeferry.domain.model import Tolerance
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.domain.smoke import CaseSet, EqualCase, SmokeRequest
from edgeferry.errors import HubError, RegistryError
from edgeferry.ports import Json, Services, show_nobody
from edgeferry.wire.cases import render_cases
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.verdict import render_verdict
from edgeferry.workflows.cases import ASK_S
from edgeferry.workflows.watch import watch

DIGEST = "sha256:" + "a" * 64
IMAGE = f"r:5443/taxi/nyc_taxi@{DIGEST}"
CASES = CaseSet("nyc_taxi", "1", Tolerance(0, 0), 100, (EqualCase("one", ((1.0,),), (5.0,)),))
SAID = render_cases(CASES)
SHA256 = hashlib.sha256(SAID).hexdigest()
LAYER = ModelLayer("edgeferry-x", "nyc_taxi", "nyc_taxi-v1-aaaaaaaa", DIGEST, SHA256, "nonce", "*", 1000)
RELEASE = Entry("1", "release", LAYER.release, "", "ann", {"config_digest": "sha256:cc"}, "", "")
VERDICT = render_verdict(
    ask_hollow(SmokeRequest("nyc_taxi", "http://m", DIGEST, "1", SHA256, "nonce"), CASES, (), "")
)


def proven(module: str) -> Json:
    if module == "companion":
        return {"properties": {"reported": {"verdicts": {"nyc_taxi": VERDICT}}}}
    running = {"settings": {"image": IMAGE, "imageHash": "sha256:cc"}, "runtimeStatus": "running"}
    desired = {"$version": 1, "systemModules": {}, "modules": {"nyc_taxi": {"settings": {"image": IMAGE}}}}
    reported = {
        "lastDesiredVersion": 1,
        "lastDesiredStatus": {"code": 200},
        "modules": {"nyc_taxi": running},
    }
    return {"connectionState": "Connected", "properties": {"desired": desired, "reported": reported}}


def services_with(
    twin: Callable[[str, str], Json], attached: Callable[[], Sequence[bytes]] = lambda: [SAID]
) -> Services:
    clock = iter(range(1000))
    hub = SimpleNamespace(module_twin=twin, queries_per_minute=math.inf)
    registry = SimpleNamespace(attached=lambda name, digest, kind: attached())
    return cast(
        Services,
        SimpleNamespace(
            hub=hub,
            registry=registry,
            now=lambda: float(next(clock)),
            sleep=lambda s: None,
            say=lambda line: None,
            work=show_nobody,
        ),
    )


def ignore(outcome: Any) -> None:
    pass


def test_a_device_the_hub_cannot_tell_of_at_first_is_asked_again() -> None:
    asked: list[str] = []

    def twin(device: str, module: str) -> Json:
        asked.append(device)
        if device == "device-1" and asked.count("device-1") < 4:
            raise HubError("busy", fix="try again", retryable=True, status=503)
        return proven(module)

    watched = watch(services_with(twin), RELEASE, LAYER, ["device-1", "device-2"], 100, ignore)
    assert [(each.device, each.state) for each in watched.outcomes] == [
        ("device-1", State.SUCCEEDED),
        ("device-2", State.SUCCEEDED),
    ]


def test_a_hub_that_stays_silent_on_a_device_does_not_make_the_rollout_green() -> None:
    def twin(device: str, module: str) -> Json:
        if device == "device-2":
            raise HubError("busy", fix="try again", retryable=True, status=503)
        return proven(module)

    services = services_with(twin)
    try:
        watched = watch(services, RELEASE, LAYER, ["device-1", "device-2"], 20, ignore)
    except HubError:
        return  # the outside world failed: exit code 3
    assert watched.outcomes[1].state is State.UNREACHABLE


def test_cases_that_come_to_the_registry_later_are_seen_and_that_they_are_missing_is_said_once() -> None:
    asked: list[float] = []
    said: list[str] = []

    def attached() -> Sequence[bytes]:
        asked.append(services.now())
        if len(asked) == 1:
            raise RegistryError("it is away", fix="wait")
        return [SAID] if len(asked) > 4 else []

    services = services_with(lambda device, module: proven(module), attached)
    services.say = said.append  # type: ignore[method-assign]
    watched = watch(services, RELEASE, LAYER, ["device-1"], 500, ignore)
    assert [each.state for each in watched.outcomes] == [State.SUCCEEDED]
    assert len(asked) == 5
    assert all(after - before >= ASK_S for before, after in pairwise(asked))
    assert [line.partition(";")[0] for line in said] == [
        "the smoke cases of nyc_taxi were not read: it is away",
        "no smoke cases of nyc_taxi are attached to its image",
    ]
