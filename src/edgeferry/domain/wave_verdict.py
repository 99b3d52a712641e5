"""The verdict on one wave: pass, fail, or inconclusive, which holds and never promotes. Pure.

A wave is judged by all devices that the release has reached by then, per stratum: what they have proven
(`domain/rollout.py`), and, while it soaks, what they answered (`domain/rollout_evidence.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_evidence import Comparison, EvidenceVerdict, Judgement, judge_comparisons
from edgeferry.domain.rollout_policy import RolloutPolicy

_SHOWN = 5
"""Devices in a reason."""


@dataclass(frozen=True)
class StratumVerdict:
    """What was measured in one stratum, or in all."""

    state: Judgement
    reason: str
    devices: int = 0
    succeeded: int = 0
    failed: int = 0
    requests: int = 0
    """Of the exposed devices' users; 0 where nothing was compared."""


@dataclass(frozen=True)
class WaveVerdict:
    """What was measured on all devices that the release had reached by a wave."""

    wave: int
    state: Judgement
    reason: str
    strata: Mapping[str, StratumVerdict] = field(default_factory=dict)
    at_s: float = 0.0
    devices: Mapping[str, tuple[State, str]] = field(default_factory=dict)
    """Those that have not proven the release: state and reason."""
    proven: Mapping[str, str] = field(default_factory=dict)
    """Those that have, with their generations: what tells each from one that had its name before. Only of a
    wave that has passed, and is followed by another; without those that an earlier one named."""


def judge_wave(
    wave: int, outcomes: Mapping[str, Outcome], strata: Mapping[str, str], policy: RolloutPolicy, at_s: float
) -> WaveVerdict:
    """The verdict by what the devices have proven: `fail` as soon as more have failed in a stratum than may,
    `pass` when enough have succeeded in each, else `inconclusive`, as of nobody. `strata`: device to
    stratum; a device that joined since the plan is of none."""
    sorted_out: dict[str, list[Outcome]] = {}
    for outcome in outcomes.values():
        sorted_out.setdefault(strata.get(outcome.device, ""), []).append(outcome)
    verdicts = {name: _judge_stratum(name, sorted_out[name], policy) for name in sorted(sorted_out)}
    lacking = _lacking(list(outcomes.values()))
    state, reason = _gather(list(verdicts.values())) if verdicts else ("inconclusive", "nobody targeted")
    if state == "pass":
        reason = say_measured(len(outcomes) - len(lacking), len(outcomes))
    return WaveVerdict(wave, state, reason, verdicts, at_s, lacking)


def add_evidence(
    verdict: WaveVerdict, comparisons: Mapping[str, Comparison], policy: RolloutPolicy
) -> WaveVerdict:
    """The verdict that takes into account what the devices answered, too."""
    found, whole = judge_comparisons(comparisons, policy.guard, policy.errors)
    strata = dict(verdict.strata)
    for name, each in strata.items():
        if name in found:
            strata[name] = _join(name, each, found[name])
        else:
            unknown = EvidenceVerdict("inconclusive", "no device has told what it answered")
            strata[name] = _join(name, each, unknown)
    state, reason = _gather([*strata.values(), StratumVerdict(whole.state, whole.reason)])
    if state == "pass":
        reason = f"{verdict.reason}; {whole.reason}"
    return replace(verdict, state=state, reason=reason, strata=strata)


def say_measured(succeeded: int, whole: int) -> str:
    """On how many devices a release was measured."""
    devices = f"device{'s' if whole != 1 else ''}"
    return (
        f"measured on {whole} {devices}"
        if succeeded == whole
        else (f"measured on {succeeded} of {whole} {devices}")
    )


def _judge_stratum(name: str, outcomes: Sequence[Outcome], policy: RolloutPolicy) -> StratumVerdict:
    states = Counter(outcome.state for outcome in outcomes)
    whole, succeeded, failed = len(outcomes), states[State.SUCCEEDED], states[State.FAILED]
    where = f"{name}: " if name else ""
    may_fail, needed = policy.errors.allowed(whole), policy.success.needed(whole)
    state: Judgement
    if failed > may_fail:
        state, reason = (
            "fail",
            f"{failed} of {whole} failed, {may_fail} may: {name_lacking(_lacking(outcomes, failed=True))}",
        )
    elif succeeded < needed:
        state = "inconclusive"
        reason = f"{succeeded} of {whole} succeeded, {needed} must: {name_lacking(_lacking(outcomes))}"
    else:
        state, reason = "pass", say_measured(succeeded, whole)
    return StratumVerdict(state, where + reason, whole, succeeded, failed)


def name_lacking(devices: Mapping[str, tuple[State, str]]) -> str:
    """Some of these devices, and why each has not succeeded."""
    return name_some([f"{device}: {reason}" for device, (_, reason) in devices.items()])


def name_some(devices: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(devices) - _SHOWN} more" if len(devices) > _SHOWN else ""
    return "; ".join(devices[:_SHOWN]) + more


def _lacking(outcomes: Sequence[Outcome], *, failed: bool = False) -> dict[str, tuple[State, str]]:
    return {
        each.device: (each.state, each.reason)
        for each in outcomes
        if (each.state is State.FAILED if failed else each.state is not State.SUCCEEDED)
    }


def _join(name: str, proven: StratumVerdict, answered: EvidenceVerdict) -> StratumVerdict:
    where = f"{name}: " if name else ""
    state, reason = _gather([proven, StratumVerdict(answered.state, where + answered.reason)])
    return replace(proven, state=state, reason=reason, requests=answered.requests)


def _gather(verdicts: Sequence[StratumVerdict]) -> tuple[Judgement, str]:
    """The worst of the verdicts, and the reasons of those that are as bad."""
    state: Judgement
    for state in ("fail", "inconclusive", "pass"):
        reasons = [each.reason for each in verdicts if each.state == state]
        if reasons:
            return state, "; ".join(dict.fromkeys(reasons))
    raise AssertionError("there is a verdict")
