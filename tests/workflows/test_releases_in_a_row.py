"""Releases in a row: a hub with room for just what they need has room for any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.domain.hollow_device import Pace
from edgeferry.domain.rollout import State
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.wire.deployment import render_configuration
from tests.hollows import Hollows, ListedLedger, open_services, release, roll, rules, say_yes
from tests.hubs import RunningHub

QUOTA = 100
NEEDED = 5
"""A base, a companion, the layer that comes, the one before, and the one before that until it is proven."""
RELEASES = 12


@pytest.fixture
def services(hub: RunningHub, tmp_path: Path) -> Iterator[Services]:
    opened = open_services(hub.state, tmp_path, print)
    opened.ledger = ListedLedger(opened.now)  # type: ignore[misc,assignment]
    yield opened
    opened.hub.close()  # type: ignore[attr-defined]


def fill(hub: RunningHub, numbers: range) -> None:
    """Deployments of somebody else, for nobody."""
    for number in numbers:
        content = {"$edgeAgent": {f"properties.desired.modules.m{number}": {"settings": {"image": "m:1"}}}}
        layer = render_configuration(f"filler-{number}", content, "tags.nobody = true", 1, {})
        hub.ask("PUT", f"/configurations/filler-{number}", layer)


def test_any_number_of_releases_goes_through_a_hub_with_room_for_three_of_them(
    services: Services, hub: RunningHub
) -> None:
    fill(hub, range(QUOTA - NEEDED))
    hollows = Hollows(hub, ["row"], pace=Pace(pull_s=0.05, ask_s=0.05, requests_per_s=0.0)).start()
    by = rules()
    try:
        for version in range(1, RELEASES + 1):
            entry = release(services, version)
            say_yes(services, entry, by)
            result = roll(services, entry, by)
            assert result.state is State.SUCCEEDED, result.reason
            existing = services.hub.configurations()
            ours = [one for one in existing if not one["id"].startswith("filler-")]
            layers = {one["labels"]["release"] for one in ours if one["labels"]["edgeferry"] == "model"}
            assert layers == {
                f"taxi-v{number}-{number:08x}" for number in range(max(1, version - 1), version + 1)
            }
            assert len(ours) == 2 + len(layers)
        fill(hub, range(QUOTA - NEEDED, QUOTA - NEEDED + 1))
        entry = release(services, RELEASES + 1)
        with pytest.raises(RefusedError, match="deployments"):
            say_yes(services, entry, by)
    finally:
        hollows.stop()
