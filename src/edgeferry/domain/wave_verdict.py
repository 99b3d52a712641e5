"""The verdict on one wave: pass, fail, or inconclusive, which holds and never promotes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeferry.domain.rollout_evidence import Judgement


@dataclass(frozen=True)
class StratumVerdict:
    """What was measured in one stratum."""

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
    """By stratum; "" is all of them together."""
    at_s: float = 0
    devices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Device: its state's word and the reason."""
