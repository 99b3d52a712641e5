"""How a release may move through a fleet: waves, thresholds, soak, budget, windows, guard. Pure.

Everything is a text in the settings `rollout.…`, so that the start of a rollout can write down in the ledger
what it goes by, and any machine that carries it on reads the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import time

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Share:
    """A share of a number of devices."""

    share: float
    """0 … 1."""

    def needed(self, whole: int) -> int:
        """How many of `whole` make up the share at least."""
        return math.ceil(self.share * whole - _ROUNDING)


@dataclass(frozen=True)
class Limit:
    """How many devices may fail: the larger of a count and a share of the whole."""

    count: int = 0
    share: float = 0.0

    def allowed(self, whole: int) -> int:
        """How many of `whole` may."""
        return max(self.count, math.floor(self.share * whole + _ROUNDING))


@dataclass(frozen=True)
class Budget:
    """How many devices of a group (a site, a line) may be out of service at once for a rollout's sake."""

    tag: str
    """What tells the group, e.g. `tags.site`."""
    most: int


@dataclass(frozen=True)
class MaintenanceWindow:
    """When a wave may start, UTC: on the days on which it opens (0: Monday), from `opens` up to, without,
    `closes`; over midnight where it closes earlier than it opens."""

    days: frozenset[int]
    opens: time
    closes: time


@dataclass(frozen=True)
class Guard:
    """How the exposed devices are compared with those that still run the predecessor."""

    compare: bool = True
    requests: int = 100
    """Of a stratum's exposed devices, at least: fewer prove nothing."""
    confidence: float = 0.99
    """That a rollout of a release which is no worse is not stopped."""
    margin: float = 0.01
    """Worse by more than this share of requests is worse; better than three times this is good enough."""


@dataclass(frozen=True)
class RolloutPolicy:
    """What a rollout goes by."""

    waves: str = "100 %"
    """As `domain.wave.parse_waves` reads it."""
    success: Share = Share(1.0)
    """Of each stratum of a wave, at least."""
    errors: Limit = Limit()
    """Of each stratum of a wave, at most; one more, and the rollout goes back."""
    soak_s: float = 0
    """How long a wave is watched after its devices have proven the release."""
    stratum: str = ""
    """The tag that tells a device's stratum, e.g. `tags.site`; "" where all are alike."""
    budget: Budget | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    """None: at any time."""
    approve_waves: bool = False
    """Whether a person is asked between waves."""
    timeout_s: float = 180
    """How long a wave's devices may take to prove the release."""
    guard: Guard = Guard()
