"""One rollout under a clock that jumps: the true decisions, on a fleet in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.rollouts.world import NEW, T0, World, twin_of
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow_device import Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_action import (
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
from edgeferry.domain.rollout_decision import Look, decide, needs_evidence
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy, parse_policy
from edgeferry.domain.rollout_record import render_judged, render_soaking, render_started
from edgeferry.domain.rollout_state import Phase, RolloutState, fold
from edgeferry.domain.wave import cut_waves, parse_tag, parse_waves, read_member

POLICY = {
    "rollout.waves": "18; 20 %; 100 %",
    "rollout.success": "80 %",
    "rollout.errors": "1 or 2 %",
    "rollout.soak_s": "300",
    "rollout.stratum": "tags.kind",
    "rollout.timeout_s": "180",
}
PACE = Pace(trial=TrialRules(window_s=120))
CONDITION = "tags.edgeferry = true"
HISTORY_S = 600.0
"""For so long the predecessor has served when the rollout begins."""
LOOK_S = 5.0
"""Between two looks while devices have yet to prove the release."""
SOAK_LOOK_S = 60.0
HELD_LOOK_S = 240.0
HELD_S = 2400.0
"""Whoever holds the simulated rollout lets it be judged anew for so long, and then leaves it held."""


@dataclass
class Story:
    """How a simulated rollout went."""

    decisions: list[str] = field(default_factory=list)
    """`start 1`, `soak 1`, `pass 1`, `hold`, `roll back`, `commit`: each once in a row."""
    exposed: int = 0
    exposed_rare: int = 0
    rare: int = 0
    devices: int = 0
    end: str = "held"
    """`committed`, `rolled back` or `held`."""
    reason: str = ""
    lasted_s: float = 0.0

    def note(self, decision: str) -> None:
        if not self.decisions or self.decisions[-1] != decision:
            self.decisions.append(decision)

    @property
    def was_held(self) -> bool:
        return "hold" in self.decisions


def make_plan(twins: Sequence[dict]) -> RolloutPlan:
    """The plan for these devices by POLICY, without what only a hub tells."""
    stratum = parse_tag(POLICY["rollout.stratum"])
    members = [read_member(twin, stratum) for twin in twins]
    return RolloutPlan(
        release=f"taxi-v2-{NEW[7:15]}",
        release_signature="",
        environment="",
        condition=CONDITION,
        layer="layer-b",
        content_sha256="",
        waves=cut_waves(CONDITION, members, parse_waves(POLICY["rollout.waves"]), stratum),
        strata={each.device: each.stratum for each in members},
        groups={},
        gained=tuple(each.device for each in members),
        lost=(),
        unchanged=(),
        policy=POLICY,
    )


class Simulation:
    """A rollout on `devices` hollow ones."""

    def __init__(self, seed: int, devices: int, faults: Sequence[Fault]) -> None:
        twins = [twin_of(seed, number) for number in range(1, devices + 1)]
        self.world = World(seed, twins, faults, PACE)
        self.plan = make_plan(twins)
        self.policy: RolloutPolicy = parse_policy(POLICY)
        self.now_s = T0 + HISTORY_S
        self.story = Story(devices=devices, rare=sum(twin["tags"]["kind"] == "rare" for twin in twins))
        self._entries: list[Entry] = []
        body = {"release": self.plan.release, "model": "taxi", "plan": "", "nonce": "nonce", "digest": NEW}
        self._append("rollout", {**body, "layer": self.plan.layer, "policy": POLICY})

    def run(self) -> Story:
        """The story from the first wave to the end, or until it was held for too long."""
        began_s, held_since = self.now_s, None
        while True:
            state = fold(self._entries)
            look = self._look(state)
            action = decide(state, self.plan, self.policy, look, self.now_s)
            pause_s = 0.0
            match action:
                case StartWave(wave=wave):
                    self.story.note(f"start {wave}")
                    self._append("wave", render_started(action))
                case Repair(condition=condition):
                    self.world.condition = condition
                    self._expose(state.wave)
                case Soak(wave=wave):
                    self.story.note(f"soak {wave}")
                    self._append("wave", render_soaking(action))
                case JudgeWave(verdict=verdict):
                    self.story.note(f"{verdict.state} {verdict.wave}")
                    self.story.reason = verdict.reason
                    self._append("wave", render_judged(verdict))
                case Commit() | End():
                    return self._end(action, began_s)
                case RollBack(reason=reason):
                    self.story.note("roll back")
                    self.story.reason = reason
                    self.world.condition = None
                case Hold(reason=reason):
                    self.story.note("hold")
                    self.story.reason = reason
                    held_since = held_since or self.now_s
                    if self.now_s - held_since >= HELD_S:
                        self.story.lasted_s = self.now_s - began_s
                        return self.story
                    pause_s = HELD_LOOK_S
                case Wait(until_s=until_s):
                    usual_s = LOOK_S if state.phase is Phase.ROLLING else SOAK_LOOK_S
                    pause_s = max(0.001, min(usual_s, until_s - self.now_s))
                case AskApproval():
                    raise AssertionError("nobody is there to be asked")
            self.now_s += pause_s

    def _look(self, state: RolloutState) -> Look:
        exposed = [device for wave in self.plan.waves[: state.wave] for device in wave.members]
        compares = needs_evidence(state, self.policy) and state.phase is not Phase.ROLLING
        others = set(self.plan.strata) - set(exposed) if compares else set()
        deadline_s = state.wave_started_at + self.policy.timeout_s
        return self.world.look(exposed, others, self.now_s, deadline_s, compares=compares)

    def _expose(self, wave: int) -> None:
        members = self.plan.waves[wave - 1].members
        self.world.expose(members, self.now_s)
        self.story.exposed += len(members)
        self.story.exposed_rare += sum(self.plan.strata[device] == "rare" for device in members)

    def _end(self, action: Commit | End, began_s: float) -> Story:
        self.story.end = "committed" if isinstance(action, Commit) else "rolled back"
        self.story.note("commit" if action.state is State.SUCCEEDED else f"end {action.state}")
        self.story.reason = action.reason
        self.story.lasted_s = self.now_s - began_s
        return self.story

    def _append(self, kind: str, body: dict) -> None:
        at = datetime.fromtimestamp(self.now_s, UTC).isoformat()
        self._entries.append(Entry(str(len(self._entries)), kind, "rollout-1", at, "bench", body, "", ""))
