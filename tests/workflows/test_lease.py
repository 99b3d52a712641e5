"""One controller at a time, at a real hub."""

from __future__ import annotations

import time
from pathlib import Path

from edgeferry.errors import HubError
from edgeferry.ports import Anchor
from edgeferry.workflows.lease import Lease, leased
from tests.hollows import open_services
from tests.hubs import RunningHub

LENGTH_S = 600.0


class Faltering:
    """The anchor, which is silent for a while."""

    def __init__(self, anchor: Anchor) -> None:
        self._anchor = anchor
        self.is_silent = False

    def take_lease(self, name: str, holder: str, until_s: float, now_s: float) -> bool:
        if self.is_silent:
            raise HubError("silent", fix="", retryable=True)
        return self._anchor.take_lease(name, holder, until_s, now_s)

    def drop(self, name: str, holder: str) -> None:
        self._anchor.drop(name, holder)


def test_a_lease_is_given_back_although_the_hub_was_silent_for_a_while(
    hub: RunningHub, tmp_path: Path
) -> None:
    said: list[str] = []
    services = open_services(hub.state, tmp_path, said.append)
    now_s = time.time()
    services.now = lambda: now_s  # type: ignore[misc]
    services.anchor = anchor = Faltering(services.anchor)  # type: ignore[misc,assignment]
    with leased(services, "taxi", LENGTH_S) as lease:
        assert lease.hold()
        anchor.is_silent = True
        now_s += LENGTH_S / 2
        assert lease.hold()
        assert len(said) == 1
        anchor.is_silent = False
        assert not Lease(services, "taxi", LENGTH_S).hold()
    assert Lease(services, "taxi", LENGTH_S).hold()
    services.hub.close()  # type: ignore[attr-defined]


def test_a_lease_is_held_for_what_takes_longer_than_half_of_it(hub: RunningHub, tmp_path: Path) -> None:
    services = open_services(hub.state, tmp_path, print)
    now_s = time.time()
    services.now = lambda: now_s  # type: ignore[misc]
    with leased(services, "long", LENGTH_S) as lease:
        assert lease.hold()
        now_s += 1
        assert lease.hold(LENGTH_S)
        now_s += LENGTH_S - 0.5
        assert not Lease(services, "long", LENGTH_S).hold()
    services.hub.close()  # type: ignore[attr-defined]
