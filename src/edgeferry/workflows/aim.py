"""Aim: whether anybody is targeted, and what to type when nobody is."""

from __future__ import annotations

from collections.abc import Iterable

from edgeferry.domain.aim import render_aim
from edgeferry.domain.condition import parse_condition
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.known_tags import find_near_tags, list_tags, tags_in
from edgeferry.errors import EdgeferryError
from edgeferry.ports import Services

_LOOKED_AT = 500
"""Devices whose tags are known then."""


def list_aimed(services: Services, condition: str) -> list[str]:
    """The devices that match the condition, sorted."""
    return sorted(device for page in services.hub.device_ids(condition) for device in page)


def advise_aim(services: Services, fleet: Fleet, condition: str) -> str:
    """What lets a device of the environment match the condition; first what is misspelt in it."""
    devices = next(iter(services.hub.device_ids(fleet.narrow(""))), ())
    aim = render_aim(fleet.environment, condition, devices)
    return "; ".join([*advise_condition(services, condition), aim])


def advise_tags(services: Services, names: Iterable[str]) -> list[str]:
    """A line for each tag that no device has, and that is nearly one which devices have. Looks at the first
    devices and at the project's models, for which devices are tagged; none where the hub refuses."""
    known = {f"models.{model}" for model in services.project.model_names()}
    try:
        for row in next(iter(services.hub.query("SELECT tags FROM devices", _LOOKED_AT)), ()):
            known.update(list_tags(row.get("tags") or {}))
    except EdgeferryError:
        return []
    return find_near_tags(names, known)


def advise_condition(services: Services, condition: str) -> list[str]:
    """The same for the tags that a target condition asks about."""
    return advise_tags(services, tags_in(parse_condition(condition).expression))


def warn_of_nobody(services: Services, fleet: Fleet, condition: str) -> None:
    """Says so when no device matches. A hub that does not answer is told by whoever needs it."""
    try:
        if any(services.hub.device_ids(condition)):
            return
        fix = advise_aim(services, fleet, condition)
    except EdgeferryError:
        return
    services.say(f"warning: no device matches {condition}, so nobody would get it; {fix}")
