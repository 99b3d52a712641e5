"""The agent's memory on disk: its state, and the events of its journal. Format: ours, version 1.

A module is kept as `$edgeAgent` spells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgeferry.domain.device_state import (
    Applied,
    Apply,
    Crashed,
    DeviceState,
    Doing,
    Event,
    Failed,
    Found,
    Left,
    Proved,
    Quarantined,
    Retried,
    Trial,
)
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.wire.edge import module_hash, parse_module, render_module

Json = dict[str, Any]

_PLAIN = {kind.__name__: kind for kind in (Crashed, Failed, Left, Retried, Doing)}


def unit_hash(specs: Mapping[str, ModuleSpec]) -> str:
    """The sha256 (hex) of these modules' specs, whatever layer brought them."""
    return module_hash({name: render_module(spec) for name, spec in specs.items()})


def render_event(event: Event) -> Json:
    """The journal's entry."""
    kind = type(event).__name__
    match event:
        case Applied() | Proved() | Found():
            members = {key: value for key, value in vars(event).items() if key != "modules"}
            return {"event": kind, **_plain(members), "modules": _render_specs(event.modules)}
        case _:
            return {"event": kind, **_plain(vars(event))}


def parse_event(said: Mapping[str, Any]) -> Event:
    """The event of an entry; ValueError, KeyError or TypeError when it is none."""
    members = {key: value for key, value in said.items() if key != "event"}
    kind = said["event"]
    if kind in _PLAIN:
        return _PLAIN[kind](**members)
    modules = _parse_specs(members.pop("modules"))
    match kind:
        case "Applied":
            return Applied(
                hash=members["hash"],
                layers=tuple(members["layers"]),
                version=members["version"],
                modules=modules,
                gone=tuple(members["gone"]),
                at=members["at"],
                stale=tuple(members["stale"]),
            )
        case "Proved":
            return Proved(members["hash"], modules, tuple(members["gone"]), members["at"])
        case "Found":
            return Found(modules)
        case _:
            raise ValueError(f"event {kind!r} is unknown")


def render_state(state: DeviceState) -> Json:
    """The whole state."""
    return {
        "good": _render_specs(state.good),
        "trials": {key: _plain(asdict(trial)) for key, trial in state.trials.items()},
        "quarantine": {key: _plain(asdict(entry)) for key, entry in state.quarantine.items()},
        "applies": [render_apply(entry) for entry in state.applies],
    }


def parse_state(said: Mapping[str, Any]) -> DeviceState:
    """The state; ValueError, KeyError or TypeError when it is none."""
    return DeviceState(
        good=_parse_specs(said["good"]),
        trials={key: _parse_trial(value) for key, value in said["trials"].items()},
        quarantine={
            key: Quarantined(tuple(one["layers"]), one["reason"], one["at"], one["version"])
            for key, one in said["quarantine"].items()
        },
        applies=tuple(
            Apply(**{**one, "layers": tuple(one["layers"]), "gone": tuple(one["gone"])})
            for one in said["applies"]
        ),
    )


def render_apply(entry: Apply) -> Json:
    """One entry of the history, as `GetApplyHistory` answers it."""
    return _plain(asdict(entry))


def _parse_trial(said: Mapping[str, Any]) -> Trial:
    return Trial(
        layers=tuple(said["layers"]),
        version=said["version"],
        modules=tuple(said["modules"]),
        since=said["since"],
        crashes={name: tuple(times) for name, times in said["crashes"].items()},
        stale=tuple(said["stale"]),
        failed=said["failed"],
    )


def _render_specs(specs: Mapping[str, ModuleSpec]) -> Json:
    return {name: render_module(spec, with_layer=True) for name, spec in specs.items()}


def _parse_specs(said: Mapping[str, Any]) -> dict[str, ModuleSpec]:
    return {name: parse_module(name, one) for name, one in said.items()}


def _plain(members: Mapping[str, Any]) -> Json:
    """Tuples as JSON has them."""
    return {
        key: list(value)
        if isinstance(value, tuple)
        else (_plain(value) if isinstance(value, Mapping) else value)
        for key, value in members.items()
    }
