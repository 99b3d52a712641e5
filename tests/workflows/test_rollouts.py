"""Rollouts as the ledger has them, read from a list of entries."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.release import Entry
from edgeferry.ports import Services
from edgeferry.workflows.rollouts import find_lacking
from tests.hollows import ListedLedger

ROLLOUT = "taxi-v1-00000001-aaaaaaaa"


class Counting(ListedLedger):
    """Counts how often all of it is read."""

    reads = 0

    def all_entries(self) -> Sequence[Entry]:
        self.reads += 1
        return super().all_entries()


def test_what_a_wave_lacks_is_told_by_one_reading_of_the_ledger() -> None:
    ledger = Counting(lambda: 1_800_000_000.0)
    ledger.append("release", "taxi-v1-00000001", {"model": "taxi", "version": "1"}, "ann")
    ledger.append("rollout", ROLLOUT, {"release": "taxi-v1-00000001", "model": "taxi", "plan": "p"}, "ann")
    ledger.append("wave", ROLLOUT, {"wave": 1, "event": "started", "condition": "*"}, "ann")
    services = cast(Services, SimpleNamespace(ledger=ledger))
    gate = GatePolicy(approvals=2, self_approval=True)
    for by in ("ben", "cleo"):
        lacks = find_lacking(services, ROLLOUT, gate)
        assert lacks
        ledger.append("order", ROLLOUT, {"order": "promote", "reason": "", "wave": 1}, by)
    assert find_lacking(services, ROLLOUT, gate) == ""
    assert ledger.reads == 3
