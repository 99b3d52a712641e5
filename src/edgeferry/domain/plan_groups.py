"""Devices before and after a rollout, those together for which the same deployments count. Pure.

There are far fewer such groups than devices, and merging is what costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.layering import (
    AGENT,
    Deployment,
    Entries,
    Json,
    Place,
    list_entries,
    list_live,
    locate,
    merge_desired,
    rank,
)
from edgeferry.domain.twin import is_same


@dataclass(frozen=True)
class PathChange:
    """A path of some module's desired properties that another deployment gives, or gives another value."""

    module: str
    path: str
    """Below its desired properties; "" for all of them."""
    before: str
    """The deployment that gives it now; "" for none."""
    after: str


@dataclass(frozen=True)
class DeviceChange:
    """What changes for devices for which the same changes."""

    devices: tuple[str, ...]
    base: str
    """Their base deployment afterwards; "" for none."""
    replaces: str
    """The image that the release's module has now; "" where there is none."""
    paths: tuple[PathChange, ...]
    pull_bytes: int
    """What each must pull: what its present images do not share, by what deployments give it now."""
    unknown_images: tuple[str, ...] = ()
    """Images whose size our registry cannot tell; they are not in `pull_bytes`."""


@dataclass(frozen=True)
class Merged:
    """What some deployments make of a device that they all target."""

    targeted: tuple[Deployment, ...]
    """The weakest first."""
    base: Deployment | None
    desired: Mapping[str, Json]

    @property
    def applied(self) -> tuple[Deployment, ...]:
        """The base and the layers above it."""
        return self.targeted[self.targeted.index(self.base) :] if self.base else ()

    def has(self, deployment: Deployment) -> bool:
        """Whether the deployment, this very value, targets the device."""
        return any(one is deployment for one in reversed(self.targeted))

    @property
    def modules(self) -> Mapping[str, Any]:
        """The entries of the modules that it is to run, by name."""
        return list_entries(self.desired.get(AGENT, {}), "modules")

    def image_of(self, module: str) -> str:
        """The image of what is released as `module`; "" where there is none."""
        kind, name = locate(module)
        return read_image(list_entries(self.desired.get(AGENT, {}), kind).get(name))


@dataclass(frozen=True)
class Group:
    """Devices that the same deployments target, now and afterwards."""

    devices: tuple[str, ...]
    before: Merged
    after: Merged

    @property
    def changes(self) -> bool:
        """Whether other deployments count afterwards, or changed ones."""
        return self.before is not self.after


def read_image(entry: Any) -> str:
    """The image of a module's entry in `$edgeAgent`; "" where it names none."""
    settings = entry.get("settings") if isinstance(entry, Mapping) else None
    image = settings.get("image") if isinstance(settings, Mapping) else None
    return image if isinstance(image, str) else ""


Touched = dict[frozenset[int], dict[int, tuple[tuple[Deployment, Place], ...]]]
"""By the deployments that come or go, of each deployment what they can touch; both by their `id()`."""


def group_devices(
    before: Sequence[Deployment], after: Sequence[Deployment], documents: Iterable[Mapping[str, Any]]
) -> list[Group]:
    """The devices of these twin documents by what targets them; each name sorted within its group."""
    conditions = {one.condition.text: one.condition for one in (*before, *after)}
    columns = {text: number for number, text in enumerate(conditions)}
    ordered = [condition.of_document for condition in conditions.values()]
    members: dict[tuple[bool, ...], list[str]] = {}
    for document in documents:
        truth = tuple([value_of(document) is True for value_of in ordered])
        members.setdefault(truth, []).append(str(document["deviceId"]))
    known: dict[tuple[int, ...], Merged] = {}
    entries: Entries = {}
    ranked_before = [(one, columns[one.condition.text]) for one in sorted(before, key=rank)]
    ranked_after = [(one, columns[one.condition.text]) for one in sorted(after, key=rank)]

    def merge(ranked: Sequence[tuple[Deployment, int]], truth: tuple[bool, ...]) -> Merged:
        targeted = tuple([one for one, column in ranked if truth[column]])
        key = tuple(map(id, targeted))
        if key not in known:
            base, desired = merge_desired(targeted, entries)
            known[key] = Merged(targeted, base, desired)
        return known[key]

    return [
        Group(tuple(sorted(names)), merge(ranked_before, truth), merge(ranked_after, truth))
        for truth, names in members.items()
    ]


def find_path_changes(group: Group, known: Touched | None = None) -> tuple[PathChange, ...]:
    """The paths at which another deployment counts afterwards, or the same one with another value. One
    `known` for several groups saves work."""
    before, after = _find_comparable(group, {} if known is None else known)
    return tuple(
        PathChange(
            module,
            ".".join(path),
            before[place].id if place in before else "",
            after[place].id if place in after else "",
        )
        for place in sorted(before.keys() | after.keys())
        if not _is_same_setting(place, before.get(place), after.get(place))
        for module, path in (place,)
    )


def join_changes(changes: Iterable[DeviceChange]) -> tuple[DeviceChange, ...]:
    """The same changes, with the devices together for which they are alike; the largest first."""
    joined: dict[tuple[Any, ...], list[str]] = {}
    for one in changes:
        key = (one.base, one.replaces, one.paths, one.pull_bytes, one.unknown_images)
        joined.setdefault(key, []).extend(one.devices)
    found = [DeviceChange(tuple(sorted(devices)), *key) for key, devices in joined.items()]
    return tuple(sorted(found, key=lambda one: (-len(one.devices), one.devices)))


def sort_devices(groups: Iterable[Group], model: str, image: str) -> dict[str, tuple[str, ...]]:
    """Devices that gained the image as the module `model`, lost the module or this image of it, or have it
    unchanged: by `gained`, `lost` and `unchanged`."""
    found: dict[str, list[str]] = {"gained": [], "lost": [], "unchanged": []}
    for group in groups:
        before, after = group.before.image_of(model), group.after.image_of(model)
        if after == image:
            found["unchanged" if before == image else "gained"] += group.devices
        elif before == image or (before and not after):
            found["lost"] += group.devices
    return {word: tuple(sorted(names)) for word, names in found.items()}


def iterate_images(merged: Merged, kinds: Sequence[str]) -> Iterator[str]:
    """The images of its modules, of these lists of `$edgeAgent`."""
    for kind in kinds:
        for entry in list_entries(merged.desired.get(AGENT, {}), kind).values():
            if image := read_image(entry):
                yield image


def _find_comparable(
    group: Group, known: Touched
) -> tuple[Mapping[Place, Deployment], Mapping[Place, Deployment]]:
    """The live settings before and after, but for those that nothing which comes or goes can touch."""
    before, after = group.before.applied, group.after.applied
    kept = {id(one) for one in before} & {id(one) for one in after}
    moved = {id(one): one for one in (*before, *after) if id(one) not in kept}
    touched = known.setdefault(frozenset(moved), {})

    def select(applied: Sequence[Deployment]) -> Iterator[tuple[Deployment, Place]]:
        for one in applied:
            if id(one) not in touched:
                touched[id(one)] = _find_touched(one, moved.values())
            yield from touched[id(one)]

    return list_live(select(before)), list_live(select(after))


def _find_touched(
    deployment: Deployment, moved: Iterable[Deployment]
) -> tuple[tuple[Deployment, Place], ...]:
    """Its settings at, around or below those that the `moved` ones have; some more may be among them."""
    heads = {(module, path[:2]) for one in moved for module, path, _ in one.settings}
    around = {(module, path[:length]) for module, path in heads for length in range(len(path))}
    return tuple(
        (deployment, (module, path))
        for module, path, _ in deployment.settings
        if (module, path) in around or any((module, path[:length]) in heads for length in (0, 1, 2))
    )


def _is_same_setting(place: Place, one: Deployment | None, other: Deployment | None) -> bool:
    if one is None or other is None or one.id != other.id:
        return False
    return one is other or is_same(_value(one, place), _value(other, place))


def _value(deployment: Deployment, place: Place) -> Any:
    module, path = place
    return deployment.modules[module][".".join(("properties", "desired", *path))]
