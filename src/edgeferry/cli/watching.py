"""How rollouts look: while they go on, in lists, at their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from edgeferry.cli.console import render_table, short
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_record import Serving
from edgeferry.domain.rollout_state import Phase
from edgeferry.domain.story import describe
from edgeferry.workflows.rollback import Reverted
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import Record, outcomes_of, serving_of


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
        "devices": _outcome_facts(result.outcomes),
        "serves": serving_facts(result.serving),
    }


def serving_facts(serving: Serving | None) -> dict[str, Any] | None:
    """What serves since a rollout was taken back, as JSON."""
    if serving is None:
        return None
    return {"release": serving.release, "devices": _outcome_facts(serving.outcomes)}


def rollout_table(result: RolloutResult) -> Table:
    """Its devices; where a person took it back, with what serves now."""
    if result.state is State.REVERTED and result.serving:
        return _serving_table(result.serving.release, result.serving.outcomes)
    return _outcome_table(result.release, result.outcomes)


def reverted_facts(result: Reverted) -> dict[str, Any]:
    """What a rollback did, as JSON."""
    return {
        "ok": result.ok,
        "release": result.release,
        "rollout": result.rollout,
        "previous": result.previous,
        "state": str(result.state),
        "reason": result.reason,
        "devices": _outcome_facts(result.outcomes),
    }


def reverted_tables(result: Reverted) -> list[Table | str]:
    """The devices with what serves there now, and what is to be said of them."""
    table = _serving_table(result.previous, result.outcomes)
    return [table, result.reason] if result.previous else [result.reason]


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
        "serves": serving_facts(serving_of(record)),
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
    if devices := outcomes_of(record):
        lines = [[each.device, str(each.state), each.reason] for each in devices]
        parts.append(render_table("Devices", ("device", "state", "reason"), lines))
    if serving := serving_of(record):
        parts.append(_serving_table(serving.release, serving.outcomes))
    return parts


def _serving_table(release: str, outcomes: Iterable[Outcome]) -> Table:
    """The devices on which this release serves again."""
    return _outcome_table(f"{release} serves again", outcomes)


def _outcome_table(title: str, outcomes: Iterable[Outcome]) -> Table:
    rows = [[each.device, str(each.state), short(each.digest), each.reason] for each in outcomes]
    return render_table(title, ("device", "state", "digest", "reason"), rows)


def _outcome_facts(outcomes: Iterable[Outcome]) -> list[dict[str, str]]:
    return [
        {"device": each.device, "state": str(each.state), "reason": each.reason, "digest": each.digest}
        for each in outcomes
    ]


def word_of(record: Record) -> str:
    """Why it stands where it does."""
    state = record.state
    if state.end:
        return state.end[1]
    if state.phase is Phase.PAUSED and state.orders:
        return state.orders[-1].reason
    return state.judged[-1].reason if state.judged else ""
