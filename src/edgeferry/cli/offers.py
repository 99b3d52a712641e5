"""How a plan with its evidence looks to whom is asked to approve it: as JSON, and as tables and lines."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edgeferry.cli.console import counted, render_table
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
    plan = offer.plan
    counts = ", ".join(
        f"{word} {counted(len(devices), 'device')}"
        for word, devices in (
            ("new on", plan.gained),
            ("lost by", plan.lost),
            ("already on", plan.unchanged),
        )
        if devices or word == "new on"
    )
    rows = [
        [str(wave.number), wave.rule, counted(len(wave.members), "device"), wave.condition]
        for wave in plan.waves
    ]
    tables: list[Table | str] = [
        f"{plan.release}, layer {plan.layer}, for devices where {plan.condition}",
        f"plan {offer.hash}: {counts}",
        render_table("Waves", ("wave", "rule", "devices", "target condition"), rows),
    ]
    if plan.conflicts:
        found = [[one.severity, str(one.kind), one.problem, one.fix] for one in plan.conflicts]
        tables.append(render_table("Conflicts", ("severity", "kind", "problem", "fix"), found))
    return [*tables, evidence_table(offer.evidence), f"gate: {offer.decision.reason}"]
