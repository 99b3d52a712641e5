"""When a companion is asked about its models under a new agent: once it runs, not too often, and anew when it
comes again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.domain.rollout import DeviceFacts
from edgeferry.errors import HubError
from edgeferry.wire.deployment import render_agent_base, render_base
from edgeferry.wire.verdict import render_verdicts
from edgeferry.workflows.lease import LEASE_S
from edgeferry.workflows.reasking import ASK_S, LOOK_S, Reasking
from edgeferry.workflows.sight import Sight
from tests.domain.test_agent_proof import WANTED, facts, verdict
from tests.workflows.test_agent_base import FLEET, IMAGE, LAYER


@dataclass
class Companions:
    """Devices' companions, each question to which takes a while; some do not answer."""

    takes_s: float = 0.0
    silent: frozenset[str] = frozenset()
    now_s: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def call(self, device: str, module: str, method: str, order: Any, timeout_s: int) -> Any:
        self.asked.append((device, order["nonce"]))
        self.now_s += self.takes_s
        assert (module, method, order["model"]) == ("companion", "smokeTest", "taxi")
        if device in self.silent:
            raise HubError("it is not connected", fix="")
        return {"status": 200, "payload": render_verdicts([verdict(order["nonce"])])}

    def tell(self, device: str, module: str) -> Any:
        raise HubError("the twin cannot be read", fix="")

    def reasking(self) -> Reasking:
        services: Any = SimpleNamespace(now=lambda: self.now_s, hub=SimpleNamespace(call_module=self.call))
        return Reasking(services, WANTED)


UNHEARD = facts(heard={})
ELSEWHERE = facts(heard={}, image="r/agent@sha256:aa")


def look(reasking: Reasking, *seen: DeviceFacts) -> dict[str, DeviceFacts]:
    found = list(reasking.complete(seen))
    assert len(found) == len(seen)
    return {one.device: one for one in found}


def test_it_is_asked_once_and_anew_when_the_agent_comes_again() -> None:
    devices = Companions()
    reasking = devices.reasking()
    assert look(reasking, ELSEWHERE)["d"].heard == {}
    assert devices.asked == []
    for _ in range(3):
        assert look(reasking, UNHEARD)["d"].heard["taxi"].state == "Passed"
    assert devices.asked == [("d", "now")]
    look(reasking, ELSEWHERE)
    look(reasking, UNHEARD)
    assert devices.asked == [("d", "now")] * 2


def test_who_does_not_answer_is_asked_again_later_and_later() -> None:
    devices = Companions(silent=frozenset("d"))
    reasking = devices.reasking()
    asked_s = []
    for now_s in range(100):
        devices.now_s, before = float(now_s), len(devices.asked)
        assert look(reasking, UNHEARD)["d"].heard == {}
        asked_s += [now_s] * (len(devices.asked) - before)
    assert asked_s == [0, 10, 30, 70]


def test_one_look_asks_for_so_long_and_the_next_goes_on() -> None:
    devices = Companions(takes_s=LOOK_S / 2)
    reasking = devices.reasking()
    fleet = [replace(UNHEARD, device=name) for name in "abcd"]
    for expected in (["a", "b"], ["a", "b", "c", "d"]):
        look(reasking, *fleet)
        assert [device for device, _ in devices.asked] == expected


def test_silent_devices_do_not_take_the_others_turn() -> None:
    devices = Companions(takes_s=4 * LOOK_S, silent=frozenset("ab"))
    reasking = devices.reasking()
    fleet = [replace(UNHEARD, device=name) for name in "abcdef"]
    for _ in fleet:
        found = look(reasking, *fleet)
    assert [device for device, _ in devices.asked] == list("abcdef")
    assert [name for name, one in found.items() if one.heard] == list("cdef")
    look(reasking, *fleet)
    assert devices.asked[-1][0] == "a"


def test_a_question_is_asked_only_while_the_rollout_is_ours_for_as_long_as_it_may_take() -> None:
    devices = Companions()
    ours = iter([True, False])
    held: list[float] = []

    def hold(for_s: float) -> bool:
        held.append(for_s)
        return next(ours)

    reasking = Reasking(devices.reasking()._services, WANTED, hold)
    look(reasking, *(replace(UNHEARD, device=name) for name in "abc"))
    assert ([device for device, _ in devices.asked], held) == (["a"], [ASK_S, ASK_S])
    assert ASK_S <= LEASE_S


def test_what_another_machine_said_under_the_name_is_forgotten() -> None:
    devices = Companions()
    reasking = devices.reasking()
    look(reasking, UNHEARD)
    reasking.forget("d")
    look(reasking, UNHEARD)
    assert len(devices.asked) == 2


def test_others_are_asked_though_the_hub_did_not_tell_of_one() -> None:
    def tell() -> Iterator[DeviceFacts]:
        yield UNHEARD
        raise HubError("it does not answer", fix="")

    devices = Companions()
    found = devices.reasking().complete(tell())
    assert next(found).heard["taxi"].state == "Passed"
    with pytest.raises(HubError):
        next(found)


def test_nobody_is_asked_for_another_than_an_agent() -> None:
    devices = Companions()
    reasking = Reasking(devices.reasking()._services, replace(WANTED, module="companion"))
    look(reasking, UNHEARD)
    assert devices.asked == []


def test_a_rollouts_sight_forgets_what_it_heard_of_a_device_that_was_replaced() -> None:
    devices, layer = Companions(), render_agent_base(render_base(FLEET), LAYER, IMAGE, FLEET)
    generations = {"d": "1"}
    hub = SimpleNamespace(
        call_module=devices.call,
        configuration=lambda name: layer,
        generations=lambda condition: [dict(generations)],
        module_twin=devices.tell,
    )
    services: Any = SimpleNamespace(now=lambda: devices.now_s, hub=hub)
    sight = Sight(services, WANTED, LAYER, lambda outcome: None)
    look(sight._reasking, UNHEARD)
    for generation, asked in (("1", 1), ("2", 2)):
        generations["d"] = generation
        with pytest.raises(HubError):
            sight.look((), (), late=False, again=True)
        look(sight._reasking, UNHEARD)
        assert len(devices.asked) == asked
