"""Doctor: all that must be there for a model's road, looked at, each thing with what mends it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TypeVar

from edgeferry.domain.diagnosis import Diagnosis, diagnose, is_healthy
from edgeferry.domain.fields import members
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.machine import Needs, judge_engine, judge_machine, judge_reach
from edgeferry.domain.model import ModelVersion
from edgeferry.domain.readiness import (
    DeviceSeen,
    judge_aim,
    judge_clock,
    judge_fleet,
    judge_gate,
    judge_quota,
)
from edgeferry.domain.rollout_policy import parse_policy
from edgeferry.domain.wave import parse_waves
from edgeferry.errors import EdgeferryError, HubError
from edgeferry.ports import Json, Machine, Services
from edgeferry.workflows.aim import advise_aim, list_aimed
from edgeferry.workflows.validate import validate

T = TypeVar("T")

_NO_IMAGE = "edgeferry-doctor"
"""Under which name nothing is ever pushed."""
_LEDGER_FIX = (
    "edgeferry audit verify shows all; restore the branch from a clone that has it; or, if it is right as it "
    "is, edgeferry audit accept --yes"
)


class Area(StrEnum):
    """What can be looked at alone."""

    MACHINE = "machine"
    PROJECT = "project"
    SERVERS = "servers"
    FLEET = "fleet"


@dataclass(frozen=True)
class Setup:
    """What the settings say of the things that are looked at."""

    needs: Needs
    fleet: Callable[[], Fleet]
    gate: Callable[[], GatePolicy]
    rollout: Mapping[str, str]
    """The settings of rollouts."""
    version: str
    """This client's."""
    architecture: str
    """Of images."""
    trusted_folder: str = ""
    """Of the public keys that count."""
    trusts_new: bool = False
    """Whether a key counts there as soon as it is made."""
    unset: Mapping[str, str] = field(default_factory=dict)
    """Address of a server that nobody set -> what would set it."""
    here: Collection[str] = ()
    """The devices that `edgeferry up` runs on this machine."""


def examine(
    services: Services, machine: Machine, setup: Setup, areas: Collection[Area] = tuple(Area)
) -> Iterator[Diagnosis]:
    """What is found in these areas, one thing after the other, as it is looked at. What cannot be seen while
    something else is broken is not blamed too."""
    if Area.MACHINE in areas:
        yield from _examine_machine(machine, setup)
    if Area.PROJECT in areas:
        yield from _examine_project(services, setup)
    hub = list(_examine_hub(services, machine, setup)) if {Area.SERVERS, Area.FLEET} & set(areas) else []
    if Area.SERVERS in areas:
        yield from hub
        yield from _examine_servers(services, setup, with_hub=is_healthy(hub))
    if Area.FLEET in areas:
        if is_healthy(hub):
            yield from _examine_fleet(services, setup)
        elif Area.SERVERS not in areas:
            yield from hub


def _examine_machine(machine: Machine, setup: Setup) -> Iterator[Diagnosis]:
    facts = machine.look()
    yield from judge_machine(facts, setup.needs)
    for each in _tried("engine", machine.ask_engine, judge_engine):
        may_wait = each.grade == "blocker" and facts.may_start_engine and each.check == "engine"
        yield Diagnosis("engine", "note", "none runs; edgeferry up starts one") if may_wait else each
    if setup.needs.programs:
        yield from _tried("images.mirror", machine.ask_mirror, lambda said: [_fine("images.mirror", said)])


def _examine_project(services: Services, setup: Setup) -> Iterator[Diagnosis]:
    yield from _tried(
        "rollout",
        lambda: parse_waves(parse_policy(setup.rollout).waves),
        lambda waves: [_fine("rollout", f"waves: {len(waves)}")],
    )
    yield from _tried(
        "gate",
        setup.gate,
        lambda policy: judge_gate(
            policy, sorted(services.ledger.trusted()), setup.trusted_folder, grows=setup.trusts_new
        ),
    )
    names = services.project.model_names()
    if not names:
        yield Diagnosis("models", "warning", "the project has no model", "edgeferry init --model NAME")
        return
    validation = validate(services)
    for finding in validation.findings:
        if finding.severity == "error":
            where = f"{finding.file}:{finding.line}"
            yield Diagnosis("models", "blocker", f"{where}: {finding.problem}", finding.fix)
    if warnings := validation.count("warning"):
        yield Diagnosis("models", "note", f"{warnings} warnings: edgeferry validate shows them")
    if validation.ok:
        yield _fine("models", ", ".join(validation.models))


def _examine_servers(services: Services, setup: Setup, *, with_hub: bool) -> Iterator[Diagnosis]:
    for name in ("registry.host", "ledger.url"):
        if name in setup.unset:
            yield Diagnosis(name, "blocker", f"{name} is not set", setup.unset[name])
    if "registry.host" not in setup.unset:
        yield from _tried(
            "registry", lambda: services.registry.check_push(_NO_IMAGE), lambda _: _registry(services)
        )
    if "ledger.url" not in setup.unset and with_hub:  # which holds the ledger's anchor
        yield from _tried("ledger", lambda: _check_ledger(services), lambda found: found)
    if name := next(iter(services.project.model_names()), ""):
        yield from _tried(
            "tracking", lambda: services.tracking.find_version(name), lambda found: [_version(name, found)]
        )


def _registry(services: Services) -> list[Diagnosis]:
    return [_fine("registry", f"{services.registry.host} takes pushes")]


def _version(model: str, found: ModelVersion | None) -> Diagnosis:
    return _fine("tracking", f"{model}: {f'version {found.version}' if found else 'no version yet'}")


def _examine_hub(services: Services, machine: Machine, setup: Setup) -> Iterator[Diagnosis]:
    if "hub.host" in setup.unset:
        yield Diagnosis("hub.host", "blocker", "hub.host is not set", setup.unset["hub.host"])
        return
    try:
        quota = judge_quota(len(services.hub.configurations()))
    except HubError as error:
        clock = judge_clock(services.hub.skew_s)  # an answer that refuses tells the time, too
        yield clock if clock.grade == "blocker" else diagnose("hub", error)
        return
    except EdgeferryError as error:
        yield diagnose("hub", error)
        return
    yield judge_clock(services.hub.skew_s)
    yield quota
    yield _fine("hub", services.hub.host)
    yield from _tried("hub.from-container", machine.reach_hub, judge_reach)


def _check_ledger(services: Services) -> list[Diagnosis]:
    check = services.ledger.verify()
    if check.breaches:
        return [
            Diagnosis("ledger", "blocker", f"{breach.where}: {breach.reason}", _LEDGER_FIX)
            for breach in check.breaches
        ]
    services.ledger.check_push()
    return [_fine("ledger", f"{check.count} entries, whole")]


def _examine_fleet(services: Services, setup: Setup) -> Iterator[Diagnosis]:
    try:
        yield from _look_at_fleet(services, setup)
    except EdgeferryError as error:
        yield diagnose("fleet", error)
        return
    for name in services.project.model_names():
        yield from _tried(f"model.{name}", partial(_aim, services, setup, name), lambda one: [one])


def _look_at_fleet(services: Services, setup: Setup) -> list[Diagnosis]:
    fleet = setup.fleet()
    condition = fleet.all_devices
    agents: dict[str, Json] = {}
    for page in services.hub.query("SELECT * FROM devices.modules WHERE moduleId = '$edgeAgent'"):
        agents |= {str(twin["deviceId"]): twin for twin in page}
    seen = [_seen(device, agents) for device in list_aimed(services, condition)]
    fix = "" if seen else advise_aim(services, fleet, condition)
    return list(judge_fleet(seen, condition, setup.version, setup.architecture, setup.here, fix))


def _seen(device: str, agents: Mapping[str, Json]) -> DeviceSeen:
    agent = agents.get(device)
    reported = members(members(members(agent).get("properties")).get("reported"))
    runtime = str(members(reported.get("version")).get("version", ""))
    platform = members(members(reported.get("runtime")).get("platform"))
    connected = members(agent).get("connectionState") == "Connected"
    return DeviceSeen(device, connected, runtime, str(platform.get("architecture", "")))


def _aim(services: Services, setup: Setup, name: str) -> Diagnosis:
    fleet = setup.fleet()
    condition = fleet.narrow(services.project.load_model(name).target_condition)
    count = len(list_aimed(services, condition))
    return judge_aim(name, condition, count, "" if count else advise_aim(services, fleet, condition))


def _tried(
    check: str, call: Callable[[], T], judge: Callable[[T], Iterable[Diagnosis]]
) -> Iterator[Diagnosis]:
    """What comes of the call, or its error."""
    try:
        found = call()
    except EdgeferryError as error:
        yield diagnose(check, error)
    else:
        yield from judge(found)


def _fine(check: str, seen: str) -> Diagnosis:
    return Diagnosis(check, "fine", seen)
