"""Approve: one person's signed yes or no, bound to a release's content and a target condition."""

from __future__ import annotations

from edgeferry.domain.gate import Decision, judge_gate
from edgeferry.domain.release import Entry
from edgeferry.ports import Services


def approve(services: Services, release: Entry, condition: str, by: str, *, yes: bool) -> Entry:
    """The approval entry, signed with `by`'s own key."""
    body = {
        "release": release.subject,
        "release_signature": release.signature,
        "target_condition": condition,
        "decision": "yes" if yes else "no",
    }
    return services.ledger.append("approval", release.subject, body, by)


def ask_gate(services: Services, release: Entry, condition: str) -> Decision:
    """The gate's decision, from what the ledger holds now."""
    entries = services.ledger.entries("approval", release.subject)
    approvals = [(entry, services.ledger.distrust(entry)) for entry in entries]
    return judge_gate(release, condition, approvals, services.ledger.distrust(release))
