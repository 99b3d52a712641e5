"""What to know about a deployment before it is created: what no device runs, and what is seldom meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeferry.domain.layering import AGENT, LISTS, Deployment, is_base
from edgeferry.domain.portability import find_remarks

RESERVED = "edgeferry-"
"""How the names of edgeferry's own deployments begin."""


def find_unrunnable(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the IoT Edge agent would refuse of this `modulesContent`, naming the place; a hub takes it all the
    same. The members are those that "Properties of the IoT Edge agent and IoT Edge hub module twins"
    (Microsoft) requires."""
    agent = modules.get(AGENT, {})
    for path, value in agent.items():
        names = tuple(path.split("."))[2:]
        if not names:
            yield from _unrunnable_base(path, value)
        elif len(names) == 1 and names[0] in LISTS:
            yield from _unrunnable_entries(path, value)
        elif len(names) == 2 and names[0] in LISTS:
            yield from _unrunnable_entry(path, value)


def find_warnings(
    deployment: Deployment, others: Sequence[Deployment], selected: int, edge_devices: int
) -> Iterator[str]:
    """Sentences about the deployment beside the `others` on the hub, when its condition selects `selected` of
    the hub's `edge_devices`."""
    if not selected:
        yield f"its condition selects none of the {edge_devices} edge devices"
    elif selected == edge_devices and deployment.condition.text.strip() != "*":
        yield f"its condition selects all {edge_devices} edge devices"
    for remark in find_remarks(deployment.condition.expression):
        yield f"its condition, column {remark.column}: {remark.problem}: {remark.fix}"
    equal = [one.id for one in others if one.priority == deployment.priority]
    if equal:
        has = "has" if len(equal) == 1 else "have"
        yield (
            f"{', '.join(sorted(equal))} {has} priority {deployment.priority} too: where both set one path, "
            "the one created last wins"
        )
    if is_base(deployment.modules):
        return
    for path in _whole_lists(deployment.modules):
        yield (
            f"{path} as a whole replaces all modules of lower deployments: write {path}.NAME for the modules "
            "that it brings"
        )
    bases = [one for one in others if is_base(one.modules)]
    if not bases:
        yield "it is a layer, and the hub has no base deployment: it waits until one targets its devices"
    elif all(one.priority >= deployment.priority for one in bases):
        lowest = min(one.priority for one in bases)
        yield (
            "it is a layer, and every base has at least its priority: it waits below such a base; "
            f"give more than {lowest}"
        )


def _unrunnable_base(path: str, desired: Any) -> Iterator[str]:
    if not isinstance(desired, Mapping):
        return
    if not isinstance(desired.get("schemaVersion"), str):
        yield f'{path}.schemaVersion is missing: write "1.1"'
    runtime = desired.get("runtime")
    if not isinstance(runtime, Mapping) or runtime.get("type") != "docker":
        yield f'{path}.runtime is missing: write {{"type": "docker", "settings": {{}}}}'
    system = desired.get("systemModules")
    for name in ("edgeAgent", "edgeHub"):
        if not isinstance(system, Mapping) or name not in system:
            yield f"{path}.systemModules.{name} is missing: a base brings both, with their images"
    for kind in LISTS:
        yield from _unrunnable_entries(f"{path}.{kind}", desired.get(kind))


def _unrunnable_entries(path: str, entries: Any) -> Iterator[str]:
    if isinstance(entries, Mapping):
        for name, entry in entries.items():
            yield from _unrunnable_entry(f"{path}.{name}", entry)
    elif entries is not None:
        yield f"{path} is not an object of modules by name"


def _unrunnable_entry(path: str, entry: Any) -> Iterator[str]:
    if entry is None:
        return
    settings = entry.get("settings") if isinstance(entry, Mapping) else None
    image = settings.get("image") if isinstance(settings, Mapping) else None
    if not isinstance(image, str) or not image:
        yield f"{path}.settings.image is missing: name the image that it runs"
    elif entry.get("type") != "docker":
        yield f'{path}.type is missing: write "docker"'


def _whole_lists(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind in LISTS:
        if f"properties.desired.{kind}" in modules.get(AGENT, {}):
            yield f"properties.desired.{kind}"
