"""Rollouts as the ledger has them, read from a list of entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.release import Entry
from edgeferry.ports import Services
from edgeferry.workflows.rollouts import find_lacking, load_open
from tests.hollows import ListedLedger

ROLLOUT = "taxi-v1-00000001-aaaaaaaa"


@dataclass
class Counting(ListedLedger):
    """Counts how often all of it is read, and of which entries it is asked whether they count. What mallory
    signs does not."""

    reads: int = 0
    asked: list[Entry] = field(default_factory=list)

    def distrust(self, entry: Entry) -> str:
        self.asked.append(entry)
        return "no trusted key" if entry.author == "mallory" else ""

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


def test_who_looks_for_open_rollouts_judges_of_those_that_ended_nothing_but_the_end() -> None:
    ledger = Counting(lambda: 1_800_000_000.0)
    for number, (model, ends) in enumerate(
        [("taxi", "ann"), ("taxi", "ann"), ("taxi", "mallory"), ("taxi", ""), ("fares", "")]
    ):
        body = {"release": f"{model}-v{number}", "model": model, "environment": "dev", "plan": "p"}
        ledger.append("rollout", f"r{number}", body, "ann")
        for event in ("started", "soaking"):
            ledger.append("wave", f"r{number}", {"wave": 1, "event": event, "condition": "*"}, "ann")
        if ends:
            ledger.append("end", f"r{number}", {"state": "Succeeded", "reason": ""}, ends)
    # a start that does not count makes no other model's rollout one of this model
    ledger.append("rollout", "r4", {"release": "x", "model": "taxi", "environment": "dev"}, "mallory")
    services = cast(Services, SimpleNamespace(ledger=ledger))
    ledger.require_keys = lambda entries: None  # type: ignore[method-assign]
    open_ = load_open(services, {"model": ["taxi"], "environment": ["dev"]})
    assert [record.id for record in open_] == ["r2", "r3"]
    asked = [entry.kind for entry in ledger.asked if entry.subject in ("r0", "r1")]
    assert asked == ["end", "end"]
