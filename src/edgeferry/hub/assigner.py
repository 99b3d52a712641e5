"""Gives a device what the deployments make of it: desired properties, statuses, module identities.

Runs within the transaction of whatever changed, at once: there is no evaluation cycle to wait for. A pass
that changes nothing writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.layering import (
    AGENT,
    HUB,
    Assignment,
    Deployment,
    find_assignment_fault,
    merge_layers,
)
from edgeferry.domain.twin import Json, diff_for_client, new_twin, settle_desired
from edgeferry.hub.store import Store
from edgeferry.wire.hub import Identity, Presence, render_twin

MANAGED = "IotEdge"


@dataclass(frozen=True)
class DesiredChanged:
    """A module's or device's desired properties are new; `patch` turns the old ones into them."""

    device: str
    module: str | None
    patch: Json
    version: int


@dataclass(frozen=True)
class IdentityGone:
    """The identity must not stay connected: it was deleted, disabled or got other keys."""

    device: str
    module: str | None


@dataclass(frozen=True)
class AssignmentRefused:
    """Deployments together ask for what a device cannot have; it keeps what it had."""

    device: str
    reason: str


Event = DesiredChanged | IdentityGone | AssignmentRefused


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


def assign(
    store: Store, device: Identity, deployments: Sequence[Deployment], now: str, new_key: Callable[[], str]
) -> Sequence[Event]:
    """What happened: writes the device's assignment to its modules. Does nothing to a device that is not
    an edge device."""
    if not device.is_edge:
        return []
    assignment = merge_layers(deployments, render_twin(device, Presence()))
    modules = {module.module or "": module for module in store.modules(device.device)}
    fault = find_assignment_fault(assignment)
    if fault:
        _save_statuses(store, modules, _all_targeted(assignment))
        return [AssignmentRefused(device.device, fault)]
    if assignment.base is None:
        _save_statuses(store, modules, assignment)
        return []
    events: list[Event] = []
    wanted = assignment.module_names() | {AGENT, HUB}
    for name in sorted(wanted - modules.keys()):
        modules[name] = replace(new_identity(device.device, name, now, new_key), managed_by=MANAGED)
        store.save_identity(modules[name])
    for name in sorted(modules.keys() - wanted):
        if modules[name].managed_by.lower() == MANAGED.lower():
            store.delete_identity(device.device, name)
            events.append(IdentityGone(device.device, name))
            del modules[name]
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


def _save_statuses(store: Store, modules: dict[str, Identity], assignment: Assignment) -> None:
    for name, module in modules.items():
        statuses = dict(assignment.statuses.get(name, {}))
        if statuses != module.deployments:
            store.save_identity(replace(module, deployments=statuses))
