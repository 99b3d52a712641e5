"""The anchor: how far the ledger had grown when the hub was last told, whose keys counted, who holds what.

A writer of the ledger's branch could take its newest entries away and leave no gap. The hub, which they need
not be able to write to, remembers the head: the ledger must descend from it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEVICE = "edgeferry-ledger"
"""The identity at the hub whose twin holds the anchor: reserved, disabled, no edge device."""


@dataclass(frozen=True)
class AnchorState:
    """What the hub remembers of one ledger."""

    head: str = ""
    """The commit that the ledger's branch stood at; "" when the hub has never been told."""
    count: int = 0
    """How many entries it had there."""
    fingerprints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The keys that count, by author."""


@dataclass(frozen=True)
class Lease:
    """Who may go on with something alone, and until when."""

    holder: str
    until_s: float
    """Unix seconds, by the holder's clock."""


def is_free(lease: Lease | None, holder: str, now_s: float) -> bool:
    """Whether `holder` may take the lease: nobody has it, it has run out, or it is the holder's own."""
    return lease is None or lease.holder == holder or lease.until_s <= now_s
