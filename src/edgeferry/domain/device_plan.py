"""The device plan: which actions turn what a device runs into what it should run. Pure.

A container is compared with its desired module by one hash that the agent put on it, never by what the
engine shows. The hash covers the wish to run as well, so a container that has ended always ended by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from edgeferry.domain.manifest import ModuleSpec

FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 300.0
HEALTHY_AFTER_S = 600.0
"""A module that ran this long starts counting its restarts anew."""


@dataclass(frozen=True)
class Wanted:
    """A desired module and the hash its container must carry."""

    spec: ModuleSpec
    hash: str


@dataclass(frozen=True)
class Present:
    """A container of this device; `status` is the engine's word (created, running, exited, …)."""

    module: str
    hash: str
    status: str


@dataclass(frozen=True)
class Pull:
    image: str
    reason: str


@dataclass(frozen=True)
class Remove:
    module: str
    reason: str


@dataclass(frozen=True)
class Create:
    module: str
    reason: str


@dataclass(frozen=True)
class Start:
    module: str
    reason: str


Action = Pull | Remove | Create | Start


def plan(desired: Mapping[str, Wanted], current: Sequence[Present], images: Set[str]) -> tuple[Action, ...]:
    """Actions that turn `current` into `desired`: pull everything, then remove, then create and start in
    startup order. Nothing for a settled device; containers that ended are left to `wants_restart`.

    `images` are the desired references that the engine already holds.
    """
    present = {container.module: container for container in current}
    pulls: dict[str, Pull] = {}
    removals: list[Remove] = []
    starts: list[Action] = []
    for container in sorted(current, key=lambda container: container.module):
        wanted = desired.get(container.module)
        if wanted is None:
            removals.append(Remove(container.module, "no longer desired"))
        elif wanted.hash != container.hash:
            removals.append(Remove(container.module, "desired differently now"))
        elif container.status in ("dead", "removing"):
            removals.append(Remove(container.module, f"its container is {container.status}"))
    removed = {removal.module for removal in removals}
    for name, wanted in sorted(desired.items(), key=lambda item: (item[1].spec.startup_order, item[0])):
        spec = wanted.spec
        if name in present and name not in removed:
            if present[name].status == "created" and spec.status == "running":
                starts.append(Start(name, "created but never started"))
            continue
        if spec.image not in images and spec.image_pull_policy != "never":
            pulls.setdefault(spec.image, Pull(spec.image, f"{name} needs it and the engine does not have it"))
        reason = "desired differently now" if name in removed else "desired and not there"
        starts.append(Create(name, reason))
        if spec.status == "running":
            starts.append(Start(name, reason))
    return (*pulls.values(), *removals, *starts)


def wait_s(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row (from 0): 10 s, doubled each time, up to 300 s."""
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


def runtime_status(spec: ModuleSpec, status: str, exit_code: int, health: str) -> str:
    """IoT Edge's word for the container's state: running, unhealthy, stopped, failed, backoff, dead."""
    if status == "dead":
        return "dead"
    if wants_restart(spec, status, exit_code, health) and status == "exited":
        return "backoff"
    if status == "running":
        return "unhealthy" if health == "unhealthy" else "running"
    if status == "exited" and exit_code != 0 and spec.status == "running":
        return "failed"
    return "stopped"
