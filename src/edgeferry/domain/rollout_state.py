"""Where a rollout stands, by its entries in the ledger, and the one thing to do next. Pure.

`fold` reads the entries, `decide` says what to do; a loop writes that down and does it, and asks again. As
nothing else is remembered, any machine can carry on from any entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_evidence import Baseline, DeviceEvidence
from edgeferry.domain.wave_verdict import WaveVerdict


class Phase(StrEnum):
    """How far a rollout is."""

    STARTING = "starting"
    """No wave has been started."""
    ROLLING = "rolling"
    """The wave's devices have yet to prove the release."""
    SOAKING = "soaking"
    """They have, and are watched."""
    HELD = "held"
    """The wave was judged inconclusive: no other wave starts until it is judged anew, or a person says so."""
    PAUSED = "paused"
    """A person said so."""
    WAITING = "waiting"
    """The wave has passed; the next one waits for its turn, a window, or a person's approval."""
    REVERTING = "reverting"
    """The release is being taken back."""
    ENDED = "ended"


@dataclass(frozen=True)
class Order:
    """A person's word on a running rollout."""

    order: str
    """`pause`, `resume`, `abort`, `revert` or `promote`."""
    reason: str
    author: str
    wave: int
    """The wave that ran when it was given; 0 before the first."""
    at_s: float


@dataclass(frozen=True)
class RolloutState:
    """What the ledger says of one rollout."""

    id: str
    release: str
    model: str
    environment: str
    plan_hash: str
    nonce: str
    layer: str
    digest: str
    """The image's, or how it begins: devices with such evidence are exposed."""
    author: str
    phase: Phase = Phase.STARTING
    wave: int = 0
    """The last one started; 0: none."""
    wave_started_at: float = 0
    """Unix seconds, as all times here."""
    soaking_since: float | None = None
    judged: tuple[WaveVerdict, ...] = ()
    """Every verdict, oldest first; a wave that was held has several."""
    baseline: Mapping[str, Baseline] = field(default_factory=dict)
    """The predecessor's, by stratum, as it was before the first wave."""
    approved_waves: frozenset[int] = frozenset()
    """Waves that a person has let start."""
    orders: tuple[Order, ...] = ()
    end: tuple[State, str] | None = None


@dataclass(frozen=True)
class Look:
    """What the hub shows now."""

    outcomes: Mapping[str, Outcome]
    evidence: Mapping[str, DeviceEvidence]
    """Of exposed devices and of those that run the predecessor."""
    targeted: frozenset[str]
    """The devices that the layer's condition matches now."""
    layer_condition: str | None
    """None: the layer is not on the hub."""


@dataclass(frozen=True)
class StartWave:
    """Write `{wave, event: "started", condition, baseline}`, then give the layer this condition."""

    wave: int
    condition: str
    reason: str
    baseline: Mapping[str, Baseline] = field(default_factory=dict)
    """With the first wave; else empty."""


@dataclass(frozen=True)
class Soak:
    """Write `{wave, event: "soaking"}`: the wave's devices have proven the release."""

    wave: int
    reason: str


@dataclass(frozen=True)
class JudgeWave:
    """Write `{wave, event: "judged", verdict}`."""

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
    """Give the layer the condition of the wave that was started: whoever wrote that down did not get to it."""

    condition: str
    reason: str


@dataclass(frozen=True)
class RollBack:
    """Remove the layer from the hub: what is beneath it serves again."""

    reason: str


@dataclass(frozen=True)
class Commit:
    """Remove what is beneath the layer and no longer needed, then write the end with this state and reason."""

    state: State
    reason: str


@dataclass(frozen=True)
class End:
    """Write `{state, reason, devices}` of kind `end`: nothing is left to do."""

    state: State
    reason: str


Action = StartWave | Soak | JudgeWave | Hold | Wait | AskApproval | Repair | RollBack | Commit | End
