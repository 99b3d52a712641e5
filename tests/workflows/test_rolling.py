"""Rollouts carried out: against a real hub with hollow devices and a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.rollout import State
from edgeferry.ports import Services
from edgeferry.workflows.placing import model_layers
from edgeferry.workflows.rollouts import load_rollouts
from tests.hollows import CONDITION, Hollows, open_services, release, roll, rules, say_yes
from tests.hubs import RunningHub


@pytest.fixture
def services(hub: RunningHub, tmp_path: Path) -> Services:
    return open_services(hub.state, tmp_path, print)


@pytest.fixture
def sound(hub: RunningHub) -> Iterator[Hollows]:
    hollows = Hollows(hub, [f"sound-{number}" for number in range(4)]).start(
        {f"sound-{number}": {"rollout_bucket": 2500 * number} for number in range(4)}
    )
    yield hollows
    hollows.stop()


def started(services: Services) -> list[tuple[str, int]]:
    """(rollout, wave) of each start in the ledger."""
    entries = services.ledger.entries("wave")
    return [(e.subject, e.body["wave"]) for e in entries if e.body["event"] == "started"]


def test_an_approved_release_reaches_its_devices_wave_by_wave(services: Services, sound: Hollows) -> None:
    by = rules(waves="1; 50 %; 100 %")
    entry = release(services, 1)
    assert roll(services, entry, by).state is State.SKIPPED
    say_yes(services, entry, by)
    result = roll(services, entry, by)
    assert (result.state, result.changed) == (State.SUCCEEDED, True), result.reason
    assert {outcome.device for outcome in result.outcomes} == set(sound.names)
    assert started(services) == [(result.rollout, 1), (result.rollout, 2), (result.rollout, 3)]
    [layer] = model_layers(services)
    assert layer.target_condition == CONDITION
    again = roll(services, entry, by)
    assert (again.state, again.changed, again.rollout) == (State.SUCCEEDED, False, result.rollout)
    assert len(load_rollouts(services)) == 1
