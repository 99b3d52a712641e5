"""Whether a release's answers are worse than those of the version it replaces, as devices counted them. Pure.

The exposed devices run the release, the control still runs its predecessor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Judgement = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class DeviceEvidence:
    """What one device's server counted of its users' requests since it was started."""

    device: str
    digest: str
    requests: int
    errors: int
    latency: Mapping[int, int]
    """Milliseconds by bin (`domain.sketch`)."""
    outputs: Mapping[int, int]
    """Numbers in answers by bin."""


@dataclass(frozen=True)
class Baseline:
    """What the predecessor's devices of one stratum had counted when a wave was started: kept in the ledger,
    since the devices forget it."""

    devices: int
    requests: int
    errors: int
    latency: Mapping[int, int]
    outputs: Mapping[int, int]
    spread: float = 1.0
    """How much more the devices differ among each other than chance alone lets them, 1 or more."""


@dataclass(frozen=True)
class EvidenceVerdict:
    """What the comparison shows, and in which numbers."""

    state: Judgement
    reason: str
    requests: int = 0
    """Of the exposed devices."""
