"""A device that is deleted and created anew under its name is another one: at a real hub with hollow ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeferry.domain.hollow_device import Pace
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.ports import Services
from edgeferry.workflows.approve import approve, make_wave_offer
from edgeferry.workflows.rollouts import find_rollout
from edgeferry.workflows.sight import Sight
from edgeferry.workflows.watch import wanted_of
from tests.hollows import CONDITION, GATE, Hollows, layers_of, release, roll, rules, say_yes
from tests.hubs import RunningHub

NAMES = ["first", "second"]
TAGS = {name: {"rollout_bucket": 5000 * number} for number, name in enumerate(NAMES)}
OWN = {"edgeferry": True, "models": {"taxi": True}}
PACE = Pace(pull_s=0.1, ask_s=0.1, report_s=0.5)


@pytest.fixture
def fleet(hub: RunningHub) -> Iterator[Hollows]:
    hollows = Hollows(hub, NAMES, pace=PACE).start(TAGS)
    yield hollows
    hollows.stop()


def create_anew(hub: RunningHub, name: str) -> None:
    """Another machine gets the name and the tags, and has yet to come."""
    hub.ask("DELETE", f"/devices/{name}")
    hub.create_device(name)
    hub.ask("PATCH", f"/twins/{name}", {"tags": {**OWN, **TAGS[name]}})


def test_a_device_that_is_created_anew_between_waves_holds_the_next_until_it_has_proven_the_release(
    services: Services, fleet: Hollows, hub: RunningHub
) -> None:
    by = rules(waves="1; 100 %", approve_waves="yes", timeout_s="5")
    entry = release(services, 1)
    say_yes(services, entry, by)
    asked = roll(services, entry, by)
    assert asked.state is State.PENDING, asked.reason
    [passed] = find_rollout(services, asked.rollout).state.judged
    assert dict(passed.proven) == {"first": hub.ask("GET", "/devices/first")["generationId"]}
    create_anew(hub, "first")
    approve(services, make_wave_offer(services, asked.rollout, 2, GATE, ""), "ann", yes=True)
    held = roll(services, entry, by)
    assert held.state is not State.SUCCEEDED
    assert held.reason.startswith("0 of 1 succeeded, 1 must: first: "), held.reason
    state = find_rollout(services, asked.rollout).state
    assert (state.wave, [each.state for each in state.judged]) == (1, ["pass", "inconclusive"])
    assert state.judged[-1].reason.startswith("replaced since: first; 0 of 1 succeeded")


def test_what_a_machine_said_is_not_taken_for_the_word_of_the_one_that_has_its_name_now(
    services: Services, fleet: Hollows, hub: RunningHub
) -> None:
    entry = release(services, 1)
    say_yes(services, entry, rules())
    assert roll(services, entry, rules()).state is State.SUCCEEDED
    [layer] = layers_of(services, "taxi")
    sight = Sight(services, wanted_of(entry, layer), layer, lambda outcome: None)

    def told() -> tuple[State, DeviceEvidence | None]:
        look = sight.look(NAMES, NAMES, late=False, again=False)
        return look.outcomes["first"].state, look.evidence.get("first")

    assert layer.target_condition == CONDITION
    assert told()[0] is State.SUCCEEDED
    while told()[1] is None:
        services.sleep(0.1)
    create_anew(hub, "first")
    sight.forget_aim()
    assert told() == (State.PENDING, None)
