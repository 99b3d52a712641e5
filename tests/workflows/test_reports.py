"""Many devices read by queries, and devices that are deleted meanwhile: at a real hub with hollow devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgeferry.domain.look_pace import FEW
from edgeferry.domain.rollout import Outcome, State
from edgeferry.ports import Hub, Services
from edgeferry.workflows.placing import await_previous, list_layers
from edgeferry.workflows.reports import Reports
from tests.hollows import CONDITION, FLEET, Hollows, open_services, release, roll, rules, say_yes
from tests.hubs import RunningHub

NAMES = [f"read-{number}" for number in range(3)]


@pytest.fixture(scope="module")
def services(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    opened = open_services(hub.state, tmp_path_factory.mktemp("controller"))
    yield opened
    opened.hub.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def released(hub: RunningHub, services: Services) -> Iterator[Hollows]:
    """Devices that run the first release."""
    hollows = Hollows(hub, NAMES).start()
    entry = release(services, 1)
    say_yes(services, entry, rules())
    assert roll(services, entry, rules()).state is State.SUCCEEDED
    yield hollows
    hollows.stop()


def test_devices_read_by_queries_are_told_like_those_that_are_read_one_by_one(
    services: Services, released: Hollows
) -> None:
    names = [*NAMES, "never-there"]
    one_by_one = dict(Reports(services, "taxi").read(names))
    by_queries = dict(Reports(services, "taxi").read([*names, *(f"none-{n}" for n in range(FEW))]))
    for name in names:
        assert (by_queries[name].facts, by_queries[name].is_known) == (
            one_by_one[name].facts,
            one_by_one[name].is_known,
        )
    assert [by_queries[name].is_known for name in names] == [True] * len(NAMES) + [False]


def test_looks_by_queries_wait_for_what_the_hub_answers_and_say_so_once(
    services: Services, released: Hollows
) -> None:
    said: list[str] = []
    hub, say = services.hub, services.say
    services.hub = HubOf20(hub)  # type: ignore[misc]
    services.say = said.append  # type: ignore[misc]
    try:
        reports = Reports(services, "taxi")
        for _ in range(2):
            reports.select(CONDITION)
            list(reports.read([*NAMES, *(f"none-{n}" for n in range(FEW))]))
            assert reports.pause_s(2.0, 100.0) == 6.0  # a page of ids, and one of twins
        list(reports.read(NAMES))
        assert reports.pause_s(2.0, 100.0) == 2.0
    finally:
        services.hub, services.say = hub, say  # type: ignore[misc]
    assert said == ["a look reads 2 pages of queries, and the hub answers 20 a minute: every 6 s"]


def test_a_device_that_is_deleted_is_named_and_not_waited_for_when_a_release_is_taken_back(
    services: Services, released: Hollows, hub: RunningHub
) -> None:
    [previous] = [layer for layer in list_layers(services) if layer.model == "taxi"]
    hub.ask("DELETE", f"/devices/{NAMES[0]}")
    told: list[Outcome] = []
    began_s = services.now()
    try:
        said, serving = await_previous(
            services, replace(previous, name="gone"), CONDITION, FLEET, NAMES, 600, told.append
        )
        assert said.endswith(f"serves again: Succeeded: measured on 2 devices; deleted meanwhile: {NAMES[0]}")
        assert {outcome.device for outcome in told} == set(NAMES[1:])
        assert serving is not None
        assert {outcome.device for outcome in serving.outcomes} == set(NAMES[1:])
        layer = replace(previous, name="gone", model="never-there")
        said, serving = await_previous(services, layer, CONDITION, FLEET, NAMES, 600, told.append)
        assert ("there is no earlier release" in said, serving) == (True, None)
    finally:
        hub.create_device(NAMES[0])  # to be deleted at the end
    assert services.now() - began_s < 600


class HubOf20:
    """The hub, which says that it answers as many pages as Azure's."""

    queries_per_minute = 20.0

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __getattr__(self, name: str) -> object:
        return getattr(self._hub, name)
