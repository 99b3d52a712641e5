"""Why a device has what it has: which deployment gave each module and path, which lost there, and which part
of a target condition is not true of the device. Pure; agrees with `layering.merge_layers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgeferry.domain.failing import Part, find_failing_parts
from edgeferry.domain.layering import (
    AGENT,
    HUB,
    LISTS,
    Deployment,
    Place,
    find_assignment_fault,
    find_targeted,
    is_base,
    live_settings,
    merge_targeted,
    rank,
)
from edgeferry.domain.twin import is_same, merge

Json = dict[str, Any]


class Reason(StrEnum):
    """Why a deployment does not count, on a device or at one path of it."""

    NOT_TARGETED = "not targeted"
    """Its condition is not true of the device."""
    NO_BASE = "no base"
    """It is a layer, and no base targets the device."""
    OTHER_BASE = "another base"
    """It is a base, and another one ranks higher."""
    BELOW_BASE = "below the base"
    """It is a layer that does not rank above the base."""
    LOWER_PRIORITY = "lower priority"
    OLDER = "older"
    """Of equal priority, and created earlier."""
    SAME_TIME = "same priority and time"
    """Then the id decides."""
    REPLACED = "replaced"
    """Others replace all that it sets."""
    NO_MODULE = "no such module"
    """It sets properties of modules only that the device does not have."""


@dataclass(frozen=True)
class Loser:
    """A deployment that targets the device and sets something at a path that another one gives."""

    deployment: Deployment
    reason: Reason


@dataclass(frozen=True)
class Share:
    """What one deployment gives the device at one path."""

    module: str
    """The module that it is about."""
    place: Place
    giver: Deployment
    losers: tuple[Loser, ...]
    removes: bool = False
    """Whether it takes away what stood there."""

    @property
    def path(self) -> str:
        """The path below the module's entry in `$edgeAgent`, or `desired.…` in the module's own twin."""
        twin, path = self.place
        return ".".join(path[2:] if twin == AGENT and _is_entry(path[:2]) else ("desired", *path))


@dataclass(frozen=True)
class Absence:
    """A deployment that gives the device nothing."""

    deployment: Deployment
    reason: Reason
    by: tuple[Deployment, ...] = ()
    """The deployments that stand in its place."""
    parts: tuple[Part, ...] = ()
    """What its condition fails on."""


@dataclass(frozen=True)
class Explanation:
    """What every deployment of the hub means for one device."""

    base: Deployment | None
    desired: Mapping[str, Json]
    """Desired properties by module, as `merge_layers` makes them."""
    shares: tuple[Share, ...]
    absences: tuple[Absence, ...]
    fault: str | None = None
    """Why the hub cannot give the device all that; then it keeps what it had."""


@dataclass(frozen=True)
class Drift:
    """A path at which a twin is not what the deployments make of it."""

    module: str
    path: str
    expected: Any
    actual: Any
    """None, as `expected` may be, where there is nothing."""


def explain(deployments: Iterable[Deployment], device: Mapping[str, Any]) -> Explanation:
    """The explanation for the device whose twin document is `device`."""
    everything = sorted(deployments, key=rank)
    targeted = find_targeted(everything, device)
    assignment = merge_targeted(targeted)
    base = next((one for one in targeted if one.id == assignment.base), None)
    applied = [one for one in targeted if base is not None and rank(one) >= rank(base)]
    live = live_settings(applied)
    present = {AGENT, HUB, *assignment.module_names()} if base else set()
    live = {place: giver for place, giver in live.items() if place[0] in present}
    return Explanation(
        base,
        assignment.desired,
        tuple(_shares(targeted, base, live, assignment.desired)),
        tuple(_absences(everything, targeted, base, live, present, device)),
        find_assignment_fault(assignment),
    )


def find_drift(desired: Mapping[str, Json], twins: Mapping[str, Mapping[str, Any]]) -> Sequence[Drift]:
    """Where the modules' twin documents differ from the desired properties that deployments give them."""
    drifts: list[Drift] = []
    for module, expected in sorted(desired.items()):
        actual = twins.get(module, {}).get("properties", {}).get("desired", {})
        drifts += _differences(module, (), merge({}, expected), merge({}, actual))
    return drifts


def _shares(
    targeted: Sequence[Deployment],
    base: Deployment | None,
    live: Mapping[Place, Deployment],
    desired: Mapping[str, Json],
) -> Iterator[Share]:
    if base is None:
        return
    agent = desired[AGENT]
    entries: list[Place] = [
        (AGENT, (kind, name))
        for kind in LISTS
        for name in sorted(agent.get(kind) or {})
        if isinstance(agent.get(kind), Mapping)
    ]
    places = dict.fromkeys([*entries, *sorted(live)])
    for place in sorted(places, key=lambda each: (_region(each) not in entries, _module(each), each)):
        giver = _maker(place, targeted, desired) or live.get(place) or _owner(place, live)
        if giver is None:
            continue
        removes = live.get(place) is giver and _given(giver, place) is None and not _contains(desired, place)
        yield Share(_module(place), place, giver, tuple(_losers(place, giver, targeted, base, live)), removes)


def _maker(place: Place, targeted: Sequence[Deployment], desired: Mapping[str, Json]) -> Deployment | None:
    """Who made an entry of `$edgeAgent` by a path below it, where no entry stood before."""
    twin, path = place
    if twin != AGENT or len(path) != 2 or path[0] not in LISTS:
        return None
    entry = desired[AGENT].get(path[0], {}).get(path[1])
    maker = entry.get("configuration", {}).get("id") if isinstance(entry, Mapping) else None
    return next((one for one in targeted if one.id == maker), None)


def _owner(entry: Place, live: Mapping[Place, Deployment]) -> Deployment | None:
    """The last to set an entry of `$edgeAgent`, or something around it that holds it; None when only paths
    below it are set, which make the entry."""
    around = [
        giver
        for (twin, path), giver in live.items()
        if _is_below(entry, (twin, path)) and _holds(giver, (twin, path), entry)
    ]
    return around[-1] if around else None


def _losers(
    place: Place,
    giver: Deployment,
    targeted: Sequence[Deployment],
    base: Deployment,
    live: Mapping[Place, Deployment],
) -> Iterator[Loser]:
    for one in reversed(targeted):
        if rank(one) >= rank(giver):
            continue
        own: list[Place] = [(module, path) for module, path, _ in one.settings]
        if any(
            (_is_below(each, place) and _region(each) == _region(place) and live.get(each) is not one)
            or (_is_below(place, each) and _holds(one, each, place))
            for each in own
        ):
            yield Loser(one, _why_lower(one, giver, base))


def _why_lower(one: Deployment, giver: Deployment, base: Deployment) -> Reason:
    if rank(one) < rank(base):
        return Reason.OTHER_BASE if is_base(one.modules) else Reason.BELOW_BASE
    if one.priority < giver.priority:
        return Reason.LOWER_PRIORITY
    return Reason.OLDER if one.created_at < giver.created_at else Reason.SAME_TIME


def _absences(
    everything: Sequence[Deployment],
    targeted: Sequence[Deployment],
    base: Deployment | None,
    live: Mapping[Place, Deployment],
    present: set[str],
    device: Mapping[str, Any],
) -> Iterator[Absence]:
    givers = {giver.id for giver in live.values()}
    targeting = {one.id for one in targeted}
    for one in reversed(everything):
        if one.id not in targeting:
            yield Absence(one, Reason.NOT_TARGETED, parts=find_failing_parts(one.condition, device))
        elif base is None:
            yield Absence(one, Reason.NO_BASE)
        elif rank(one) < rank(base):
            yield Absence(one, Reason.OTHER_BASE if is_base(one.modules) else Reason.BELOW_BASE, (base,))
        elif one.id not in givers and one is not base:
            own: list[Place] = [(module, path) for module, path, _ in one.settings]
            if any(module in present for module, _ in own):
                by = {
                    giver.id: giver
                    for place, giver in live.items()
                    if rank(giver) > rank(one) and any(_is_below(each, place) for each in own)
                }
                yield Absence(one, Reason.REPLACED, tuple(by.values()))
            else:
                yield Absence(one, Reason.NO_MODULE)


def _region(place: Place) -> Place:
    """The module's entry in `$edgeAgent` that the place belongs to, else the whole twin."""
    twin, path = place
    return (twin, path[:2]) if twin == AGENT and _is_entry(path[:2]) else (twin, ())


def _module(place: Place) -> str:
    """The module that the place is about: `$edgeAgent` lists the others, and calls itself edgeAgent."""
    twin, path = place
    if twin != AGENT or not _is_entry(path[:2]):
        return twin
    kind, name = path[:2]
    return {"edgeAgent": AGENT, "edgeHub": HUB}.get(name, name) if kind == "systemModules" else name


def _is_entry(path: tuple[str, ...]) -> bool:
    return len(path) == 2 and path[0] in LISTS


def _is_below(place: Place, other: Place) -> bool:
    return place[0] == other[0] and place[1][: len(other[1])] == other[1]


def _holds(deployment: Deployment, setting: Place, place: Place) -> bool:
    return _reaches(_given(deployment, setting), place[1][len(setting[1]) :])


def _contains(desired: Mapping[str, Json], place: Place) -> bool:
    return _reaches(desired, (place[0], *place[1]))


def _reaches(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True


def _given(deployment: Deployment, setting: Place) -> Any:
    return deployment.modules[setting[0]][".".join(("properties", "desired", *setting[1]))]


def _differences(module: str, path: tuple[str, ...], expected: Json, actual: Json) -> Iterator[Drift]:
    for name in sorted(expected.keys() | actual.keys()):
        here, one, other = (*path, name), expected.get(name), actual.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(module, here, one, other)
        elif not is_same(one, other):
            yield Drift(module, ".".join(here), one, other)
