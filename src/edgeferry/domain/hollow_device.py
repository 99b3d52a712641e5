"""A hollow device as it is, and what is to be seen of it at a time. Pure. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow_faults import ABOUT_AGENTS, ABOUT_COMPANIONS, ABOUT_MODULES, Fault
from edgeferry.domain.hollow_traffic import Served
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import NONCE_VARIABLE, CaseSet, SmokeRequest, Verdict

CRASH_EVERY_S = 2.0
"""How often a dead module ends."""
FLAP_EVERY_S = 5.0
"""How often a flapping one does; it is down for the last second of each turn."""
CasesOf = Callable[[SmokeRequest], CaseSet | None]
"""The smoke cases of a request; None where they are not at hand."""


@dataclass(frozen=True)
class Pace:
    """How long things take."""

    pull_s: float = 2.0
    """An image's pull, give or take a half."""
    ask_s: float = 0.5
    """From a model that answers to the companion's verdict."""
    patience_s: float = 60.0
    """How long the companion waits for a model before it says Inconclusive."""
    requests_per_s: float = 1.0
    report_s: float = 60.0
    """How often the companion reports what was served."""
    trial: TrialRules = field(default_factory=TrialRules)


@dataclass(frozen=True)
class Running:
    """A module that runs, or should."""

    spec: ModuleSpec
    started_at: float


@dataclass(frozen=True)
class Hollow:
    """A device as it is; `Hollow(name, seed, born_at)` is a new one."""

    device: str
    seed: int
    born_at: float
    """The beginning of the simulation, from which the faults' seconds count."""
    faults: tuple[Fault, ...] = ()
    pace: Pace = field(default_factory=Pace)
    wanted: DeviceManifest | None = None
    wanted_version: int = 0
    wanted_at: float = 0.0
    done_version: int = 0
    images: Mapping[str, float] = field(default_factory=dict)
    """When each image's pull has ended, by reference."""
    running: Mapping[str, Running] = field(default_factory=dict)
    agent: Running | None = None
    """The agent itself, in the image that it runs in."""
    good: Mapping[str, ModuleSpec] = field(default_factory=dict)
    trials: Mapping[str, float] = field(default_factory=dict)
    """When each trial began, by the hash of its unit."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why a unit failed, by its hash."""
    requests: Mapping[str, tuple[SmokeRequest, float]] = field(default_factory=dict)
    """What the companion is asked, and since when."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    served: Mapping[str, Served] = field(default_factory=dict)
    """What each model has answered, of the image that runs now."""


def is_on(hollow: Hollow, kind: str, now_s: float) -> bool:
    """Whether the device has a fault of that kind now."""
    return any(fault.kind == kind and fault.is_on(now_s - hollow.born_at) for fault in hollow.faults)


def is_up(hollow: Hollow, module: str, now_s: float) -> bool:
    """Whether the module answers."""
    runs = hollow.running.get(module)
    if runs is None or now_s < ready_at(hollow, runs, now_s):
        return False
    return status_of(hollow, runs, now_s)[0] == "running"


def status_of(hollow: Hollow, runs: Running, now_s: float) -> tuple[str, str, int]:
    """(the agent's word, why, how often it was started again)."""
    period = crash_period(hollow, runs.spec, now_s)
    if not period or now_s < runs.started_at:
        return "running", "", 0
    turns, within_s = divmod(now_s - runs.started_at, period)
    flaps = period == FLAP_EVERY_S
    is_down = not flaps or within_s >= period - 1
    ended = int(turns) + (1 if flaps and is_down else 0)
    if is_down:
        return "backoff", f"ended with exit code 1, {max(ended, 1)} times", ended
    return "running", "", ended


def crash_period(hollow: Hollow, spec: ModuleSpec, now_s: float) -> float:
    """Seconds from one end of the module by itself to the next; 0 when it does not end."""
    if find_fault(hollow, "dead", spec, now_s):
        return CRASH_EVERY_S
    return FLAP_EVERY_S if find_fault(hollow, "flapping", spec, now_s) else 0.0


def ready_at(hollow: Hollow, runs: Running, now_s: float) -> float:
    """When (Unix seconds) the module answers."""
    slow = find_fault(hollow, "slow_start", runs.spec, now_s)
    return runs.started_at + (slow.seconds if slow else 0.0)


def nonce_of(hollow: Hollow) -> str:
    """Of the rollout that brought the companion which runs; "" where it was told none."""
    runs = hollow.running.get(COMPANION)
    return runs.spec.env.get(NONCE_VARIABLE, "") if runs else ""


def find_fault(hollow: Hollow, kind: str, spec: ModuleSpec, now_s: float) -> Fault | None:
    """The fault of that kind which the module has now."""
    for fault in hollow.faults:
        if fault.kind == kind and is_about(hollow, fault, spec, now_s):
            return fault
    return None


def is_about(hollow: Hollow, fault: Fault, spec: ModuleSpec, now_s: float) -> bool:
    """Whether the fault is on now and is one of this module."""
    is_now = fault.is_on(now_s - hollow.born_at)
    if fault.kind in ABOUT_COMPANIONS and fault.digest:
        companion = hollow.running.get(COMPANION)
        return (
            is_now
            and companion is not None
            and replace(fault, module=COMPANION).hits(COMPANION, companion.spec.image)
        )
    if fault.kind in ABOUT_AGENTS:
        return is_now and hollow.agent is not None and fault.hits("edgeAgent", hollow.agent.spec.image)
    return is_now and (fault.kind not in ABOUT_MODULES or fault.hits(spec.name, spec.image))


def text_of(at_s: float) -> str:
    """The moment (Unix seconds) as ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
