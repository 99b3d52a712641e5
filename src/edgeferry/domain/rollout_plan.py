"""What a release would do to the fleet: devices, waves, changes, conflicts, quotas. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeferry.domain.plan_conflicts import Conflict, Kind, Quota
from edgeferry.domain.plan_groups import DeviceChange
from edgeferry.domain.wave import Wave

MOST_GROWTH = 0.05
"""How many more devices may be targeted than a person approved, as a share of those; one may in any case."""


@dataclass(frozen=True)
class RolloutPlan:
    """What a person approves, and what is carried out."""

    release: str
    release_signature: str
    environment: str
    condition: str
    layer: str
    content_sha256: str
    """Of the layer's content, but for the rollout's nonce."""
    waves: tuple[Wave, ...]
    strata: Mapping[str, str]
    """Device to stratum, of all that are targeted."""
    groups: Mapping[str, str]
    """Device to the group that a disruption budget counts by."""
    gained: tuple[str, ...]
    """Devices that get this release and do not have it now."""
    lost: tuple[str, ...]
    """Devices that have the module now, and then no longer, or no longer in this release."""
    unchanged: tuple[str, ...]
    """Targeted devices that have this release already."""
    changes: tuple[DeviceChange, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    quotas: tuple[Quota, ...] = ()
    wave_seconds: tuple[float, ...] = ()
    """At least so long each wave takes, by what the hub's clock and the soak cost."""
    policy: Mapping[str, str] = field(default_factory=dict)

    @property
    def targeted(self) -> frozenset[str]:
        """All devices of its waves."""
        return frozenset(self.strata)

    @property
    def blocked(self) -> bool:
        """Whether something stands in the way."""
        return bool(self.blocks)

    @property
    def blocks(self) -> tuple[Conflict, ...]:
        """What stands in the way."""
        return tuple(each for each in self.conflicts if each.severity == "blocks")

    @property
    def obstacles(self) -> tuple[Conflict, ...]:
        """The same, but that nobody is targeted: it touches nothing, and devices may yet get their tags."""
        return tuple(each for each in self.blocks if each.kind is not Kind.NOBODY)


def find_drift(approved: RolloutPlan, fresh: RolloutPlan) -> str:
    """Why the approved plan no longer holds, given one made now; "" when it does."""
    if (approved.release, approved.release_signature) != (fresh.release, fresh.release_signature):
        return f"it is for another content of {approved.release}"
    if approved.environment != fresh.environment or approved.condition != fresh.condition:
        return f"it is for {approved.condition!r} in {approved.environment or 'no environment'}"
    if approved.content_sha256 != fresh.content_sha256:
        return "the layer would have another content"
    known = {(each.kind, each.deployments) for each in approved.blocks}
    for conflict in fresh.obstacles:
        if (conflict.kind, conflict.deployments) not in known:
            return f"something stands in the way now: {conflict.problem}"
    if lost := sorted(set(fresh.lost) - set(approved.lost)):
        return f"{', '.join(lost[:3])} would lose what they have now"
    more = len(fresh.targeted - approved.targeted)
    if more > max(MOST_GROWTH * len(approved.targeted), 1 if approved.targeted else 0):
        return f"{more} more devices are targeted than the {len(approved.targeted)} that were approved"
    return ""
