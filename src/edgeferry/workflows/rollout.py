"""Rollout: what is approved goes to its devices wave by wave, and is committed when proven, or taken back.

A loop around a pure decision (`domain/rollout_decision.py`): read the ledger, look at the hub, decide; write
the decision into the ledger, or carry out at the hub what the ledger says. Whoever takes a rollout up finds
both, so a controller may die anywhere. An entry is written only where the ledger says of this rollout just
what the decision went by, so of two controllers one starts a wave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate import Decision
from edgeferry.domain.gate_policy import GatePolicy
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
from edgeferry.domain.rollout_decision import Look, decide, find_reached, needs_evidence
from edgeferry.domain.rollout_need import render_fix, render_look
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy
from edgeferry.domain.rollout_record import Serving, render_end, render_judged, render_soaking, render_started
from edgeferry.domain.rollout_state import Phase, RolloutState
from edgeferry.domain.typed import render_choices
from edgeferry.errors import OutsideError, RefusedError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.approve import ask_gate
from edgeferry.workflows.clock import require_clock
from edgeferry.workflows.lease import LEASE_S, Lease, leased
from edgeferry.workflows.placing import (
    await_previous,
    collect_older,
    lay_ground,
    place_layer,
    take_away,
)
from edgeferry.workflows.reports import POLL_S, SLOW_S
from edgeferry.workflows.rollouts import KINDS, first_trusted, load_record, outcomes_of, serving_of
from edgeferry.workflows.sight import Sight
from edgeferry.workflows.watch import wanted_of

ORDERS_S = 2.0
"""How soon a person's order is read."""


@dataclass(frozen=True)
class RolloutResult:
    """How a rollout ended, or where it stopped."""

    release: str
    layer: str
    state: State
    reason: str
    outcomes: tuple[Outcome, ...]
    changed: bool
    """Whether this rollout put a new layer on the hub."""
    fix: str = ""
    rollout: str = ""
    """Its id in the ledger; "" where nothing was begun."""
    serving: Serving | None = None
    """What serves instead, where it was taken back."""


@dataclass(frozen=True)
class Running:
    """A rollout that was begun, and with what."""

    id: str
    release: Entry
    plan: RolloutPlan
    policy: RolloutPolicy
    layer: ModelLayer
    """Its target condition is that of all waves."""
    fleet: Fleet
    gate: GatePolicy
    """For approvals between waves: as the environment has it now."""
    problem: str = ""
    """Why no wave of it may be on the hub: nobody approved what it was begun with; "" when they did."""


_OnChange = Callable[[Outcome], None]


def drive(
    services: Services,
    running: Running,
    *,
    user: str,
    on_change: _OnChange,
    wait_s: float = 0,
    patient: bool = False,
    lease_s: float = LEASE_S,
) -> RolloutResult:
    """The rollout's end, or where it stopped for a person after `wait_s` at least; a `patient` one goes on
    when the person has decided. While another controller goes on with it, its end is awaited."""
    with leased(services, lease_name(running.layer.model, running.fleet), lease_s) as lease:
        return _Drive(services, running, user, on_change, lease, wait_s, patient).run()


def lease_name(model: str, fleet: Fleet) -> str:
    """One rollout of a model at a time in an environment."""
    return f"{model}{fleet.suffix}"


class _Drive:
    def __init__(
        self,
        services: Services,
        running: Running,
        user: str,
        on_change: _OnChange,
        lease: Lease,
        wait_s: float,
        patient: bool,
    ) -> None:
        self._services = services
        self._running = running
        self._user = user
        self._on_change = on_change
        self._lease = lease
        self._wait_s = wait_s
        self._patient = patient
        wanted = wanted_of(running.release, running.layer)
        self._sight = Sight(services, wanted, running.layer, on_change, lease.hold)
        self._began_s = self._answered_s = services.now()
        self._read()
        self._rests_until_s = -math.inf
        self._rests_at = 0
        """So many entries the ledger had of it when the rest began."""
        self._changed = False
        self._said = ""
        self._unwritten = ""
        """Why the release has failed, while that is not in the ledger yet."""
        self._needed = ""
        """What lets the wave start that the gate was asked for."""

    def run(self) -> RolloutResult:
        devices = len(self._running.plan.targeted)
        with self._services.work(
            f"roll out {self._running.layer.model}", devices, "devices"
        ) as self._advance:
            return self._run()

    def _run(self) -> RolloutResult:
        while True:
            try:
                result, pause_s = self._step()
            except OutsideError as error:
                if not error.retryable or self._services.now() >= self._patience_ends_s:
                    self._give_up(error)
                    raise
                result, pause_s = None, POLL_S
            else:
                self._answered_s = self._services.now()
            if result:
                return result
            if pause_s:
                self._services.sleep(pause_s)

    def _give_up(self, error: OutsideError) -> None:
        """Whoever is to know is told, and what to do about a bad release that nothing takes back."""
        self._alarm("failed", f"nobody goes on with it: {error.problem}")
        if self._unwritten:
            what = f"{self._running.id} has failed and is not taken back before the ledger says so"
            by_hand = {"by hand": ("deployments", "delete", self._running.layer.name)}
            self._say(f"{what}: {self._unwritten}; {self._fix(by_hand)}")

    def _step(self) -> tuple[RolloutResult | None, float]:
        """The result, where it ended or stopped; else how long to wait before the next step."""
        services = self._services
        if services.now() - self._read_s >= ORDERS_S:
            self._read()
        if self._record.ended:
            return self._ended(), 0
        if not self._lease.hold():
            self._say(f"another controller goes on with {self._running.id}")
            self._read()
            return None, SLOW_S / 2
        state = self._record.state
        now_s = services.now()
        if now_s < self._rests_until_s and len(self._record.entries) == self._rests_at:
            return None, min(SLOW_S, self._rests_until_s - now_s)
        look = self._look(state, now_s)
        self._advance(sum(each.state is not State.PENDING for each in look.outcomes.values()))
        require_clock(services)
        action = self._decide(state, look, now_s)
        if isinstance(action, Commit) or (isinstance(action, JudgeWave) and action.verdict.state == "pass"):
            look = self._look(state, now_s, once_more=True)  # what was green a while ago has to be green now
            action = self._decide(state, look, now_s)
        if isinstance(action, AskApproval):
            gate = self._ask_gate(action.wave)
            self._needed = gate.fix
            if gate.open:
                state = replace(state, approved_waves=state.approved_waves | {action.wave})
                action = self._decide(state, look, now_s)
        return self._act(action, state, look)

    def _act(self, action: Action, state: RolloutState, look: Look) -> tuple[RolloutResult | None, float]:
        if self._running.problem and isinstance(action, StartWave | Repair | Commit):
            raise RefusedError(
                f"{self._running.id} goes no further: {self._running.problem}",
                fix=self._fix({"take it back": ("rollouts", "revert", self._running.id)})
                + "; then let people approve, and begin anew",
            )
        match action:
            case StartWave():
                self._say(f"{self._running.id}: wave {action.wave} starts: {action.reason}")
                self._append("wave", render_started(action))
            case Repair(condition=condition):
                self._place(state.wave, condition)
            case Soak():
                self._say(f"{self._running.id}: wave {action.wave} soaks: {action.reason}")
                self._append("wave", render_soaking(action))
            case JudgeWave(verdict=verdict):
                self._say(f"{self._running.id}: wave {verdict.wave}: {verdict.state}: {verdict.reason}")
                self._unwritten = verdict.reason if verdict.state == "fail" else ""
                if self._append("wave", render_judged(verdict)) and verdict.state == "fail":
                    self._alarm("failed", verdict.reason)
                self._unwritten = ""
            case Commit(state=ended, reason=reason):
                collect_older(self._services, self._running.layer, self._running.fleet)
                self._end(ended, reason, find_reached(look))
            case RollBack(reason=reason):
                self._say(f"{self._running.id} is taken back: {reason}")
                self._services.say(take_away(self._services, self._running.layer, self._running.fleet))
                self._sight.forget_aim()
            case End(state=ended, reason=reason):
                self._end(ended, *self._settle(reason, state, look))
            case Wait(until_s=until_s, reason=reason):
                self._say(f"{self._running.id} waits: {reason}")
                return None, self._pause(state, until_s)
            case Hold(state=word, reason=reason):
                return self._stop("held", word, reason, look), self._pause(state, math.inf)
            case AskApproval(reason=reason):
                said = self._stop("approval needed", State.PENDING, reason, look)
                return said, self._pause(state, math.inf)
        return None, 0

    def _place(self, wave: int, condition: str) -> None:
        """The hub has what the ledger says of this wave."""
        services, running = self._services, self._running
        lay_ground(services, running.release, running.fleet, running.plan.waves[wave - 1].members)
        change = place_layer(
            services,
            running.release,
            running.layer,
            condition,
            running.fleet,
            still=lambda: not self._is_over() and self._record.state.wave == wave,
            over=self._is_over,
            content_sha256=running.plan.content_sha256,
        )
        self._changed |= change in ("created", "updated")
        self._sight.forget_aim()

    def _is_over(self) -> bool:
        """Whether the layer has no business at the hub any more, by the ledger as it is now."""
        return self._read().phase in (Phase.ENDED, Phase.REVERTING)

    def _look(self, state: RolloutState, now_s: float, *, once_more: bool = False) -> Look:
        plan, policy = self._running.plan, self._running.policy
        exposed = [member for wave in plan.waves[: state.wave] for member in wave.members]
        others = plan.targeted - set(exposed) if needs_evidence(state, policy) else ()
        late = now_s >= self._deadline
        if once_more:
            return self._sight.look_again(exposed, others, late=late)
        again = state.phase in (Phase.SOAKING, Phase.WAITING, Phase.HELD)
        return self._sight.look(exposed, others, late=late, again=again)

    def _decide(self, state: RolloutState, look: Look, now_s: float) -> Action:
        return decide(state, self._running.plan, self._running.policy, look, now_s)

    def _ask_gate(self, wave: int) -> Decision:
        """Whether the wave may start: as many people as the gate asks for have said so."""
        running = self._running
        return ask_gate(
            self._services,
            running.release,
            self._record.state.plan_hash,
            running.gate,
            running.fleet.environment,
            rollout=running.id,
            wave=wave,
        )

    @property
    def _deadline(self) -> float:
        """When each device's last word counts, Unix seconds: who takes a rollout up gives it time."""
        wave_s = self._record.state.wave_started_at + self._running.policy.timeout_s
        return max(wave_s, self._began_s + self._wait_s)

    @property
    def _patience_ends_s(self) -> float:
        """How long hub and ledger may be silent: what soaks, waits or is taken back outlives its deadline."""
        return max(self._deadline, self._answered_s + self._running.policy.timeout_s)

    def _pause(self, state: RolloutState, until_s: float) -> float:
        """How long to wait for the next step; the next look may come later than that."""
        now_s = self._services.now()
        exposed = sum(len(wave.members) for wave in self._running.plan.waves[: state.wave])
        fast = self._sight.is_few(exposed) and state.phase is Phase.ROLLING
        left_s = min(until_s, self._deadline if now_s < self._deadline else math.inf) - now_s
        pause_s = self._sight.pause_s(POLL_S if fast else SLOW_S, left_s)
        self._rests_until_s, self._rests_at = now_s + pause_s, len(self._record.entries)
        return min(pause_s, SLOW_S)

    def _read(self) -> RolloutState:
        self._record = load_record(self._services, self._running.id, self._running.gate)
        self._read_s = self._services.now()
        return self._record.state

    def _append(self, kind: str, body: Json) -> bool:
        """Whether the entry is ours: not when the ledger said more of this rollout than we had decided upon;
        what it says then is known now."""
        known = {entry.id for entry in self._record.entries}

        def found(entries: Sequence[Entry]) -> Entry | None:
            news = (e for e in entries if e.kind in KINDS and e.subject == self._running.id)
            return first_trusted(self._services, (e for e in news if e.id not in known))

        _, new = self._services.ledger.append_unless(kind, self._running.id, body, self._user, found)
        self._read()
        return new

    def _end(
        self, state: State, reason: str, outcomes: Mapping[str, Outcome], serving: Serving | None = None
    ) -> None:
        ours = self._append("end", render_end(state, reason, outcomes.values(), serving))
        if ours and state is not State.SUCCEEDED:
            self._alarm("failed", reason)

    def _settle(
        self, reason: str, state: RolloutState, look: Look
    ) -> tuple[str, Mapping[str, Outcome], Serving | None]:
        """The reason, the outcomes, and what serves on the devices after the layer was taken back."""
        if state.phase is not Phase.REVERTING:
            return reason, look.outcomes, None
        running = self._running
        settled, serving = await_previous(
            self._services,
            running.layer,
            running.plan.condition,
            running.fleet,
            list(look.outcomes),
            running.policy.timeout_s,
            self._on_change,
        )
        reason = f"{reason}; the layer {running.layer.name} was removed, {settled}"
        return reason, look.outcomes, serving

    def _stop(self, what: str, word: State, reason: str, look: Look) -> RolloutResult | None:
        """The result of a rollout that stops for a person, unless it is waited for longer."""
        if self._say(f"{self._running.id}: {what}: {reason}"):
            self._alarm(what, reason)
        if self._patient or (what == "held" and self._services.now() < self._deadline):
            return None
        if what == "held":
            paused = self._record.state.phase is Phase.PAUSED
            fix = render_fix("paused" if paused else what, self._record.state)
        else:
            fix = f"{self._needed}; " + self._fix({"then": ("rollouts", "run", self._running.id)})
        return self._result(word, reason, tuple(look.outcomes.values()), fix)

    def _fix(self, choices: Mapping[str, tuple[str, ...]]) -> str:
        return render_choices(self._running.fleet.environment, choices)

    def _ended(self) -> RolloutResult:
        assert self._record.state.end
        state, reason = self._record.state.end
        told = self._sight.told
        outcomes = tuple(
            replace(each, verdict=told[each.device].verdict) if each.device in told else each
            for each in outcomes_of(self._record)
        )
        running = self._running
        look = render_look(running.fleet.environment, running.layer.model, running.id, outcomes)
        result = self._result(state, reason, outcomes, "" if state is State.SUCCEEDED else look)
        return replace(result, serving=serving_of(self._record))

    def _result(self, state: State, reason: str, outcomes: tuple[Outcome, ...], fix: str) -> RolloutResult:
        running = self._running
        release, layer = running.release.subject, running.layer.name
        return RolloutResult(release, layer, state, reason, outcomes, self._changed, fix, running.id)

    def _alarm(self, what: str, reason: str) -> None:
        running = self._running
        self._services.alarm(
            {
                "event": what,
                "rollout": running.id,
                "release": running.release.subject,
                "model": running.layer.model,
                "environment": running.fleet.environment,
                "wave": self._record.state.wave,
                "reason": reason,
            }
        )

    def _say(self, line: str) -> bool:
        """Whether the line was said now: once, until another is."""
        if line == self._said:
            return False
        self._said = line
        self._services.say(line)
        return True
