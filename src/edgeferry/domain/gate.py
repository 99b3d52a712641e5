"""The gate: whether a release may be rolled out by a plan. Pure.

A yes is given to a plan: it counts for that plan's hash only, and while it is young. A no is about the
release and the devices: it shuts the gate whatever the plan or the wave, and only a yes given after it counts
again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from edgeferry.domain.approval import find_given, find_people, is_pipeline, render_origin
from edgeferry.domain.gate_evidence import EvidenceFact, find_shutting, render_fact
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import People, know_people
from edgeferry.domain.release import Entry
from edgeferry.domain.typed import render_command

_SKEW = timedelta(minutes=10)
"""How far the clocks of two machines that sign may be apart."""
_APPROVE = "a person approves with: "
"""What a fix begins with that asks for a person's word; the command follows."""


@dataclass(frozen=True)
class GateQuestion:
    """What is asked: this release, by this plan, on these devices of this environment."""

    release: Entry
    release_distrust: str
    """Why the release's signature does not count; "" when it does."""
    environment: str
    """Its name; "" for none. Environments may share a ledger, and one condition picks others in each."""
    condition: str
    plan: str
    """The plan's hash."""
    rollout: str = ""
    """Between waves: the rollout's id; "" before it starts."""
    wave: int = 0
    """Between waves: the wave that shall start."""
    newer: Entry | None = None
    """The last start of a rollout of another release of the model to the same devices: a yes from before it
    was about other times."""
    reverted: Entry | None = None
    """The last order that took this release back from these devices: a yes from before it is used up."""
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The keys that count, by author: one key is one person."""


@dataclass(frozen=True)
class Decision:
    """The gate's word: open with who approved, or shut with why and what to do."""

    open: bool
    reason: str
    fix: str = ""
    approvals: tuple[Entry, ...] = ()
    plan_entry: Entry | None = None
    """The plan that was approved, as the ledger holds it."""


def judge_gate(
    question: GateQuestion,
    approvals: Sequence[tuple[Entry, str]],
    evidence: Sequence[EvidenceFact],
    policy: GatePolicy,
    now_at: datetime,
) -> Decision:
    """Open when the evidence is good and, since the last no, as many people as the policy asks for said yes.

    `approvals` pairs each approval entry of the ledger, oldest first, with why its signature does not
    count ("" when it does). Whose word an entry is, says `domain/approval.py`.
    """
    release = question.release
    if question.release_distrust:
        return Decision(
            False,
            f"release {release.subject} cannot be trusted: {question.release_distrust}",
            fix="check who wrote it, then release again",
        )
    lacking = find_shutting(evidence, policy)
    if lacking:
        return Decision(
            False,
            f"the evidence of {release.subject} is not enough: {render_fact(lacking)}",
            fix=f"see it: {render_command(question.environment, 'releases', 'show', release.subject)}; the "
            "settings gate.evidence and gate.metrics say what must be there",
        )
    known = _know_people(question, approvals)
    voices: dict[str, Entry] = {}
    no: Entry | None = None
    ignored = ""
    for approval, distrust in approvals:
        if approval.body.get("release") != release.subject:
            continue
        said_yes = approval.body.get("decision") == "yes"
        problem = distrust and f"the approval by {approval.author} does not count: {distrust}"
        problem = problem or _find_other_matter(question, approval)
        if said_yes:
            problem = problem or _find_other_plan(question, approval) or _find_age(approval, policy, now_at)
        people, refused = _count_people(approval, release, policy, known, voices, said_yes=said_yes)
        if problem or not people:
            ignored = problem or refused
        elif said_yes:
            voices |= dict.fromkeys(people, approval)
        else:
            voices, no = {}, approval
    if len(voices) >= policy.approvals:
        words = tuple({entry.id: entry for entry in voices.values()}.values())
        reason = "approved by " + " and ".join(
            f"{_render_people(word, voices)}{render_origin(word)}, at {word.at}" for word in words
        )
        return Decision(True, reason, approvals=words)
    if no is not None and not voices:
        return Decision(
            False,
            f"{' and '.join(find_people(no))} said no to release {release.subject} at {no.at}",
            fix="mend the model and release again, or ask for a new approval",
        )
    return Decision(False, *_render_shut(question, voices, policy, ignored))


def judge_approver(person: str, release: Entry, policy: GatePolicy, people: People) -> str:
    """Why this person's yes to this release could not count in this environment, or ""."""
    if is_pipeline(person):
        return f"{person} is a pipeline and names no person who approved"
    if policy.approvers and person not in policy.approvers:
        return f"{person} may not approve here, only {', '.join(sorted(policy.approvers))}"
    if policy.self_approval or people.id_of(person) != people.id_of(release.author):
        return ""
    by_key = (
        "" if person.casefold() == release.author.casefold() else f" as {release.author}, with the same key"
    )
    return f"{person} made this release{by_key}, and nobody approves their own here"


def name_approver(fix: str, policy: GatePolicy, user: str) -> str:
    """What opens the gate, with that person's name where their own yes would count: without one, `approve`
    asks whoever types it, in their name."""
    if not fix.startswith(_APPROVE) or not policy.self_approval or is_pipeline(user):
        return fix
    return f"{fix} --by {shlex.quote(user)}" if user in (policy.approvers or {user}) else fix


def needs_person(fix: str) -> bool:
    """Whether what opens the gate is a person's word."""
    return fix.startswith(_APPROVE)


def _find_other_matter(question: GateQuestion, approval: Entry) -> str:
    """Why the word is about something else than this release on these devices, or ""."""
    body, who = approval.body, " and ".join(find_people(approval)) or approval.author
    if body.get("release_signature") != question.release.signature:
        return f"the approval by {who} is for another content of this release"
    environment = body.get("environment", "")
    if environment != question.environment:
        return (
            f"{who} approved it for {environment or 'no environment'}, not {question.environment or 'none'}"
        )
    condition = body.get("target_condition")
    if condition != question.condition:
        return f"{who} approved it for {condition!r}, not {question.condition!r}"
    rollout, wave = body.get("rollout", ""), body.get("wave", 0)
    plain_no = body.get("decision") != "yes" and not rollout
    if (rollout, wave) != (question.rollout, question.wave) and not plain_no:
        asked = (
            f"wave {question.wave} of {question.rollout}" if question.rollout else "the start of a rollout"
        )
        given = f"wave {wave} of {rollout}" if rollout else "the start of a rollout"
        return f"the word of {who} is for {given}, not for {asked}"
    return ""


def _find_other_plan(question: GateQuestion, approval: Entry) -> str:
    who = " and ".join(find_people(approval)) or approval.author
    plan = approval.body.get("plan")
    if plan != question.plan:
        return f"{who} approved another plan: {_short(plan)}, not {_short(question.plan)}"
    taken = question.reverted
    if taken is not None and approval.id < taken.id:
        why = f": {taken.body['reason']}" if taken.body.get("reason") else ""
        return f"{taken.author} took it back at {taken.at}{why}; {who} approved it before that"
    newer = question.newer
    if newer is not None and approval.id < newer.id:
        return f"{who} approved it before {newer.body.get('release')} was rolled out there, at {newer.at}"
    return ""


def _find_age(approval: Entry, policy: GatePolicy, now_at: datetime) -> str:
    """Why the yes is too old by its own word or the policy's, or ""."""
    who = " and ".join(find_people(approval)) or approval.author
    try:
        given_at = min(map(datetime.fromisoformat, (approval.at, find_given(approval))))
        expires_at = datetime.fromisoformat(str(approval.body.get("expires_at")))
        expired, early = now_at >= expires_at, given_at > now_at + _SKEW
        old = now_at - given_at > timedelta(seconds=policy.max_age_s)
    except (ValueError, TypeError):
        return f"the approval by {who} does not say when it expires"
    if expired:
        return f"the approval by {who} expired at {approval.body['expires_at']}"
    if old:
        return f"the approval by {who}, at {approval.at}, is older than {policy.max_age_s / 3600:g} h"
    return f"the approval by {who} is dated in the future, {approval.at}" if early else ""


def _know_people(question: GateQuestion, approvals: Sequence[tuple[Entry, str]]) -> People:
    """Who is who, by the keys that count and by who has signed what with which."""
    signed = [(one.author, one.key) for one, distrust in approvals if not distrust]
    return know_people(question.keys, [*signed, (question.release.author, question.release.key)])


def _count_people(
    approval: Entry,
    release: Entry,
    policy: GatePolicy,
    known: People,
    voices: Mapping[str, Entry],
    *,
    said_yes: bool,
) -> tuple[tuple[str, ...], str]:
    """Whose word it is of those who may speak, and why it is nobody's. Anybody who may approve may say no to
    their own release."""
    named = find_people(approval)
    if not named:
        return (), f"{approval.author} is a pipeline and names no person who approved"
    rule = policy if said_yes else replace(policy, self_approval=True)
    counted = {known.id_of(person): person for person in voices}
    people, refused = [], ""
    for person in named:
        problem = judge_approver(person, release, rule, known)
        already = counted.setdefault(known.id_of(person), person)
        if not problem and said_yes and already.casefold() != person.casefold():
            problem = f"{person} is {already} by another name"
        refused = refused or problem
        people += [] if problem else [already]
    return tuple(people), refused


def _render_shut(
    question: GateQuestion, voices: Mapping[str, Entry], policy: GatePolicy, ignored: str
) -> tuple[str, str]:
    """The problem and the fix where too few have said yes."""
    release = question.release
    if voices:
        count = f"{len(voices)} of {policy.approvals} approvals ({', '.join(sorted(voices))})"
        problem = f"release {release.subject} has {count} for {question.condition!r}"
    else:
        problem = f"release {release.subject} is not approved for {question.condition!r}"
    if question.rollout:
        problem += f", wave {question.wave} of {question.rollout}"
        words: tuple[str, ...] = (question.rollout, "--wave", str(question.wave))
    else:
        words = (release.subject, "-t", question.condition)
    command = render_command(question.environment, "approve", *words)
    return f"{problem}: {ignored}" if ignored else problem, f"{_APPROVE}{command}"


def _render_people(approval: Entry, voices: Mapping[str, Entry]) -> str:
    return " and ".join(person for person, entry in voices.items() if entry is approval)


def _short(plan: object) -> str:
    return str(plan).removeprefix("sha256:")[:12] if plan else "none"
