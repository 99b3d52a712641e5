"""How rollouts look: while they go on, in lists, at their end."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edgeferry.cli.console import render_table, short
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_state import Phase
from edgeferry.domain.story import describe
from edgeferry.workflows.rollback import Reverted
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import Record, devices_of


def rollout_facts(result: RolloutResult) -> dict[str, Any]:
    """How a rollout ended, as JSON."""
    return {
        "ok": result.state is State.SUCCEEDED,
        "release": result.release,
        "rollout": result.rollout,
        "layer": result.layer,
        "state": str(result.state),
        "reason": result.reason,
        "fix": result.fix,
        "changed": result.changed,
        "devices": [
            {"device": o.device, "state": str(o.state), "reason": o.reason, "digest": o.digest}
            for o in result.outcomes
        ],
    }


def rollout_table(result: RolloutResult | Reverted) -> Table:
    """Its devices."""
    rows = [[o.device, str(o.state), short(o.digest), o.reason] for o in result.outcomes]
    return render_table(result.release, ("device", "state", "digest", "reason"), rows)


def reverted_facts(result: Reverted) -> dict[str, Any]:
    """What a rollback did, as JSON."""
    return {
        "ok": result.ok,
        "release": result.release,
        "previous": result.previous,
        "state": str(result.state),
        "reason": result.reason,
        "devices": [{"device": o.device, "state": str(o.state), "reason": o.reason} for o in result.outcomes],
    }


def record_facts(record: Record) -> dict[str, Any]:
    """A rollout as the ledger has it, as JSON."""
    state = record.state
    return {
        "rollout": record.id,
        "release": state.release,
        "model": state.model,
        "environment": state.environment,
        "phase": str(state.phase),
        "wave": state.wave,
        "state": str(state.end[0]) if state.end else "",
        "reason": word_of(record),
        "at": record.start.at,
        "author": record.start.author,
        "plan": state.plan_hash,
        "layer": state.layer,
        "approvals": list(record.start.body.get("approvals") or ()),
        "policy": dict(record.start.body.get("policy") or {}),
    }


def story_facts(record: Record) -> list[dict[str, Any]]:
    """Each of its entries, oldest first."""
    return [
        {"at": entry.at, "author": entry.author, "kind": entry.kind, "what": describe(entry)}
        for entry in record.entries
    ]


def record_table(records: list[Record]) -> Table:
    """Rollouts, a line each."""
    rows = [
        [r.id, str(r.state.phase), str(r.state.wave), str(r.state.end[0]) if r.state.end else "", word_of(r)]
        for r in records
    ]
    return render_table("Rollouts", ("name", "phase", "wave", "state", "reason"), rows)


def story_tables(record: Record) -> list[Table | str]:
    """A rollout's entries, and how its devices ended."""
    rows = [[one["at"], one["author"], one["what"]] for one in story_facts(record)]
    parts: list[Table | str] = [render_table(record.id, ("at", "by", "what"), rows)]
    devices = devices_of(record)
    if devices:
        lines = [[name, said.get("state", ""), said.get("reason", "")] for name, said in devices.items()]
        parts.append(render_table("Devices", ("device", "state", "reason"), lines))
    return parts


def word_of(record: Record) -> str:
    """Why it stands where it does."""
    state = record.state
    if state.end:
        return state.end[1]
    if state.phase is Phase.PAUSED and state.orders:
        return state.orders[-1].reason
    return state.judged[-1].reason if state.judged else ""
