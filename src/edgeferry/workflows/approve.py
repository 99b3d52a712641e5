"""Approve: one person's signed yes or no, bound to a release's content, environment and target condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeferry.domain.approval import Record, judge_record, render_source
from edgeferry.domain.gate import Decision, judge_gate
from edgeferry.domain.release import Entry
from edgeferry.errors import RefusedError
from edgeferry.ports import Services


def approve(
    services: Services, release: Entry, condition: str, by: str, *, yes: bool, environment: str
) -> Entry:
    """The approval entry, signed with `by`'s own key; `environment` is its name, "" for none."""
    body = _body(release, condition, environment, "yes" if yes else "no")
    return services.ledger.append("approval", release.subject, body, by)


def approve_from(
    services: Services, release: Entry, condition: str, record: Record, author: str, *, environment: str
) -> Entry:
    """The approval entry that carries a platform's record of a person's yes, signed by the pipeline `author`.

    RefusedError when nobody approved there, or the same approval was used for something else before. The
    same record for the same release and devices gives the entry that is there.
    """
    problem = judge_record(record)
    if problem:
        raise RefusedError(
            f"{record.platform} holds no approval for {release.subject}: {problem}",
            fix=f"put an approval check on the environment of stage {record.stage}, and let a person approve",
        )
    source = render_source(record)
    body = {**_body(release, condition, environment, "yes"), "source": source}
    for entry in services.ledger.entries("approval"):
        before = entry.body.get("source")
        if not isinstance(before, dict) or before.get("kind") != source["kind"]:
            continue
        if entry.body == body and not services.ledger.distrust(entry):
            return entry
        used = set(before.get("approvals") or ()) & set(source["approvals"])
        bound = ("release", "release_signature", "environment", "target_condition")
        if used and any(entry.body.get(key) != body[key] for key in bound):
            raise RefusedError(
                f"approval {min(used)} was given for {_render_bound(entry.body)}, "
                f"not for {_render_bound(body)}",
                fix="start a new run and approve that one",
            )
    return services.ledger.append("approval", release.subject, body, author)


def ask_gate(services: Services, release: Entry, condition: str, *, environment: str) -> Decision:
    """The gate's decision, from what the ledger holds now."""
    entries = services.ledger.entries("approval", release.subject)
    approvals = [(entry, services.ledger.distrust(entry)) for entry in entries]
    return judge_gate(release, condition, environment, approvals, services.ledger.distrust(release))


def _body(release: Entry, condition: str, environment: str, decision: str) -> dict[str, Any]:
    return {
        "release": release.subject,
        "release_signature": release.signature,
        "environment": environment,
        "target_condition": condition,
        "decision": decision,
    }


def _render_bound(body: Mapping[str, Any]) -> str:
    environment = f"{body['environment']}: " if body.get("environment") else ""
    return f"{body.get('release')} and {environment}{body.get('target_condition')!r}"
