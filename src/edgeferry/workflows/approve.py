"""Approve: a person's signed yes or no to a plan, and the gate that asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from edgeferry.domain.approval import Record, judge_record, render_source
from edgeferry.domain.gate import Decision, GateQuestion, judge_approver, judge_gate
from edgeferry.domain.gate_evidence import EvidenceFact, find_shutting, render_fact
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import People, know_people
from edgeferry.domain.plan_conflicts import Conflict
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout_plan import RolloutPlan, find_drift
from edgeferry.domain.typed import render_command
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.plan import parse_plan, plan_hash, render_plan
from edgeferry.workflows.evidence import weigh_evidence
from edgeferry.workflows.release import find_entry
from edgeferry.workflows.rollouts import find_plans, first_trusted, trusted

_BOUND = ("release", "release_signature", "environment", "target_condition", "plan", "rollout", "wave")
"""What a yes is bound to."""


@dataclass(frozen=True)
class Offer:
    """What a person is asked: this release, by this plan, on this evidence."""

    release: Entry
    plan: RolloutPlan
    hash: str
    plan_entry: Entry | None
    """Where the ledger holds the plan; None when only an approval would write it down."""
    evidence: tuple[EvidenceFact, ...]
    decision: Decision
    """The gate's word as it is now."""
    policy: GatePolicy
    people: People
    rollout: str = ""
    """Between waves: whose wave it is."""
    wave: int = 0


def make_offer(
    services: Services, release: Entry, plan: RolloutPlan, policy: GatePolicy, environment: str
) -> Offer:
    """The offer to roll `release` out by `plan`, made just now: by a plan that the ledger holds already where
    that one still holds, so that several people approve the same one."""
    kept, drift = _find_kept(services, release, plan)
    return _offer(services, release, plan, policy, environment, kept, drift)


def make_wave_offer(
    services: Services, rollout: str, wave: int, policy: GatePolicy, environment: str
) -> Offer:
    """The offer to go on with a rollout's next wave; UsageError when there is no such rollout or wave."""
    started = first_trusted(services, services.ledger.entries("rollout", rollout))
    release = find_entry(services, str(started.body.get("release"))) if started else None
    if started is None or release is None:
        raise UsageError(
            f"the ledger holds no rollout {rollout}",
            fix=f"see those that it holds: {render_command(environment, 'rollouts', 'list')}",
        )
    if started.body.get("environment") != environment:
        words = ("approve", rollout, "--wave", str(wave))
        theirs = render_command(str(started.body.get("environment") or ""), *words)
        raise UsageError(f"{rollout} is not of this environment", fix=f"there: {theirs}")
    entry, plan = _load_plan(services, release, str(started.body.get("plan")), environment)
    if not 1 < wave <= len(plan.waves):
        raise UsageError(
            f"{rollout} has no wave {wave} to be approved: its plan has {len(plan.waves)}",
            fix="the first wave starts with the approval of the plan; name one after it",
        )
    return _offer(services, release, plan, policy, environment, entry, "", rollout, wave)


def ask_gate(
    services: Services,
    release: Entry,
    plan: RolloutPlan | str,
    policy: GatePolicy,
    environment: str,
    *,
    rollout: str = "",
    wave: int = 0,
) -> Decision:
    """The gate's decision, from what the ledger, the registry and the hub hold now.

    A plan made just now is asked for through the plan in the ledger that it has not drifted from, if there is
    one; the hash of a plan means the very one in the ledger. With `rollout` and `wave`: for that wave.
    """
    if isinstance(plan, RolloutPlan):
        return make_offer(services, release, plan, policy, environment).decision
    entry, kept = _load_plan(services, release, plan, environment)
    return _offer(services, release, kept, policy, environment, entry, "", rollout, wave).decision


def judge_start(
    services: Services, start: Entry, release: Entry, plan: RolloutPlan, policy: GatePolicy
) -> Decision:
    """The gate's word on a rollout as it was begun: by the approvals before it, at its time. The evidence was
    weighed then."""
    ledger = services.ledger
    environment = str(start.body["environment"])
    question = _ask(services, release, plan.condition, environment, plan_hash(plan), before=start.id)
    words = [one for one in ledger.entries("approval", release.subject) if one.id < start.id]
    approvals = _weigh_words(services, words)
    began_at = datetime.fromisoformat(start.at)
    said = judge_gate(question, approvals, (), replace(policy, evidence=()), began_at)
    block = _find_block(plan)
    return replace(said, open=False, reason=block.problem, fix=block.fix) if said.open and block else said


def propose(services: Services, offer: Offer, author: str) -> Entry:
    """The entry of the offer's plan; written now where the ledger does not hold it yet."""
    body = render_plan(offer.plan)
    return offer.plan_entry or services.ledger.append("plan", offer.release.subject, body, author)


def approve(services: Services, offer: Offer, by: str, *, yes: bool) -> Entry:
    """The approval entry, signed with `by`'s own key; the plan goes into the ledger before it.

    RefusedError when this yes could open nothing: `by` may not approve, the evidence is not enough, or
    something in the plan blocks.
    """
    if yes:
        _refuse_futile(offer, by)
    propose(services, offer, by)
    body = _body(services, offer, "yes" if yes else "no")
    return services.ledger.append("approval", offer.release.subject, body, by)


def approve_from(services: Services, offer: Offer, record: Record, author: str) -> Entry:
    """The approval entry that carries a platform's record of a person's yes, signed by the pipeline `author`.

    RefusedError when nobody approved there, when the ledger did not hold the plan for people to look at, or
    when the same approval was used for something else before. The same record for the same plan gives the
    entry that is there.
    """
    release = offer.release
    problem = judge_record(record)
    if problem:
        raise RefusedError(
            f"{record.platform} holds no approval for {release.subject}: {problem}",
            fix=record.remedy,
        )
    if offer.plan_entry is None:
        raise RefusedError(
            f"nobody could look at this plan of {release.subject} before approving: {offer.decision.reason}",
            fix="start a new run, whose build writes the plan: "
            + render_command(offer.plan.environment, "approve", release.subject, "--ask"),
        )
    _refuse_blocked(offer)
    for person in {name for word in record.words for name in word.approvers}:
        services.say(f"{person} approved on {record.platform}, {record.url}")
    source = render_source(record)
    body = {**_body(services, offer, "yes"), "source": source}

    def found(entries: Sequence[Entry]) -> Entry | None:
        return _find_recorded(services, [one for one in entries if one.kind == "approval"], body)

    return services.ledger.append_unless("approval", release.subject, body, author, found)[0]


def _find_recorded(services: Services, approvals: Sequence[Entry], body: Mapping[str, Any]) -> Entry | None:
    """The entry that says the very same; RefusedError when an approval of the platform that `body` goes by
    was used for something else."""
    source = body["source"]
    for entry in approvals:
        before = entry.body.get("source")
        if not isinstance(before, Mapping) or before.get("kind") != source["kind"]:
            continue
        used = set(before.get("approvals") or ()) & set(source["approvals"])
        if not used:
            continue
        if any(entry.body.get(key) != body.get(key) for key in _BOUND):
            raise RefusedError(
                f"approval {min(used)} was given for {_render_bound(entry.body)}, "
                f"not for {_render_bound(body)}",
                fix="start a new run and approve that one",
            )
        if before == source and not services.ledger.distrust(entry):
            return entry
    return None


def _offer(
    services: Services,
    release: Entry,
    plan: RolloutPlan,
    policy: GatePolicy,
    environment: str,
    entry: Entry | None,
    drift: str,
    rollout: str = "",
    wave: int = 0,
) -> Offer:
    ledger, condition = services.ledger, plan.condition
    if entry is not None:
        plan = parse_plan(entry.body)
    wanted = plan_hash(plan)
    evidence = weigh_evidence(services, release, policy, condition=condition, environment=environment)
    question = replace(_ask(services, release, condition, environment, wanted), rollout=rollout, wave=wave)
    approvals = _weigh_words(services, ledger.entries("approval", release.subject))
    now_at = datetime.fromtimestamp(services.now(), UTC)
    said = judge_gate(question, approvals, evidence, policy, now_at)
    if said.open and entry is None:
        said = Decision(
            False,
            f"{said.reason}, but the ledger holds no trusted plan {wanted} of {release.subject}",
            fix=f"see what became of it: {render_command(environment, 'audit', 'verify')}; then let people "
            "approve anew",
        )
    if said.open and (block := _find_block(plan)):
        said = Decision(
            False, f"the plan of {release.subject} cannot be carried out: {block.problem}", block.fix
        )
    reason = said.reason if said.open or not drift else f"{said.reason}; {drift}"
    said = Decision(said.open, reason, said.fix, said.approvals, entry)
    people = know_people(question.keys, [(release.author, release.key)])
    return Offer(release, plan, wanted, entry, evidence, said, policy, people, rollout, wave)


def _find_kept(services: Services, release: Entry, fresh: RolloutPlan) -> tuple[Entry | None, str]:
    """The newest plan in the ledger that `fresh`, made just now, has not drifted from; else None and why the
    newest one for the same devices does not hold any more ("" when there is none)."""
    reason = ""
    for entry, plan in _plans(services, release):
        if (plan.environment, plan.condition) != (fresh.environment, fresh.condition):
            continue
        if plan.obstacles and not fresh.obstacles:
            continue
        changed = sorted(name for name, text in fresh.policy.items() if text != plan.policy.get(name))
        drift = f"{', '.join(changed)} changed" if changed else find_drift(plan, fresh)
        if not drift:
            return entry, ""
        reason = reason or f"the plan of {entry.at} does not hold any more: {drift}"
    return None, reason


def _load_plan(
    services: Services, release: Entry, wanted: str, environment: str
) -> tuple[Entry, RolloutPlan]:
    for entry, plan in _plans(services, release):
        if plan_hash(plan) == wanted:
            return entry, plan
    raise RefusedError(
        f"the ledger holds no trusted plan {wanted} of {release.subject}",
        fix=f"make one: {render_command(environment, 'plan', release.subject)}; then approve that one",
    )


def _plans(services: Services, release: Entry) -> Iterator[tuple[Entry, RolloutPlan]]:
    """The plans of this very content of the release that count, newest first."""
    for entry, plan in find_plans(services, release.subject):
        if plan.release_signature == release.signature:
            yield entry, plan


def _ask(
    services: Services, release: Entry, condition: str, environment: str, plan: str, *, before: str = ""
) -> GateQuestion:
    """The question about the release's start, with what became since of it and of others of the model, by the
    entries `before` that one."""
    ledger = services.ledger
    entries = [one for one in ledger.all_entries() if not before or one.id < before]
    where = (release.body.get("model"), environment, condition)
    starts = [
        one
        for one in entries
        if one.kind == "rollout"
        and (one.body.get("model"), one.body.get("environment"), one.body.get("condition")) == where
    ]
    starts = trusted(services, starts)
    ours = {one.subject for one in starts if one.body.get("release") == release.subject}
    orders = [one for one in entries if one.kind == "order" and one.subject in ours]
    reverts = [one for one in trusted(services, orders) if one.body.get("order") == "revert"]
    others = [one for one in starts if one.body.get("release") != release.subject]
    return GateQuestion(
        release,
        ledger.distrust(release),
        environment,
        condition,
        plan,
        newer=next(reversed(others), None),
        reverted=next(reversed(reverts), None),
        keys=ledger.trusted(),
    )


def _weigh_words(services: Services, words: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Each with why it does not count, or ""; RefusedError where this machine lacks a key to tell."""
    counting = {one.id for one in trusted(services, words)}
    return [(one, "" if one.id in counting else services.ledger.distrust(one)) for one in words]


def _refuse_futile(offer: Offer, by: str) -> None:
    problem = judge_approver(by, offer.release, offer.policy, offer.people)
    if problem:
        raise RefusedError(
            problem, fix="another person approves; the settings gate.approvers and gate.self_approval say who"
        )
    lacking = find_shutting(offer.evidence, offer.policy)
    if lacking:
        raise RefusedError(
            f"the evidence of {offer.release.subject} is not enough: {render_fact(lacking)}",
            fix="mend it and release again; the settings gate.evidence and gate.metrics say what must hold",
        )
    _refuse_blocked(offer)


def _refuse_blocked(offer: Offer) -> None:
    if block := _find_block(offer.plan):
        raise RefusedError(
            f"the plan of {offer.release.subject} cannot be carried out: {block.problem}", fix=block.fix
        )


def _find_block(plan: RolloutPlan) -> Conflict | None:
    return next(iter(plan.obstacles), None)


def _body(services: Services, offer: Offer, decision: str) -> dict[str, Any]:
    expires_at = datetime.fromtimestamp(services.now(), UTC) + timedelta(seconds=offer.policy.max_age_s)
    body = {
        "release": offer.release.subject,
        "release_signature": offer.release.signature,
        "environment": offer.plan.environment,
        "target_condition": offer.plan.condition,
        "plan": offer.hash,
        "decision": decision,
        "expires_at": expires_at.isoformat(timespec="seconds"),
        "evidence": [render_fact(fact) for fact in offer.evidence],
    }
    return {**body, "rollout": offer.rollout, "wave": offer.wave} if offer.rollout else body


def _render_bound(body: Mapping[str, Any]) -> str:
    environment = f"{body['environment']}: " if body.get("environment") else ""
    plan = str(body.get("plan") or "none").removeprefix("sha256:")[:12]
    wave = f", wave {body['wave']}" if body.get("wave") else ""
    return f"{body.get('release')} and {environment}{body.get('target_condition')!r} by plan {plan}{wave}"
