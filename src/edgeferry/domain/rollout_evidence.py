"""What devices measured of one version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
