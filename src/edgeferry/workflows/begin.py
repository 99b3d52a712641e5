"""Begin: a rollout is signed into the ledger, once, if its gate is open and its plan still holds; or the one
that is there already is taken up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate import name_approver
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.model import RESERVED
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State, judge_rollout
from edgeferry.domain.rollout_need import render_look
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy, parse_policy
from edgeferry.domain.rollout_state import Phase
from edgeferry.domain.typed import render_choices, render_command
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import FIRST_MODEL_PRIORITY, ModelLayer
from edgeferry.wire.plan import parse_plan, plan_hash
from edgeferry.workflows.aim import advise_aim
from edgeferry.workflows.approve import ask_gate, judge_start
from edgeferry.workflows.clock import require_clock
from edgeferry.workflows.layers import find_placed, next_layer
from edgeferry.workflows.lease import LEASE_S, leased
from edgeferry.workflows.placing import remove_layer
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.release import find_entry
from edgeferry.workflows.rollout import RolloutResult, Running, drive, lease_name
from edgeferry.workflows.rollouts import (
    Record,
    find_by_layer,
    first_trusted,
    load_open,
    load_plan,
    load_record,
    trusted,
)
from edgeferry.workflows.watch import render_deleted, watch

TIMEOUT = "rollout.timeout_s"
"""The one rule of a rollout that a person may change without asking the approvers anew."""


@dataclass(frozen=True)
class Rules:
    """What an environment demands of a rollout, and of its approval."""

    rollout: Mapping[str, str]
    """The settings `rollout.…` that make the policy, as they are written."""
    gate: GatePolicy

    @property
    def timeout_s(self) -> float:
        """How long a wave may take to be proven."""
        return parse_policy(self.rollout).timeout_s

    @property
    def planned(self) -> dict[str, str]:
        """What a plan holds of the rules, and its approvers agree to."""
        return {name: text for name, text in self.rollout.items() if name != TIMEOUT}


def rollout(
    services: Services,
    release: Entry,
    condition: str,
    *,
    fleet: Fleet,
    rules: Rules,
    user: str,
    on_change: Callable[[Outcome], None],
    lease_s: float = LEASE_S,
) -> RolloutResult:
    """The rollout's end, or where it stopped: `Succeeded` only when measured on every targeted device.

    Without an approval, or with nobody targeted, nothing is touched. What is there already, and has ended
    well, is measured again.
    """
    of = {"model": [release.body["model"]], "environment": [fleet.environment]}
    open_ = load_open(services, of)

    def take_up(record: Record) -> RolloutResult:
        services.say(f"going on with {record.id}")
        return resume(
            services, record, fleet=fleet, rules=rules, user=user, on_change=on_change, lease_s=lease_s
        )

    for record in open_:  # going back waits for no gate
        if record.state.release == release.subject and record.state.phase is Phase.REVERTING:
            return take_up(record)
    fresh = make_plan(services, release, condition, fleet, rules.planned)
    require_clock(services)
    gate = ask_gate(services, release, fresh, rules.gate, fleet.environment)
    if not gate.open:
        fix = name_approver(gate.fix, rules.gate, user)
        return RolloutResult(release.subject, "", State.SKIPPED, gate.reason, (), False, fix)
    plan = parse_plan(gate.plan_entry.body) if gate.plan_entry else fresh
    if not fresh.targeted:
        state, reason = judge_rollout(())
        fix = f"correct the condition, or tag a device: {advise_aim(services, fleet, condition)}"
        return RolloutResult(
            release.subject, "", state, f"{reason}: no device matches {condition}", (), False, fix
        )
    hash_ = plan_hash(plan)
    for record in open_:
        if (record.state.release, record.state.plan_hash) == (release.subject, hash_):
            return take_up(record)
    existing = services.hub.configurations()
    placed = find_placed(existing, release, condition, fleet)
    proven = find_by_layer(services, placed) if placed and not open_ else None
    if placed and proven and proven.state.end and proven.state.end[0] is State.SUCCEEDED:
        return _measure(
            services,
            release,
            placed,
            sorted(fresh.targeted),
            rules,
            on_change,
            proven.id,
            fleet.environment,
        )
    layer = next_layer(services, release, condition, fleet, existing)
    body: Json = {
        "release": release.subject,
        "model": layer.model,
        "environment": fleet.environment,
        "condition": condition,
        "digest": layer.digest,
        "plan": hash_,
        "nonce": layer.nonce,
        "layer": layer.name,
        "approvals": [approval.id for approval in gate.approvals],
        "policy": dict(rules.rollout),
    }
    record = _sign(services, release, body, open_, fleet, user)
    return resume(services, record, fleet=fleet, rules=rules, user=user, on_change=on_change, lease_s=lease_s)


def resume(
    services: Services,
    record: Record,
    *,
    fleet: Fleet,
    rules: Rules,
    user: str,
    on_change: Callable[[Outcome], None],
    patient: bool = False,
    lease_s: float = LEASE_S,
) -> RolloutResult:
    """A rollout that was begun, here or on another machine, goes on to its end, or to where it stops."""
    running = open_running(services, record, fleet, rules.gate)
    return drive(
        services,
        running,
        user=user,
        on_change=on_change,
        wait_s=rules.timeout_s,
        patient=patient,
        lease_s=lease_s,
    )


def open_running(services: Services, record: Record, fleet: Fleet, gate: GatePolicy) -> Running:
    """What the rollout was started with; UsageError when it is another environment's, RefusedError when its
    release does not count."""
    start = record.start.body
    if start["environment"] != fleet.environment:
        theirs = render_command(str(start["environment"]), "rollouts", "run", record.id)
        raise UsageError(f"{record.id} is not of this environment", fix=f"there: {theirs}")
    release = find_entry(services, str(start["release"]))
    distrust = services.ledger.distrust(release) if release else "it is not in the ledger"
    if release is None or distrust:
        raise RefusedError(
            f"release {start['release']} cannot be trusted: {distrust}",
            fix=f"check who wrote it: {render_command(fleet.environment, 'audit', 'verify')}",
        )
    plan = load_plan(services, release.subject, record.state.plan_hash, fleet.environment)
    layer = _layer_of(record, plan.condition, release)
    return Running(
        record.id,
        release,
        plan,
        _read_policy(start["policy"], layer.model),
        layer,
        fleet,
        gate,
        _find_unapproved(services, record.start, release, plan, gate),
    )


def _read_policy(texts: Mapping[str, str], model: str) -> RolloutPolicy:
    """What the rollout goes by. Users ask models only: of a program there is nothing to be compared."""
    policy = parse_policy(texts)
    guard = replace(policy.guard, compare=policy.guard.compare and model not in RESERVED)
    return replace(policy, guard=guard)


def _find_unapproved(
    services: Services, start: Entry, release: Entry, plan: RolloutPlan, gate: GatePolicy
) -> str:
    """Why nobody approved what the rollout was begun with, or "": signing a start opens no gate."""
    rules = {name: text for name, text in start.body["policy"].items() if name != TIMEOUT}
    if rules != dict(plan.policy):
        return f"{start.subject} was begun by {start.author} with other rules than its plan has"
    said = judge_start(services, start, release, plan, gate)
    return "" if said.open else said.reason


def rollout_id(release: str, environment: str, nonce: str) -> str:
    """A rollout's name in the ledger."""
    return "-".join(part for part in (release, environment, nonce[:8]) if part)


def _sign(
    services: Services, release: Entry, body: Json, open_: Sequence[Record], fleet: Fleet, user: str
) -> Record:
    """The rollout that was begun now, or the very same one that somebody began meanwhile. One that is open
    for another release or plan ends, when nobody is at it; RefusedError when somebody is."""
    name = rollout_id(release.subject, fleet.environment, body["nonce"])
    with leased(services, lease_name(body["model"], fleet)) as lease:
        if open_ and not lease.hold():
            raise RefusedError(
                f"{open_[-1].id} is under way, and a controller is at it",
                fix=_wait_for(open_[-1].id, fleet),
            )
        for record in open_:
            _supersede(services, record, name, user)

        def found(entries: Sequence[Entry]) -> Entry | None:
            ended = {e.subject for e in trusted(services, [e for e in entries if e.kind == "end"])}
            same = (body["model"], body["environment"])
            starts = (e for e in entries if e.kind == "rollout" and e.subject not in ended)
            mine = (
                e
                for e in starts
                if (e.body.get("model"), e.body.get("environment")) == same and "plan" in e.body
            )
            return first_trusted(services, mine)

        entry, new = services.ledger.append_unless("rollout", name, body, user, found)
    if not new and (entry.body["release"], entry.body["plan"]) != (body["release"], body["plan"]):
        raise RefusedError(
            f"{entry.subject} was begun meanwhile by {entry.author}",
            fix=_wait_for(entry.subject, fleet),
        )
    return load_record(services, entry.subject)


def _layer_of(record: Record, condition: str = "", release: Entry | None = None) -> ModelLayer:
    state = record.state
    return ModelLayer(
        name=state.layer,
        model=state.model,
        release=state.release,
        digest=release.body["digest"] if release else state.digest,
        cases_sha256=release.body["cases_sha256"] if release else "",
        nonce=state.nonce,
        target_condition=condition,
        priority=FIRST_MODEL_PRIORITY,
    )


def _supersede(services: Services, record: Record, by: str, user: str) -> None:
    state, reason = State.INCONCLUSIVE, f"superseded by {by}"
    if record.state.phase is Phase.REVERTING:  # whoever was to take it back has not got to it
        failed = any(each.state == "fail" for each in record.state.judged)
        layer = _layer_of(record)
        state = State.FAILED if failed else State.REVERTED
        removed = remove_layer(services, layer) or f"the layer {layer.name} is gone, another has its name"
        reason = f"{reason}; {removed}"
    body: Json = {"state": str(state), "reason": reason, "devices": {}}

    def found(entries: Sequence[Entry]) -> Entry | None:
        ends = (entry for entry in entries if (entry.kind, entry.subject) == ("end", record.id))
        return first_trusted(services, ends)

    services.ledger.append_unless("end", record.id, body, user, found)
    services.say(f"{record.id} is superseded")


def _measure(
    services: Services,
    release: Entry,
    layer: ModelLayer,
    devices: Sequence[str],
    rules: Rules,
    on_change: Callable[[Outcome], None],
    rollout: str,
    environment: str,
) -> RolloutResult:
    watched = watch(services, release, layer, devices, rules.timeout_s, on_change)
    state, reason = judge_rollout(watched.outcomes)
    reason += render_deleted(watched)
    done = state is State.SUCCEEDED
    fix = "" if done else render_look(environment, layer.model, rollout, watched.outcomes)
    return RolloutResult(release.subject, layer.name, state, reason, watched.outcomes, False, fix, rollout)


def _wait_for(rollout: str, fleet: Fleet) -> str:
    choices = {"wait for it": ("rollouts", "watch", rollout), "or end it": ("rollouts", "abort", rollout)}
    return render_choices(fleet.environment, choices)
