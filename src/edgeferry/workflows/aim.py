"""Aim: whether anybody is targeted, and what to type when nobody is."""

from __future__ import annotations

from edgeferry.domain.aim import render_aim
from edgeferry.domain.fleet import Fleet
from edgeferry.errors import EdgeferryError
from edgeferry.ports import Services


def list_aimed(services: Services, condition: str) -> list[str]:
    """The devices that match the condition, sorted."""
    return sorted(device for page in services.hub.device_ids(condition) for device in page)


def advise_aim(services: Services, fleet: Fleet, condition: str) -> str:
    """What lets a device of the environment match the condition."""
    devices = next(iter(services.hub.device_ids(fleet.narrow(""))), ())
    return render_aim(fleet.environment, condition, devices)


def warn_of_nobody(services: Services, fleet: Fleet, condition: str) -> None:
    """Says so when no device matches. A hub that does not answer is told by whoever needs it."""
    try:
        if any(services.hub.device_ids(condition)):
            return
        fix = advise_aim(services, fleet, condition)
    except EdgeferryError:
        return
    services.say(f"warning: no device matches {condition}, so nobody would get it; {fix}")
