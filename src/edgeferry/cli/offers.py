"""How a plan with its evidence looks to whom is asked to approve it: as JSON, and as tables and lines."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edgeferry.cli.console import render_table
from edgeferry.cli.plan import plan_tables
from edgeferry.domain.gate_evidence import EvidenceFact
from edgeferry.wire.plan import render_plan
from edgeferry.workflows.approve import Offer


def evidence_facts(evidence: tuple[EvidenceFact, ...]) -> list[dict[str, str]]:
    """Evidence as JSON."""
    return [{"kind": fact.kind, "state": str(fact.weight), "detail": fact.detail} for fact in evidence]


def evidence_table(evidence: tuple[EvidenceFact, ...]) -> Table:
    """Each piece of evidence, and what it is worth."""
    rows = [[fact.kind, str(fact.weight), fact.detail] for fact in evidence]
    return render_table("Evidence", ("evidence", "state", "detail"), rows)


def offer_facts(offer: Offer) -> dict[str, Any]:
    """An offer as JSON: the plan, its hash, the evidence, the gate's word as it is now."""
    return {
        "release": offer.release.subject,
        "hash": offer.hash,
        "plan": render_plan(offer.plan),
        "evidence": evidence_facts(offer.evidence),
        "gate": {"open": offer.decision.open, "reason": offer.decision.reason},
    }


def offer_tables(offer: Offer) -> list[Table | str]:
    """An offer for a person to look at."""
    return [*plan_tables(offer.plan), evidence_table(offer.evidence), f"gate: {offer.decision.reason}"]
