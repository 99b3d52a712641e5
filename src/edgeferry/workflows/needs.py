"""Needs: what a rollout that stands still waits for, and what a person types."""

from __future__ import annotations

from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.rollout_need import Need, find_need, find_unapproved_wave
from edgeferry.domain.rollout_policy import parse_policy
from edgeferry.domain.typed import render_choices
from edgeferry.ports import Services
from edgeferry.workflows.approve import ask_gate
from edgeferry.workflows.release import find_entry
from edgeferry.workflows.rollouts import Record, load_plan


def ask_for_need(services: Services, record: Record, gate: GatePolicy) -> Need | None:
    """What the rollout needs of a person before it goes on; None while it does by itself, or has ended."""
    state = record.state
    if state.end is not None:
        return None
    if need := find_need(state):
        return need
    plan = load_plan(services, state.release, state.plan_hash, state.environment)
    policy = parse_policy(record.start.body["policy"])
    wave = find_unapproved_wave(state, len(plan.waves), approve_waves=policy.approve_waves)
    release = find_entry(services, state.release) if wave else None
    if release is None:
        return None
    said = ask_gate(services, release, state.plan_hash, gate, state.environment, rollout=record.id, wave=wave)
    if said.open:
        return None
    then = render_choices(state.environment, {"then": ("rollouts", "run", record.id)})
    reason = f"wave {wave} of {len(plan.waves)}: {said.reason}"
    return Need("approval needed", reason, f"{said.fix}; {then}")
