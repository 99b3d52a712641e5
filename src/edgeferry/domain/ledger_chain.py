"""What is wrong with a ledger as a whole: its entries must form one chain, signed by keys that count. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong with the ledger."""

    where: str
    """The entry's id, or `anchor`, or `key NAME`."""
    reason: str
