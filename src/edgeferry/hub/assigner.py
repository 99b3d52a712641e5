"""Gives devices what the deployments make of them: desired properties, statuses, module identities.

There is no evaluation cycle. A change of a device is assigned within its own transaction. A change of a
deployment marks, within its transaction, the devices that it concerns; they are worked off in slices, so
that others are served between, and after a crash the hub goes on where it was. What deployments make of a
device depends only on which of them target it, so it is merged once for all such devices. A pass that changes
nothing writes nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.expression import find_paths
from edgeferry.domain.layering import (
    AGENT,
    HUB,
    Assignment,
    Deployment,
    find_assignment_fault,
    find_targeted,
    merge_targeted,
)
from edgeferry.domain.twin import diff_for_client, new_twin, settle_desired
from edgeferry.hub.core import Core
from edgeferry.hub.events import AssignmentRefused, DesiredChanged, Event, IdentityGone
from edgeferry.hub.store import Store
from edgeferry.wire.hub import Configuration, Identity, Presence, render_twin

MANAGED = "IotEdge"
PATIENCE_S = 20.0
_SLICE_S = 0.025
_SLICE_DEVICES = 100
_RETRY_S = 1.0
_MERGED = 1024
_BUGS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What stored content that nobody foresaw can raise."""


@dataclass(frozen=True)
class _Merged:
    assignment: Assignment
    fault: str | None


class Assigner:
    """Assigns devices, at once or in slices."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._configurations: Sequence[Configuration] = ()
        self._deployments: Sequence[Deployment] = ()
        self._looks_at_reported = False
        self._merged: dict[tuple[str, ...], _Merged] = {}
        self._drain: asyncio.Task[None] | None = None
        self._assigned, self._began = 0, 0.0

    def assign(self, device: Identity) -> Sequence[Event]:
        """What happened: writes the device's assignment to its modules, within the caller's transaction. Does
        nothing to a device that is not an edge device."""
        if not device.is_edge:
            return []
        self._refresh()
        merged = self._merge(find_targeted(self._deployments, render_twin(device, Presence())))
        return _write(self._core, device, merged)

    def looks_at_reported(self) -> bool:
        """Whether some condition reads reported properties."""
        self._refresh()
        return self._looks_at_reported

    def wake(self) -> None:
        """Devices that are marked are being assigned: a first slice now, the rest between other work."""
        if self._drain is None:
            wait_s = self._go_on()
            if wait_s is not None:
                self._drain = asyncio.get_running_loop().create_task(self._work(wait_s))

    async def settled(self) -> None:
        """Returns when no device is marked any more, or after PATIENCE_S: clients do not wait for ever."""
        if self._drain is not None:
            await asyncio.wait((self._drain,), timeout=PATIENCE_S)

    async def _work(self, wait_s: float | None) -> None:
        try:
            while wait_s is not None:
                await asyncio.sleep(wait_s)
                wait_s = self._go_on()
        finally:
            self._drain = None

    def _go_on(self) -> float | None:
        """Seconds until the next slice; None when nothing is left."""
        try:
            return 0.0 if self._work_slice() else None
        except sqlite3.Error as error:
            self._core.log("assignment delayed", error=f"the store failed: {error}")
            return _RETRY_S

    def _work_slice(self) -> bool:
        """Whether more is left."""
        store, began = self._core.store, time.monotonic()
        names = store.pending(_SLICE_DEVICES)
        if not names:
            return False
        if not self._assigned:
            self._began = began
        try:
            self._assign_marked(names, began + _SLICE_S)
        except _BUGS:
            for name in names:
                self._assign_alone(name)
        if store.pending(1):
            return True
        ms = round((time.monotonic() - self._began) * 1000, 1)
        self._core.log("assigned", devices=self._assigned, ms=ms)
        self._assigned = 0
        return False

    def _assign_marked(self, names: Sequence[str], until: float) -> None:
        """The first of the devices are assigned and no longer marked; those left at `until` stay marked."""
        store, events, done = self._core.store, list[Event](), 0
        with store.transaction():
            for name in names:
                device = store.identity(name)
                if device is not None:
                    events += self.assign(device)
                store.remove_pending(name)
                done += 1
                if time.monotonic() > until:
                    break
        self._assigned += done
        self._core.announce(events)

    def _assign_alone(self, name: str) -> None:
        """The device is no longer marked, assigned or not: what fails for one must not stop all."""
        try:
            self._assign_marked([name], time.monotonic())
        except _BUGS as error:
            with self._core.store.transaction():
                self._core.store.remove_pending(name)
            self._core.log("assignment failed", device=name, error=f"{type(error).__name__}: {error}")

    def _merge(self, targeted: Sequence[Deployment]) -> _Merged:
        key = tuple(one.id for one in targeted)
        merged = self._merged.get(key)
        if merged is None:
            if len(self._merged) >= _MERGED:
                self._merged.clear()
            assignment = merge_targeted(targeted)
            merged = self._merged[key] = _Merged(
                assignment, find_assignment_fault(assignment, self._core.sizes)
            )
        return merged

    def _refresh(self) -> None:
        configurations = self._core.store.configurations()
        if configurations is self._configurations:
            return
        self._configurations = configurations
        self._deployments = [one.deployment for one in configurations]
        self._looks_at_reported = any(
            path.segments[:1] not in (("tags",), ("deviceId",))
            for one in self._deployments
            for path in find_paths(one.condition.expression)
        )
        self._merged.clear()


def new_identity(device: str, module: str | None, now: str, new_key: Callable[[], str]) -> Identity:
    """An enabled identity with keys of its own and an empty twin."""
    digits = "".join(letter for letter in now if letter.isdigit())
    return Identity(
        device=device,
        module=module,
        generation=digits,
        created_at=now,
        primary_key=new_key(),
        secondary_key=new_key(),
        twin=new_twin(now),
    )


def settle_modules(
    core: Core, device: str, modules: dict[str, Identity], listed: Iterable[str], now: str
) -> Sequence[Event]:
    """The device has the modules that are listed and the hub's own, and none that it was managed to have
    otherwise; `modules`, its modules by name, is brought up to date. Within the caller's transaction."""
    wanted = {*listed, AGENT, HUB}
    for name in sorted(wanted - modules.keys()):
        modules[name] = replace(new_identity(device, name, now, core.new_key), managed_by=MANAGED)
        core.store.save_identity(modules[name])
    gone = [
        name
        for name in sorted(modules.keys() - wanted)
        if modules[name].managed_by.lower() == MANAGED.lower()
    ]
    for name in gone:
        core.store.delete_identity(device, name)
        del modules[name]
    return [IdentityGone(device, name) for name in gone]


def _write(core: Core, device: Identity, merged: _Merged) -> Sequence[Event]:
    store, assignment = core.store, merged.assignment
    modules = {module.module or "": module for module in store.modules(device.device)}
    if merged.fault:
        _save_statuses(store, modules, _all_targeted(assignment))
        return [AssignmentRefused(device.device, merged.fault)]
    if assignment.base is None:
        _save_statuses(store, modules, assignment)
        return []
    now = core.now()
    events: list[Event] = [*settle_modules(core, device.device, modules, assignment.module_names(), now)]
    for name, module in modules.items():
        settled = _settle(module, assignment, now)
        if settled is not module:
            store.save_identity(settled)
        if settled.twin.desired is not module.twin.desired:
            before, after = module.twin.desired, settled.twin.desired
            patch = diff_for_client(before.values, after.values)
            events.append(DesiredChanged(device.device, name, patch, after.version))
    return events


def _settle(module: Identity, assignment: Assignment, now: str) -> Identity:
    name = module.module or ""
    given = assignment.desired.get(name)
    statuses = dict(assignment.statuses.get(name, {}))
    twin = module.twin
    if given is not None or module.assigned:
        twin = settle_desired(twin, given or {}, now)
    unchanged = twin is module.twin and statuses == module.deployments
    if unchanged and module.assigned == (given is not None):
        return module
    return replace(module, twin=twin, deployments=statuses, assigned=given is not None)


def _all_targeted(assignment: Assignment) -> Assignment:
    statuses = {module: dict.fromkeys(ids, "Targeted") for module, ids in assignment.statuses.items()}
    return replace(assignment, statuses=statuses)


def _save_statuses(store: Store, modules: Mapping[str, Identity], assignment: Assignment) -> None:
    for name, module in modules.items():
        statuses = dict(assignment.statuses.get(name, {}))
        if statuses != module.deployments:
            store.save_identity(replace(module, deployments=statuses))
