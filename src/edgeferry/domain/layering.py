"""What one device should have: base and layered deployments merged, and who gave what. Pure.

Follows Microsoft's "IoT Edge automatic deployments" where it speaks, and field reports where it does not:
the targeted base with the highest priority wins (the newest among equals); layers above it apply in rising
order, each key replacing whatever stood at its path; layers at or below the base stay `Targeted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgeferry.domain.condition import Condition, matches
from edgeferry.domain.limits import AZURE_SIZES, Sizes
from edgeferry.domain.model import DEVICE_AGENT
from edgeferry.domain.twin import find_fault

Json = dict[str, Any]

AGENT = "$edgeAgent"
HUB = "$edgeHub"

_DESIRED = ("properties", "desired")
LISTS = ("modules", "systemModules")
"""Where `$edgeAgent` lists modules by name."""


def locate(module: str) -> tuple[str, str]:
    """Where `$edgeAgent` tells of what is released under that name: which of `LISTS`, and the name there."""
    return ("systemModules", "edgeAgent") if module == DEVICE_AGENT else ("modules", module)


@dataclass(frozen=True)
class Deployment:
    """A base or layered deployment as the merge sees it."""

    id: str
    priority: int
    created_at: str
    """ISO 8601, UTC, of one form for all: among equal priorities the later one wins."""
    condition: Condition
    modules: Mapping[str, Mapping[str, Any]]
    """`modulesContent`: per module, values by path below the twin, e.g. `properties.desired.routes.r1`."""

    @cached_property
    def settings(self) -> Sequence[tuple[str, tuple[str, ...], Any]]:
        """(module, path below desired, value), shorter paths first."""
        settings = [
            (module, tuple(path.split("."))[2:], value)
            for module, content in self.modules.items()
            for path, value in content.items()
        ]
        return sorted(settings, key=lambda setting: (setting[0], len(setting[1]), setting[1]))


@dataclass(frozen=True)
class Assignment:
    """What deployments make of one device."""

    base: str | None
    """The base deployment's id; None when no base targets the device: then its modules stay as they are."""
    desired: Mapping[str, Json]
    """Desired properties of each module that some deployment gives any."""
    statuses: Mapping[str, Mapping[str, str]]
    """Per module, by deployment id: `Applied` when something of it is live there, else `Targeted`."""

    def module_names(self) -> frozenset[str]:
        """Modules that the device is to run, without `$edgeAgent` and `$edgeHub`."""
        return frozenset(list_entries(self.desired.get(AGENT, {}), "modules"))


def rank(deployment: Deployment) -> tuple[int, str, str]:
    """Where it stands among deployments: at one path the greater one wins."""
    return deployment.priority, deployment.created_at, deployment.id


def is_base(modules: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether this `modulesContent` brings a complete `$edgeAgent`, rather than paths below it."""
    return "properties.desired" in modules.get(AGENT, {})


def merge_layers(deployments: Iterable[Deployment], device: Mapping[str, Any]) -> Assignment:
    """The assignment for the device whose twin document is `device`."""
    return merge_targeted(find_targeted(deployments, device))


def find_targeted(deployments: Iterable[Deployment], device: Mapping[str, Any]) -> Sequence[Deployment]:
    """The deployments whose condition selects the device, the weakest first."""
    return sorted(
        (deployment for deployment in deployments if matches(deployment.condition, device)),
        key=rank,
    )


def merge_targeted(targeted: Sequence[Deployment]) -> Assignment:
    """The assignment for every device that just these deployments target, the weakest first."""
    base, desired = merge_desired(targeted)
    if base is None:
        return Assignment(None, {}, {AGENT: {one.id: "Targeted" for one in targeted}} if targeted else {})
    applied = targeted[targeted.index(base) :]
    present = {AGENT, HUB, *list_entries(desired[AGENT], "modules")}
    return Assignment(base.id, desired, _statuses(targeted, applied, present))


Entries = dict[tuple[int, str], tuple[Any, Json]]


def merge_desired(
    targeted: Sequence[Deployment], known: Entries | None = None
) -> tuple[Deployment | None, Mapping[str, Json]]:
    """The base among these, the weakest first, and what it and the layers above it make of desired
    properties, by module; nothing without a base.

    With one `known` for several merges they share the entries of modules that are alike; nobody may write
    into them.
    """
    last_base = max((index for index, one in enumerate(targeted) if is_base(one.modules)), default=None)
    if last_base is None:
        return None, {}
    known = {} if known is None else known
    desired: dict[str, Json] = {}
    givers: dict[tuple[str, str], str] = {}
    own: dict[int, Json] = {}
    for deployment in targeted[last_base:]:
        for module, path, value in deployment.settings:
            before = desired.get(module, {})
            is_within = module == AGENT and len(path) > 2 and path[0] in LISTS
            is_new = not is_within or not _is_object(list_entries(before, path[0]).get(path[1]))
            after = desired[module] = _put(before, path, value, own)
            if module == AGENT and is_new:
                _note_givers(givers, after, path, deployment.id)
    agent = desired[AGENT]
    for kind in LISTS:
        if entries := list_entries(agent, kind):
            agent = _put(agent, (kind,), _with_givers(entries, kind, givers, known), own)
    desired[AGENT] = agent
    present = {AGENT, HUB, *list_entries(agent, "modules")}
    return targeted[last_base], {module: values for module, values in desired.items() if module in present}


def _note_givers(
    givers: dict[tuple[str, str], str], agent: Mapping[str, Any], path: tuple[str, ...], deployment: str
) -> None:
    """Whom the entries of `$edgeAgent` are from, that a deployment has just set at or around `path`."""
    if path and path[0] not in LISTS:
        return
    for kind in path[:1] or LISTS:
        entries = list_entries(agent, kind)
        for name in path[1:2] or entries:
            if name in entries:
                givers[(kind, name)] = deployment


def _with_givers(
    entries: Mapping[str, Any], kind: str, givers: Mapping[tuple[str, str], str], known: Entries
) -> Json:
    """The entries, each with the deployment that supplied it, as a hub notes it."""
    noted: Json = {}
    for name, entry in entries.items():
        giver = givers.get((kind, name))
        if giver is None or not _is_object(entry):
            noted[name] = entry
            continue
        key = (id(entry), giver)
        if key not in known:
            known[key] = (entry, {**entry, "configuration": {"id": giver}})  # held, for its id
        noted[name] = known[key][1]
    return noted


Place = tuple[str, tuple[str, ...]]
"""Whose twin, and a path below its desired properties."""


def live_settings(applied: Sequence[Deployment]) -> Mapping[Place, Deployment]:
    """Every setting that no later one covers, with its deployment; in the order in which they apply.
    `applied` rises in rank."""
    return list_live(
        (deployment, (module, path)) for deployment in applied for module, path, _ in deployment.settings
    )


def list_live(settings: Iterable[tuple[Deployment, Place]]) -> Mapping[Place, Deployment]:
    """The same of these settings, in the order in which they apply."""
    live: dict[Place, Deployment] = {}
    below: dict[Place, set[Place]] = {}
    for deployment, place in settings:
        module, path = place
        for covered in below.pop(place, ()):
            live.pop(covered, None)
        for length in range(len(path) + 1):
            below.setdefault((module, path[:length]), set()).add(place)
        live[place] = deployment
    return live


def find_assignment_fault(assignment: Assignment, sizes: Sizes = AZURE_SIZES) -> str | None:
    """Why the hub cannot give the device this assignment; None when it can."""
    count = len(assignment.module_names())
    if sizes.modules is not None and count > sizes.modules - 2:
        return f"the deployments together list {count} modules, at most {sizes.modules - 2} are allowed"
    for module, values in sorted(assignment.desired.items()):
        fault = find_fault(values, sizes.section_bytes)
        if fault:
            return f"desired properties of {module}: {fault}"
    return None


def apply_content(
    current: Mapping[str, Json], content: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Json]:
    """Desired properties of each module that the `modulesContent` names, on top of the `current` ones: all of
    them replaced by `properties.desired`, some by a path below it."""
    applied: dict[str, Json] = {}
    for module, settings in content.items():
        values = dict(current.get(module, {}))
        for path, value in sorted(settings.items(), key=lambda setting: setting[0].count(".")):
            values = _set(values, tuple(path.split("."))[2:], value)
        applied[module] = values
    return applied


def find_content_fault(modules: Any, sizes: Sizes = AZURE_SIZES) -> str | None:
    """Why this `modulesContent` is not one, naming the place; None when it is."""
    if not isinstance(modules, Mapping) or not modules:
        return "modulesContent must be an object with at least one module"
    for module, content in modules.items():
        if not isinstance(content, Mapping):
            return f"modulesContent.{module} must be an object"
        for path, value in content.items():
            segments = path.split(".")
            if tuple(segments[:2]) != _DESIRED or not all(segments):
                return f"modulesContent.{module}: key {path!r} must be properties.desired or a path below it"
            if len(segments) == 2 and not isinstance(value, Mapping):
                return f"modulesContent.{module}.{path} must be an object"
            fault = find_fault(_set({}, tuple(segments[2:]), value), sizes.section_bytes)
            if fault:
                return f"modulesContent.{module}.{path}: {fault}"
    return None


def _set(values: Mapping[str, Any], path: tuple[str, ...], value: Any) -> Json:
    """`values` with `value` at `path`; null removes what is there."""
    return _put(values, path, value, {})


def _put(values: Mapping[str, Any], path: tuple[str, ...], value: Any, own: dict[int, Json]) -> Json:
    """The same, written into `values` where it is among our `own` copies, by id, else into a new one."""
    if not path:
        return _copy(value, own)
    head, rest = path[0], path[1:]
    inner: Any = values.get(head)
    if value is None and (head not in values if not rest else not _is_object(inner)):
        return _owned(values, own)
    values = _owned(values, own)
    if rest:
        values[head] = _put(inner if _is_object(inner) else {}, rest, value, own)
    elif value is None:
        del values[head]
    else:
        values[head] = value
    return values


def _owned(values: Mapping[str, Any], own: dict[int, Json]) -> Json:
    return own[id(values)] if id(values) in own else _copy(values, own)


def _copy(values: Mapping[str, Any], own: dict[int, Json]) -> Json:
    copied = dict(values)
    own[id(copied)] = copied
    return copied


def list_entries(agent: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The modules by name in that one of `LISTS` of `$edgeAgent`'s desired properties."""
    entries = agent.get(kind)
    return entries if entries is not None and _is_object(entries) else {}


def _is_object(value: Any) -> bool:
    """Whether it is a JSON object; a dict is one without asking what else is."""
    return type(value) is dict or isinstance(value, Mapping)


def _statuses(
    targeted: Sequence[Deployment], applied: Sequence[Deployment], present: set[str]
) -> Mapping[str, Mapping[str, str]]:
    live = {key: one.id for key, one in live_settings(applied).items() if key[0] in present}
    live_ids = set(live.values()) | {applied[0].id}
    statuses = {AGENT: {one.id: "Applied" if one.id in live_ids else "Targeted" for one in targeted}}
    for module in sorted(present - {AGENT}):
        setters = [one.id for one in applied if module in one.modules]
        here = {giver for (name, _), giver in live.items() if name == module}
        if setters:
            statuses[module] = {one: "Applied" if one in here else "Targeted" for one in setters}
    return statuses
