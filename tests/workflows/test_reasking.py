"""When a companion is asked about its models under a new agent: once it runs, not too often, and anew when it
comes again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from edgeferry.errors import HubError
from edgeferry.wire.verdict import render_verdicts
from edgeferry.workflows.reasking import AGAIN_S, LOOK_S, Reasking
from tests.domain.test_agent_proof import WANTED, facts, verdict


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

    def reasking(self) -> Reasking:
        services: Any = SimpleNamespace(now=lambda: self.now_s, hub=SimpleNamespace(call_module=self.call))
        found = Reasking(services, WANTED)
        found.begin_look()
        return found


UNHEARD = facts(heard={})
ELSEWHERE = facts(heard={}, image="r/agent@sha256:aa")


def test_it_is_asked_once_and_anew_when_the_agent_comes_again() -> None:
    devices = Companions()
    reasking = devices.reasking()
    assert reasking.add(ELSEWHERE).heard == {}
    assert devices.asked == []
    for _ in range(3):
        assert reasking.add(UNHEARD).heard["taxi"].state == "Passed"
    assert devices.asked == [("d", "now")]
    reasking.add(ELSEWHERE)
    reasking.add(UNHEARD)
    assert devices.asked == [("d", "now")] * 2


def test_who_does_not_answer_is_asked_again_later() -> None:
    devices = Companions(silent=frozenset("d"))
    reasking = devices.reasking()
    for _ in range(3):
        assert reasking.add(UNHEARD).heard == {}
    assert len(devices.asked) == 1
    devices.now_s += AGAIN_S
    reasking.begin_look()
    reasking.add(UNHEARD)
    assert len(devices.asked) == 2


def test_one_look_asks_for_so_long_and_the_next_goes_on() -> None:
    devices = Companions(takes_s=LOOK_S / 2)
    reasking = devices.reasking()
    fleet = [replace(UNHEARD, device=name) for name in "abcd"]
    for expected in (["a", "b"], ["a", "b", "c", "d"]):
        for one in fleet:
            reasking.add(one)
        assert [device for device, _ in devices.asked] == expected
        reasking.begin_look()


def test_nobody_is_asked_for_another_than_an_agent() -> None:
    devices = Companions()
    reasking = Reasking(devices.reasking()._services, replace(WANTED, module="companion"))
    reasking.add(UNHEARD)
    assert devices.asked == []
