"""What a device's agent remembers: what was proven, what is on trial, what failed, and what it did.

The state is a fold over events, each written down before what it announces is done. So a crash between any
two steps leaves a state that says what was under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgeferry.domain.manifest import ModuleSpec

MOST_APPLIES = 200
MOST_QUARANTINED = 200


@dataclass(frozen=True)
class Applied:
    """A unit begins to be what is desired."""

    hash: str
    layers: tuple[str, ...]
    version: int
    modules: Mapping[str, ModuleSpec]
    gone: tuple[str, ...]
    """Modules of the unit that are no longer desired."""
    at: str
    stale: tuple[str, ...] = ()
    """Verdicts of the companion that were there before, by their marks: they judge something else."""


@dataclass(frozen=True)
class Crashed:
    """A module on trial ended by itself."""

    hash: str
    module: str
    ended_at: str
    """The engine's time of it, by which the same end is known again."""


@dataclass(frozen=True)
class Proved:
    """A unit is the last known good one."""

    hash: str
    modules: Mapping[str, ModuleSpec]
    gone: tuple[str, ...]
    at: str


@dataclass(frozen=True)
class Failed:
    """A unit on trial failed. It goes back to what was proven, where there is such."""

    hash: str
    reason: str
    at: str
    goes_back: bool


@dataclass(frozen=True)
class Left:
    """A unit on trial is no longer desired."""

    hash: str
    at: str


@dataclass(frozen=True)
class Retried:
    """Someone asked to try a failed layer again."""

    layer: str


@dataclass(frozen=True)
class Found:
    """Modules that run although nothing was proven of them: they count as good."""

    modules: Mapping[str, ModuleSpec]


@dataclass(frozen=True)
class Doing:
    """One action begins."""

    verb: str
    module: str
    reason: str


Event = Applied | Crashed | Proved | Failed | Left | Retried | Found | Doing


@dataclass(frozen=True)
class Trial:
    """A unit that was changed and is not proven yet."""

    layers: tuple[str, ...]
    version: int
    modules: tuple[str, ...]
    since: str
    crashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Times at which each module ended by itself."""
    stale: tuple[str, ...] = ()
    failed: str = ""
    """Why it failed, when there is nothing to go back to."""


@dataclass(frozen=True)
class Quarantined:
    """A unit that failed, and is not tried again until it is desired differently."""

    layers: tuple[str, ...]
    reason: str
    at: str
    version: int


@dataclass(frozen=True)
class Apply:
    """One entry of the history."""

    at: str
    version: int
    layers: tuple[str, ...]
    hash: str
    images: Mapping[str, str]
    """Module to image reference, with its digest where it has one."""
    gone: tuple[str, ...]
    outcome: str = "Trial"
    """Trial, Proven, RolledBack, Failed or Superseded."""
    reason: str = ""
    ended_at: str = ""


@dataclass(frozen=True)
class DeviceState:
    """All that is remembered."""

    good: Mapping[str, ModuleSpec] = field(default_factory=dict)
    trials: Mapping[str, Trial] = field(default_factory=dict)
    quarantine: Mapping[str, Quarantined] = field(default_factory=dict)
    applies: tuple[Apply, ...] = ()
    """The oldest first."""


def advance(state: DeviceState, event: Event) -> DeviceState:
    """The state after the event. One that speaks of a trial that is not under way changes nothing."""
    match event:
        case Applied():
            return _apply(state, event)
        case Crashed(hash, module, ended_at):
            return _crash(state, hash, module, ended_at)
        case Proved():
            return _prove(state, event)
        case Failed():
            return _fail(state, event)
        case Left(hash, at):
            return _end(state, hash, "Superseded", "no longer desired", at)
        case Retried(layer):
            kept = {key: one for key, one in state.quarantine.items() if layer not in one.layers}
            return replace(state, quarantine=kept)
        case Found(modules):
            return replace(state, good={**modules, **state.good})
        case Doing():
            return state


def _apply(state: DeviceState, event: Applied) -> DeviceState:
    if event.hash in state.trials:
        return state
    touched = {*event.modules, *event.gone}
    for key, trial in state.trials.items():
        if touched.intersection(trial.modules):
            state = _end(state, key, "Superseded", f"version {event.version} came", event.at)
    trial = Trial(event.layers, event.version, tuple(sorted(touched)), event.at, stale=event.stale)
    images = {name: spec.image for name, spec in event.modules.items()}
    entry = Apply(event.at, event.version, event.layers, event.hash, images, event.gone)
    return replace(
        state,
        trials={**state.trials, event.hash: trial},
        applies=(*state.applies, entry)[-MOST_APPLIES:],
    )


def _crash(state: DeviceState, hash: str, module: str, ended_at: str) -> DeviceState:
    trial = state.trials.get(hash)
    if trial is None or ended_at in trial.crashes.get(module, ()):
        return state
    crashes = {**trial.crashes, module: (*trial.crashes.get(module, ()), ended_at)}
    return replace(state, trials={**state.trials, hash: replace(trial, crashes=crashes)})


def _prove(state: DeviceState, event: Proved) -> DeviceState:
    others = {name: spec for name, spec in state.good.items() if name not in event.gone}
    state = replace(state, good={**others, **event.modules})
    return _end(state, event.hash, "Proven", "", event.at)


def _fail(state: DeviceState, event: Failed) -> DeviceState:
    trial = state.trials.get(event.hash)
    if trial is None:
        return state
    if not event.goes_back:
        kept = replace(trial, failed=event.reason)
        state = replace(state, trials={**state.trials, event.hash: kept})
        return _note_outcome(state, event.hash, "Failed", event.reason, "")
    state = _end(state, event.hash, "RolledBack", event.reason, event.at)
    entry = Quarantined(trial.layers, event.reason, event.at, trial.version)
    others = [(key, one) for key, one in state.quarantine.items() if key != event.hash]
    newest = sorted(others, key=lambda item: item[1].version)[-(MOST_QUARANTINED - 1) :]
    return replace(state, quarantine={**dict(newest), event.hash: entry})


def _end(state: DeviceState, hash: str, outcome: str, reason: str, at: str) -> DeviceState:
    if hash not in state.trials:
        return state
    kept = state.trials[hash].failed
    state = _note_outcome(
        state, hash, "Failed" if kept and outcome == "Superseded" else outcome, kept or reason, at
    )
    return replace(state, trials={key: one for key, one in state.trials.items() if key != hash})


def _note_outcome(state: DeviceState, hash: str, outcome: str, reason: str, at: str) -> DeviceState:
    applies = list(state.applies)
    for index in range(len(applies) - 1, -1, -1):
        if applies[index].hash == hash and not applies[index].ended_at:
            applies[index] = replace(applies[index], outcome=outcome, reason=reason, ended_at=at)
            break
    return replace(state, applies=tuple(applies))
