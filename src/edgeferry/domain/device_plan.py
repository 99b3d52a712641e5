"""The device plan: which actions turn what a device runs into what it should run. Pure.

A container is compared with its desired module by one hash that the agent put on it, never by what the
engine shows. The hash covers the wish to run as well, so a container that has ended always ended by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from edgeferry.domain.manifest import ModuleSpec

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
HEALTHY_AFTER_S = 600.0
"""A module that ran this long starts counting its restarts anew."""
LOOPS_AFTER = 3
"""A module that ended so often in a row crash-loops."""


@dataclass(frozen=True)
class Wanted:
    """A desired module and the hash its container must carry."""

    spec: ModuleSpec
    hash: str
    hands_over: bool = False
    """Whether its successor is to answer before the container that runs now stops."""


@dataclass(frozen=True)
class Present:
    """A container of this device; `status` is the engine's word (created, running, exited, …)."""

    module: str
    hash: str
    status: str


@dataclass(frozen=True)
class Pull:
    """The image is to be brought to the engine."""

    image: str
    reason: str


@dataclass(frozen=True)
class Remove:
    """The module's container is to go, running or not."""

    module: str
    reason: str


@dataclass(frozen=True)
class Create:
    """A container of the module is to be made, and is not started by that."""

    module: str
    reason: str


@dataclass(frozen=True)
class Start:
    """The module's container is to run."""

    module: str
    reason: str


@dataclass(frozen=True)
class HandOver:
    """The container that runs now serves until its successor answers."""

    module: str
    reason: str


Action = Pull | Remove | Create | Start | HandOver


def plan(
    desired: Mapping[str, Wanted],
    current: Sequence[Present],
    images: Set[str],
    units: Iterable[Set[str]] = (),
) -> tuple[Action, ...]:
    """Actions that turn `current` into `desired`: pull everything, then remove, then create and start in
    startup order. Nothing for a settled device; containers that ended are left to `wants_restart`.

    `images` are the desired references that the engine already holds. While one of a unit's modules lacks its
    image, nothing of that unit is touched: it is pulled, and serves meanwhile as it is.
    """
    present = {container.module: container for container in current}
    changes = find_changes(desired, current)
    pulls: dict[str, Pull] = {}
    lacking = set()
    for name, wanted in _in_order(desired):
        image = wanted.spec.image
        if name in changes and image not in images and wanted.spec.image_pull_policy != "never":
            lacking.add(name)
            pulls.setdefault(image, Pull(image, f"{name} needs it and the engine does not have it"))
    held = lacking.union(*(unit for unit in units if lacking.intersection(unit)))
    changes = {name: reason for name, reason in changes.items() if name not in held}
    handed_over = {name for name in changes if _hands_over(desired.get(name), present.get(name))}
    removals = [
        Remove(name, changes[name]) for name in sorted(changes) if name in present and name not in handed_over
    ]
    starts: list[Action] = []
    for name, wanted in _in_order(desired):
        if name in handed_over:
            starts.append(HandOver(name, changes[name]))
        elif name in changes:
            starts.append(Create(name, changes[name]))
            if wanted.spec.status == "running":
                starts.append(Start(name, changes[name]))
        elif (
            name in present
            and present[name].status == "created"
            and wanted.spec.status == "running"
            and name not in held
        ):
            starts.append(Start(name, "created but never started"))
    return (*pulls.values(), *removals, *starts)


def find_changes(desired: Mapping[str, Wanted], current: Sequence[Present]) -> dict[str, str]:
    """Module to why its container must go or come, of those whose container may not stay as it is."""
    present = {container.module: container for container in current}
    return {
        name: reason for name in {**desired, **present} if (reason := _find_change(name, desired, present))
    }


def _find_change(name: str, desired: Mapping[str, Wanted], present: Mapping[str, Present]) -> str:
    """Why the module's container must go or come; empty when it may stay."""
    wanted, container = desired.get(name), present.get(name)
    if container is None:
        return "desired and not there"
    if wanted is None:
        return "no longer desired"
    if wanted.hash != container.hash:
        return "desired differently now"
    if container.status in ("dead", "removing"):
        return f"its container is {container.status}"
    return ""


def _hands_over(wanted: Wanted | None, container: Present | None) -> bool:
    if wanted is None or container is None:
        return False
    return wanted.hands_over and wanted.spec.status == "running" and container.status == "running"


def _in_order(desired: Mapping[str, Wanted]) -> Sequence[tuple[str, Wanted]]:
    return sorted(desired.items(), key=lambda item: (item[1].spec.startup_order, item[0]))


def wait_s(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row (from 0): 1 s, doubled each time, up to 300 s. So a
    module that ends at once is up again soon, and one that does so for ever is known to within a minute."""
    return min(FIRST_WAIT_S * float(2 ** min(failures, 10)), LONGEST_WAIT_S)


def wants_restart(spec: ModuleSpec, status: str, exit_code: int, health: str) -> bool:
    """Whether the restart policy asks to start this container again, once its wait is over."""
    if spec.status != "running":
        return False
    ended = status in ("exited", "dead")
    match spec.restart_policy:
        case "always":
            return ended or health == "unhealthy"
        case "on-unhealthy":
            return (ended and exit_code != 0) or health == "unhealthy"
        case "on-failure":
            return ended and exit_code != 0
        case _:
            return False


def ended_badly(spec: ModuleSpec, status: str, exit_code: int) -> bool:
    """Whether the module ended by itself although it was to run on, or with an exit code other than 0."""
    if spec.status != "running" or status not in ("exited", "dead"):
        return False
    return exit_code != 0 or spec.restart_policy == "always"


def runtime_status(spec: ModuleSpec, status: str, exit_code: int, health: str, in_a_row: int = 0) -> str:
    """IoT Edge's word for the container's state: running, unhealthy, stopped, failed, backoff, dead. One that
    was started again `in_a_row` times and ended each time is called failed from the third time on, although
    it is still tried."""
    if status == "dead":
        return "dead"
    if wants_restart(spec, status, exit_code, health) and status == "exited":
        return "failed" if in_a_row >= LOOPS_AFTER else "backoff"
    if status == "running":
        return "unhealthy" if health == "unhealthy" else "running"
    if status == "exited" and exit_code != 0 and spec.status == "running":
        return "failed"
    return "stopped"
