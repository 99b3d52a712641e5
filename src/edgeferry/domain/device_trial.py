"""Whether a changed layer is proven on this device, has failed, or is still on trial. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeferry.domain.device_plan import ended_badly
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.manifest import ModuleSpec


@dataclass(frozen=True)
class Sight:
    """How a module of the layer looks now; `status` and `health` are the engine's words."""

    spec: ModuleSpec
    status: str = ""
    """Empty when it has no container."""
    exit_code: int = 0
    health: str = ""
    health_said: str = ""
    """The last words of its health check."""
    crashes: int = 0
    """How often it ended by itself within the trial."""
    refused: str = ""
    """Why the engine could not make or start it, when it tried in vain."""
    smoke: str = ""
    """Why the companion's verdict on it is Failed; empty when it is not."""


@dataclass(frozen=True)
class Judgement:
    """Whether what was applied is still on trial, proven or failed; `reason`: why it failed."""

    outcome: Literal["Trial", "Proven", "Failed"]
    reason: str = ""


ON_TRIAL = Judgement("Trial")


def judge(sights: Sequence[Sight], elapsed_s: float, rules: TrialRules) -> Judgement:
    """The judgement on a layer whose modules look so, `elapsed_s` after it was applied."""
    for sight in sights:
        reason = _find_failure(sight, rules)
        if reason:
            return Judgement("Failed", f"module {sight.spec.name} {reason}")
    if elapsed_s < rules.window_s:
        return ON_TRIAL
    for sight in sights:
        reason = _find_lack(sight)
        if reason:
            return Judgement("Failed", f"module {sight.spec.name} {reason} after {rules.window_s:g} s")
    return Judgement("Proven")


def _find_failure(sight: Sight, rules: TrialRules) -> str:
    if sight.refused:
        return f"does not start: {sight.refused}"
    if sight.smoke:
        return f"failed its smoke test: {sight.smoke}"
    if sight.spec.status != "running":
        return ""
    if sight.crashes >= rules.crashes:
        return f"ended by itself {sight.crashes} times, at last with exit code {sight.exit_code}"
    if sight.health == "unhealthy" and sight.status == "running":
        return f"is unhealthy: {sight.health_said}" if sight.health_said else "is unhealthy"
    if sight.status == "exited" and sight.spec.restart_policy == "never" and sight.exit_code != 0:
        return f"ended with exit code {sight.exit_code} and is not to be restarted"
    return ""


def _find_lack(sight: Sight) -> str:
    """Why the module is not well at the end of the window; empty when it is."""
    if sight.spec.status != "running":
        return ""
    if sight.status == "exited" and not ended_badly(sight.spec, sight.status, sight.exit_code):
        return ""
    if sight.status != "running":
        return f"is {sight.status or 'not there'}"
    if sight.health not in ("", "healthy"):
        return f"is {sight.health}"
    return ""
