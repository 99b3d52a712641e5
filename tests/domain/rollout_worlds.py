"""A pure world for rollouts: a ledger, a hub's layer and devices, moved by what `decide` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_action import (
    Action,
    AskApproval,
    Commit,
    End,
    Hold,
    JudgeWave,
    Repair,
    RollBack,
    Soak,
    StartWave,
    Wait,
)
from edgeferry.domain.rollout_decision import Look, decide
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy
from edgeferry.domain.rollout_record import render_judged, render_soaking, render_started
from edgeferry.domain.rollout_state import RolloutState, fold
from edgeferry.domain.wave import Wave

START_S = 1_700_000_000.0
ID = "taxi-v2-bbbbbbbb-n0n0n0n0"
RELEASE = "taxi-v2-bbbbbbbb"
NEW = "sha256:" + "b" * 64
OLD = "sha256:" + "a" * 64

OutcomeOf = Callable[[str, float], Outcome]
"""Of a device, so many seconds after the release reached it."""


def a_plan(*sizes: int, strata: Mapping[str, str] | None = None, groups: int = 0) -> RolloutPlan:
    """A plan whose waves add so many devices each, named d1, d2 …; in strata as given, or in none."""
    names = [f"d{number}" for number in range(1, sum(sizes) + 1)]
    waves, first = [], 0
    for number, size in enumerate(sizes, 1):
        members = tuple(names[first : first + size])
        waves.append(Wave(number, f"{size}", f"wave {number}", members, {}))
        first += size
    return RolloutPlan(
        release=RELEASE,
        release_signature="signed",
        environment="",
        condition=f"wave {len(sizes)}",
        layer="layer",
        content_sha256="content",
        waves=tuple(waves),
        strata={name: (strata or {}).get(name, "") for name in names},
        groups={name: f"g{place % groups}" if groups else "" for place, name in enumerate(names)},
        gained=tuple(names),
        lost=(),
        unchanged=(),
    )


def an_entry(kind: str, body: Mapping, at_s: float, *, number: int = 0) -> Entry:
    at = datetime.fromtimestamp(at_s, UTC).isoformat()
    plain = json.loads(json.dumps(body))  # as it would be read again
    return Entry(f"{kind}/{ID}-{number}", kind, ID, at, "ana", plain, "key", "signature")


def a_start(at_s: float = START_S) -> Entry:
    body = {
        "release": RELEASE,
        "model": "taxi",
        "environment": "",
        "plan": "sha256:plan",
        "nonce": "nonce",
        "layer": "layer",
        "digest": NEW,
        "policy": {},
    }
    return an_entry("rollout", body, at_s)


def succeeds(device: str, after_s: float) -> Outcome:
    """Every device has proven the release within two seconds."""
    if after_s < 2:
        return Outcome(device, State.PENDING, "it pulls")
    return Outcome(device, State.SUCCEEDED, "12 smoke cases passed", NEW)


@dataclass
class World:
    """What a controller reads and moves."""

    plan: RolloutPlan
    policy: RolloutPolicy
    outcome_of: OutcomeOf = succeeds
    evidence_of: Callable[[str, bool, float], DeviceEvidence] | None = None
    """Of a device, whether it has the release, at a time."""
    now_s: float = START_S
    entries: list[Entry] = field(default_factory=lambda: [a_start()])
    condition: str | None = None
    reached_at: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    approved: set[int] = field(default_factory=set)
    generations: dict[str, str] = field(default_factory=dict)
    committed: int = 0
    log: list[Action] = field(default_factory=list)
    tick_s: float = 1.0

    @property
    def state(self) -> RolloutState:
        return replace(fold(self.entries), approved_waves=frozenset(self.approved))

    def targeted(self) -> frozenset[str]:
        if self.condition is None:
            return frozenset()
        waves = self.plan.waves[: int(self.condition.split()[1])]
        return frozenset(device for wave in waves for device in wave.members) - self.gone

    def look(self) -> Look:
        targeted = self.targeted()
        for device in targeted:
            self.reached_at.setdefault(device, self.now_s)
        outcomes = {
            device: self.outcome_of(device, self.now_s - self.reached_at[device])
            for device in sorted(targeted)
        }
        for device in self.gone & self.reached_at.keys():  # as the last word of a deleted one may linger
            outcomes[device] = Outcome(device, State.UNREACHABLE, "the hub told nothing of it")
        evidence = {}
        if self.evidence_of:
            for device in set(self.plan.strata) - self.gone:
                evidence[device] = self.evidence_of(device, device in targeted, self.now_s)
        generations = {device: self.generations.get(device, "1") for device in targeted}
        return Look(outcomes, evidence, targeted, self.condition, generations)

    def replace(self, device: str) -> None:
        """Another machine has its name from now on, and all yet to do."""
        self.generations[device] = str(int(self.generations.get(device, "1")) + 1)
        self.reached_at[device] = self.now_s

    def decide(self) -> Action:
        return decide(self.state, self.plan, self.policy, self.look(), self.now_s)

    def order(self, order: str, reason: str = "", *, by: str = "") -> None:
        self.append("order", {"order": order, "reason": reason})
        if by:
            self.entries[-1] = replace(self.entries[-1], author=by)

    def approve(self, wave: int) -> None:
        """As the gate says that people have."""
        self.approved.add(wave)

    def append(self, kind: str, body: Mapping) -> None:
        self.entries.append(an_entry(kind, body, self.now_s, number=len(self.entries)))

    def write(self, action: Action) -> None:
        """The ledger's half of an action."""
        match action:
            case StartWave():
                self.append("wave", render_started(action))
            case Soak():
                self.append("wave", render_soaking(action))
            case JudgeWave(verdict=verdict):
                self.append("wave", render_judged(verdict))
            case Commit(state=state, reason=reason) | End(state=state, reason=reason):
                self.committed += isinstance(action, Commit)
                self.append("end", {"state": str(state), "reason": reason, "devices": {}})

    def carry_out(self, action: Action) -> None:
        """The hub's half."""
        match action:
            case Repair(condition=condition):
                self.condition = condition
            case RollBack():
                self.condition = None

    def step(self) -> Action:
        """One decision, carried out; time passes only while there is nothing to do."""
        action = self.decide()
        self.log.append(action)
        self.write(action)
        self.carry_out(action)
        if isinstance(action, Wait | Hold | AskApproval):
            self.now_s += self.tick_s
        return action

    def run(self, most_s: float = 10_000) -> RolloutState:
        """Until it has ended, or holds or asks, or time is up."""
        until_s = self.now_s + most_s
        while self.now_s < until_s:
            action = self.step()
            if isinstance(action, Hold | AskApproval) or self.state.end:
                break
        return self.state

    def started(self) -> list[int]:
        return [e.body["wave"] for e in self.entries if e.body.get("event") == "started"]
