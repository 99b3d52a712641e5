"""What stands in the way of a rollout, of what kind it is, and how bad. Pure.

What only a person can weigh warns; what would leave a device without the release, or break another module,
blocks. Two modules that are in each other's way already are no reason to stop, and are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from edgeferry.domain.claims import Claims, find_clashes
from edgeferry.domain.layering import AGENT, Deployment, is_base, locate, rank
from edgeferry.domain.model import COMPANION, DEVICE_AGENT
from edgeferry.domain.plan_groups import Group, Merged
from edgeferry.domain.portability import find_remarks


class Kind(StrEnum):
    """What two things want at once, or what is not as a rollout needs it."""

    MODULE = "module"
    """Another deployment brings, or changes, the release's module."""
    COVERED = "covered"
    """Something above the layer takes away what it brings."""
    HOST_PORT = "host-port"
    MOUNT = "mount"
    DEVICE_PATH = "device-path"
    EQUAL_PRIORITY = "equal-priority"
    MISSING_BASE = "missing-base"
    NO_COMPANION = "no-companion"
    """Nobody on a device could ask the model."""
    FIXED_AGENT = "fixed-agent"
    """A device's agent is no container, so that no image updates it."""
    BELOW_BASE = "below-base"
    FOREIGN_BASE = "foreign-base"
    COVERED_BASE = "covered-base"
    """Our base would take the place of another one."""
    NOBODY = "nobody"
    EVERYBODY = "everybody"
    NOT_AS_AZURE = "not-as-azure"
    """Azure would read the condition differently, or not at all."""
    UNTAGGED = "untagged"
    """A device without what waves are cut by."""
    UNREAD = "unread"
    """A deployment whose target condition we cannot read."""
    QUOTA = "quota"


Severity = Literal["blocks", "warns"]
_EXAMPLES = 5


@dataclass(frozen=True)
class Conflict:
    """One thing that stands in the way, or that a person should know."""

    kind: Kind
    severity: Severity
    problem: str
    fix: str
    devices: int = 0
    """How many devices it concerns."""
    examples: tuple[str, ...] = ()
    """Some of them, by name."""
    deployments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quota:
    """The most that any part of the fleet will use of what a hub allows."""

    name: str
    used: int
    limit: int
    where: str = ""
    """The device, or the wave, that uses it."""


@dataclass(frozen=True)
class Subject:
    """What is rolled out, as far as others can be in its way."""

    model: str
    """The name of its module."""
    image: str
    layer: Deployment
    kin: frozenset[str]
    """The ids of the module's own layers in this environment, this one among them; of a companion or the
    agent those of the models that it is judged by, too."""
    bases: frozenset[str]
    """The ids of our bases."""


def find_fleet_conflicts(subject: Subject, targeted: int, edge_devices: int) -> Iterator[Conflict]:
    """What is wrong with the target condition itself, which selects `targeted` of the hub's devices."""
    condition = subject.layer.condition
    if not targeted:
        yield Conflict(
            Kind.NOBODY,
            "blocks",
            f"{condition.text!r} selects none of the {edge_devices} edge devices",
            "tag the devices that are meant, or correct the condition",
        )
    elif targeted == edge_devices:
        yield Conflict(
            Kind.EVERYBODY,
            "warns",
            f"{condition.text!r} selects all {edge_devices} edge devices",
            "narrow it with --target-condition, unless all are meant",
            targeted,
        )
    for remark in find_remarks(condition.expression):
        yield Conflict(
            Kind.NOT_AS_AZURE,
            "warns",
            f"the target condition, column {remark.column}: {remark.problem}",
            remark.fix,
        )


def find_untagged(missing: Mapping[str, Sequence[str]]) -> Iterator[Conflict]:
    """Devices without a tag that waves are cut by, by that tag."""
    for tag, devices in missing.items():
        if devices:
            yield _tell(
                Kind.UNTAGGED,
                "warns",
                f"{_count(devices)} without {tag}: no threshold reaches them before the last wave",
                "enrol them, or set it with: edgeferry devices tag DEVICE NAME=VALUE",
                devices,
            )


def find_fixed(devices: Sequence[str]) -> Iterator[Conflict]:
    """Devices whose agent is to be another image, and is none."""
    if devices:
        yield _tell(
            Kind.FIXED_AGENT,
            "blocks",
            f"{_count(devices)} without a container for its agent, which no image can update",
            "make it one there: edgeferry agent install --image REF; or leave them out: --target-condition",
            devices,
        )


def find_over_quota(quotas: Iterable[Quota]) -> Iterator[Conflict]:
    """The quotas that the rollout would exceed."""
    for quota in quotas:
        if quota.used > quota.limit:
            where = f" ({quota.where})" if quota.where else ""
            yield Conflict(
                Kind.QUOTA,
                "blocks",
                f"{quota.name}: {quota.used:,} where a hub allows {quota.limit:,}{where}",
                _QUOTA_FIXES.get(quota.name, "shorten what is there"),
            )


def find_unread(problems: Mapping[str, str]) -> Iterator[Conflict]:
    """Deployments whose condition cannot be read, with why: what they do to a device is not in the plan."""
    for name, problem in sorted(problems.items()):
        yield Conflict(
            Kind.UNREAD,
            "warns",
            f"the condition of {name} cannot be read here: {problem}",
            "look at that deployment: this plan leaves it out",
            deployments=(name,),
        )


def find_device_conflicts(
    subject: Subject,
    groups: Iterable[Group],
    added: Sequence[Deployment],
    read_claims: Callable[[str, Any], Claims],
) -> list[Conflict]:
    """What is in the way on devices; `added` are the deployments that the rollout makes or changes, and
    `read_claims` tells what the entry of a module claims."""
    found: dict[tuple[Kind, Severity, str, str, tuple[str, ...]], list[str]] = {}
    seen: dict[int, frozenset[Any]] = {}

    def clashes(merged: Merged) -> frozenset[Any]:
        if id(merged) not in seen:
            claims = {name: read_claims(name, entry) for name, entry in merged.modules.items()}
            seen[id(merged)] = find_clashes(claims)
        return seen[id(merged)]

    groups = list(groups)
    names = frozenset(one.id for one in added)
    deployments = {one.id: one for group in groups for one in group.after.targeted}
    touching = frozenset(name for name, one in deployments.items() if _touches(one, subject.model))
    for group in groups:
        is_targeted = group.after.has(subject.layer)
        if not is_targeted and not group.changes:
            continue
        told = [*_base_conflicts(subject, group, names), *_priority_conflicts(group, added)]
        if is_targeted:
            told += _layer_conflicts(subject, group, touching)
        old = clashes(group.before) if clashes(group.after) else frozenset()
        for clash in clashes(group.after):
            one, other = clash.modules
            told.append(
                (
                    Kind(clash.kind),
                    "warns" if clash in old else "blocks",
                    f"{one} and {other} both want {_CLAIMED[clash.kind]} {clash.what}",
                    "give one of them another, or keep them on different devices",
                    (),
                )
            )
        for key in told:
            found.setdefault(key, []).extend(group.devices)
    return [
        _tell(kind, severity, problem, fix, devices, deployments)
        for (kind, severity, problem, fix, deployments), devices in found.items()
    ]


def sort_conflicts(conflicts: Iterable[Conflict]) -> tuple[Conflict, ...]:
    """What blocks first, in the order of kinds; the same whatever order they were found in."""
    kinds = list(Kind)
    return tuple(
        sorted(
            conflicts,
            key=lambda one: (one.severity, kinds.index(one.kind), one.problem, one.deployments),
        )
    )


_Told = tuple[Kind, Severity, str, str, tuple[str, ...]]

_CLAIMED = {"host-port": "the device's port", "mount": "to write to", "device-path": "the device file"}
_QUOTA_FIXES = {
    "deployments": "remove deployments that nobody needs: edgeferry deployments list",
    "modules of a device": "take a model off these devices",
    "desired properties": "take a model off these devices, or shorten createOptions and environments",
    "tags": "remove tags of this device",
    "target condition": "use fewer strata, or a shorter condition",
}


def _base_conflicts(subject: Subject, group: Group, added: frozenset[str]) -> Iterator[_Told]:
    before, after = group.before.base, group.after.base
    if after is subject.layer:  # an agent's base, which is to take the place of the one that it copies
        yield from _dropped_layers(group, after)
    elif before and after and before.id != after.id and after.id in added:
        yield (
            Kind.COVERED_BASE,
            "blocks",
            f"the base {after.id} would take the place of {before.id}",
            f"narrow rollout.fleet_condition, or give {before.id} a priority above {after.priority}",
            (before.id,),
        )
    if not group.after.has(subject.layer):
        return
    if after is None:
        yield (
            Kind.MISSING_BASE,
            "blocks",
            "no base deployment targets them, so that no layer applies",
            "widen rollout.fleet_condition or the condition of a base to them",
            (),
        )
        return
    copied = before if after is subject.layer else after
    if copied and copied.id not in subject.bases:
        yield (
            Kind.FOREIGN_BASE,
            "warns",
            f"their base {copied.id} is not edgeferry's: it is "
            + (
                "used as it is" if copied is after else "copied, and what its owner edits later has no effect"
            ),
            "nothing, if that is meant; what it brings is its owner's to keep working",
            (copied.id,),
        )
    if rank(subject.layer) < rank(after):
        yield (
            Kind.BELOW_BASE,
            "blocks",
            f"the layer's priority {subject.layer.priority} is not above that of the base {after.id}, "
            f"{after.priority}",
            f"give {after.id} a priority below {subject.layer.priority}",
            (after.id,),
        )


def _dropped_layers(group: Group, base: Deployment) -> Iterator[_Told]:
    """Layers that apply now, and would not above this base."""
    kept = {id(one) for one in group.after.applied}
    for one in group.before.applied:
        if id(one) not in kept and not is_base(one.modules):
            yield (
                Kind.BELOW_BASE,
                "blocks",
                f"{one.id} would not apply any more: its priority {one.priority} is not above that of the "
                f"base {base.id}, {base.priority}",
                f"give {one.id} a priority above {base.priority}",
                (one.id,),
            )


def _priority_conflicts(group: Group, added: Sequence[Deployment]) -> Iterator[_Told]:
    for ours in added:
        if not group.after.has(ours):
            continue
        for one in group.after.targeted:
            if one.priority == ours.priority and one.id != ours.id and not is_base(one.modules):
                yield (
                    Kind.EQUAL_PRIORITY,
                    "warns",
                    f"{one.id} has priority {ours.priority} too: where both set one path, the one created "
                    "last wins",
                    f"give it another priority: edgeferry deployments update {one.id} --priority N",
                    (one.id,),
                )


def _layer_conflicts(subject: Subject, group: Group, touching: frozenset[str]) -> Iterator[_Told]:
    ours, applied = subject.layer, group.after.applied
    if not applied or rank(ours) < rank(applied[0]):
        return
    is_covered = False
    for one in applied:
        wins = rank(one) > rank(ours)
        if one.id in subject.kin:
            continue
        if one.id in touching:
            yield (
                Kind.MODULE,
                "blocks",
                f"{one.id} sets the module {subject.model} too, and "
                + ("stands above the release's layer" if wins else "would be covered by the release's layer"),
                "give one of the two modules another name, or keep them on different devices",
                (one.id,),
            )
        elif wins and (place := _find_covered(ours, one)):
            is_covered = True
            yield (
                Kind.COVERED,
                "blocks",
                f"{one.id} stands above the release's layer and replaces {place}",
                "lower its priority, or let it set no more than the paths that it means",
                (one.id,),
            )
    is_asked = subject.model != DEVICE_AGENT or any(one.id in subject.kin for one in applied[1:])
    if is_asked and COMPANION not in group.after.modules and not is_covered:
        yield (
            Kind.NO_COMPANION,
            "blocks",
            "no companion is on them, so that nobody asks the model there",
            f"roll one out to them: edgeferry rollout {COMPANION}",
            (),
        )


def _touches(deployment: Deployment, model: str) -> bool:
    """Whether it sets the module's entry, something below it, or the module's own twin."""
    kind, name = locate(model)
    if name in deployment.modules:
        return True
    for module, path, value in deployment.settings:
        if module != AGENT:
            continue
        if path[:2] == (kind, name):
            return True
        inner = value.get(kind) if not path and isinstance(value, Mapping) else None
        whole = value if path == (kind,) else inner
        if isinstance(whole, Mapping) and name in whole:
            return True
    return False


def _find_covered(ours: Deployment, above: Deployment) -> str:
    """The first setting of ours that one of `above` covers, e.g. `companion models.taxi`; "" for none."""
    covers = {(module, path) for module, path, _ in above.settings}
    for module, path, _ in ours.settings:
        if any((module, path[:length]) in covers for length in range(len(path) + 1)):
            return f"{module} {'.'.join(path)}".strip()
    return ""


def _tell(
    kind: Kind,
    severity: Severity,
    problem: str,
    fix: str,
    devices: Iterable[str],
    deployments: tuple[str, ...] = (),
) -> Conflict:
    names = sorted(devices)
    return Conflict(kind, severity, problem, fix, len(names), tuple(names[:_EXAMPLES]), deployments)


def _count(devices: Sequence[str]) -> str:
    return "1 device is" if len(devices) == 1 else f"{len(devices):,} devices are"
