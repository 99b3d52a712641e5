"""Rollout plans as they stand in the ledger, and the hash that an approval is bound to.

The hash is of the canonical JSON, so a plan that is read back has the hash it was approved by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from edgeferry.domain.plan_conflicts import Conflict, Kind, Quota
from edgeferry.domain.plan_groups import DeviceChange, PathChange
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.wave import Wave
from edgeferry.wire.canonical import render_canonical

Json = dict[str, Any]

_TEXTS = ("release", "release_signature", "environment", "condition", "layer", "content_sha256")
_DEVICES = ("gained", "lost", "unchanged")


def render_plan(plan: RolloutPlan) -> Json:
    """The plan as JSON."""
    return {
        **{name: getattr(plan, name) for name in _TEXTS},
        **{name: list(getattr(plan, name)) for name in _DEVICES},
        "waves": [
            {
                "wave": wave.number,
                "rule": wave.rule,
                "condition": wave.condition,
                "devices": list(wave.members),
                "thresholds": dict(wave.thresholds),
            }
            for wave in plan.waves
        ],
        "strata": _render_by_value(plan.strata),
        "groups": _render_by_value(plan.groups),
        "changes": [
            {
                "devices": list(change.devices),
                "base": change.base,
                "replaces": change.replaces,
                "paths": [[path.module, path.path, path.before, path.after] for path in change.paths],
                "pull_bytes": change.pull_bytes,
                "unknown_images": list(change.unknown_images),
            }
            for change in plan.changes
        ],
        "conflicts": [
            {
                **asdict(conflict),
                "kind": str(conflict.kind),
                "examples": list(conflict.examples),
                "deployments": list(conflict.deployments),
            }
            for conflict in plan.conflicts
        ],
        "quotas": [asdict(quota) for quota in plan.quotas],
        "wave_seconds": list(plan.wave_seconds),
        "policy": dict(plan.policy),
    }


def parse_plan(body: Mapping[str, Any]) -> RolloutPlan:
    """The plan in a ledger entry's body; ValueError when it is none."""
    try:
        return RolloutPlan(
            release=_text(body["release"]),
            release_signature=_text(body["release_signature"]),
            environment=_text(body["environment"]),
            condition=_text(body["condition"]),
            layer=_text(body["layer"]),
            content_sha256=_text(body["content_sha256"]),
            gained=_texts(body["gained"]),
            lost=_texts(body["lost"]),
            unchanged=_texts(body["unchanged"]),
            waves=tuple(
                Wave(
                    number=int(wave["wave"]),
                    rule=_text(wave["rule"]),
                    condition=_text(wave["condition"]),
                    members=_texts(wave["devices"]),
                    thresholds={name: int(bucket) for name, bucket in wave["thresholds"].items()},
                )
                for wave in body["waves"]
            ),
            strata=_parse_by_value(body["strata"]),
            groups=_parse_by_value(body["groups"]),
            changes=tuple(
                DeviceChange(
                    devices=_texts(change["devices"]),
                    base=_text(change["base"]),
                    replaces=_text(change["replaces"]),
                    paths=tuple(PathChange(*_texts(path)) for path in change["paths"]),
                    pull_bytes=int(change["pull_bytes"]),
                    unknown_images=_texts(change["unknown_images"]),
                )
                for change in body["changes"]
            ),
            conflicts=tuple(
                Conflict(
                    **{
                        **conflict,
                        "kind": Kind(conflict["kind"]),
                        "examples": _texts(conflict["examples"]),
                        "deployments": _texts(conflict["deployments"]),
                    }
                )
                for conflict in body["conflicts"]
            ),
            quotas=tuple(Quota(**quota) for quota in body["quotas"]),
            wave_seconds=tuple(float(seconds) for seconds in body["wave_seconds"]),
            policy={name: _text(text) for name, text in body["policy"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is no rollout plan: {error!r}") from error


def plan_hash(plan: RolloutPlan) -> str:
    """`sha256:` and 64 hex digits: equal for equal plans."""
    return hash_body(render_plan(plan))


def hash_body(body: Mapping[str, Any]) -> str:
    """The same of a plan as JSON."""
    return f"sha256:{hashlib.sha256(render_canonical(body)).hexdigest()}"


def _render_by_value(values: Mapping[str, str]) -> dict[str, list[str]]:
    """By value its devices: there are far fewer values than devices."""
    found: dict[str, list[str]] = {}
    for device, value in sorted(values.items()):
        found.setdefault(value, []).append(device)
    return found


def _parse_by_value(said: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {_text(device): value for value, devices in said.items() for device in devices}


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise TypeError(f"{said!r} is no text")
    return said


def _texts(said: object) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise TypeError(f"{said!r} is no list")
    return tuple(map(_text, said))
