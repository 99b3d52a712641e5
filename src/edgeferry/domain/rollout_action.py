"""What a rollout's controller may have to do: one of these at a time, each with its reason. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_evidence import Baseline, Tallies
from edgeferry.domain.wave_verdict import WaveVerdict


@dataclass(frozen=True)
class StartWave:
    """Write that the wave is started (`rollout_record.render_started`); `Repair` then gives the layer its
    condition."""

    wave: int
    condition: str
    reason: str
    baseline: Mapping[str, Baseline] = field(default_factory=dict)
    """The predecessor by stratum; with the first wave only."""
    control: Mapping[str, Tallies] = field(default_factory=dict)
    """What the devices that keep the predecessor have counted until now, by stratum."""


@dataclass(frozen=True)
class Soak:
    """Write that the wave's devices have proven the release (`rollout_record.render_soaking`): they are
    watched from now on."""

    wave: int
    reason: str


@dataclass(frozen=True)
class JudgeWave:
    """Write down this verdict (`rollout_record.render_judged`)."""

    verdict: WaveVerdict

    @property
    def reason(self) -> str:
        """The verdict's."""
        return self.verdict.reason


@dataclass(frozen=True)
class Hold:
    """Nothing goes on by itself before more is known or a person says so: tell them. Whoever waits for the
    rollout may stop waiting, with this word."""

    state: State
    reason: str


@dataclass(frozen=True)
class Wait:
    """Look again, at `until_s` at the latest."""

    until_s: float
    reason: str


@dataclass(frozen=True)
class AskApproval:
    """Ask a person whether this wave may start."""

    wave: int
    reason: str


@dataclass(frozen=True)
class Repair:
    """Give the layer the condition of the wave that was started, and make it where it is missing: whoever
    wrote that down has not got to it, or somebody else has changed it."""

    condition: str
    reason: str


@dataclass(frozen=True)
class RollBack:
    """Remove the layer from the hub: what is beneath it serves again."""

    reason: str


@dataclass(frozen=True)
class Commit:
    """Remove what is beneath the layer and no longer needed, then write the end with this word and reason."""

    state: State
    reason: str


@dataclass(frozen=True)
class End:
    """Write the end: nothing is left to do."""

    state: State
    reason: str


Action = StartWave | Soak | JudgeWave | Hold | Wait | AskApproval | Repair | RollBack | Commit | End
