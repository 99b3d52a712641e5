"""What to do next with a rollout: one action at a time, each with its reason. Pure.

Laws: a wave starts only when the one before has passed, or a person promoted it; `fail` takes the release
back, `inconclusive` holds and starts nothing; a paused or aborted rollout starts nothing; each wave has been
judged by its deadline; nothing is committed that was not measured, unless a person says so, and then the
rollout's word is that of what was measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edgeferry.domain.notation import render_path
from edgeferry.domain.rollout import Outcome, State, judge_rollout
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
from edgeferry.domain.rollout_evidence import (
    Comparison,
    DeviceEvidence,
    take_baseline,
    tally,
)
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy, find_opening
from edgeferry.domain.rollout_state import Order, Phase, RolloutState
from edgeferry.domain.wave import Wave
from edgeferry.domain.wave_budget import count_at_once
from edgeferry.domain.wave_verdict import (
    WaveVerdict,
    add_evidence,
    judge_wave,
    name_lacking,
    name_some,
    say_measured,
)


@dataclass(frozen=True)
class Look:
    """What the hub shows now."""

    outcomes: Mapping[str, Outcome]
    """Of all devices that the release has reached, or should have."""
    evidence: Mapping[str, DeviceEvidence]
    """Of these and of those that run the predecessor; not needed unless `needs_evidence`."""
    targeted: frozenset[str]
    """The devices that the layer's condition matches now."""
    layer_condition: str | None
    """None: the layer is not on the hub."""
    generations: Mapping[str, str] = field(default_factory=dict)
    """Of targeted devices what tells each from one that had its name before; "" where that is not known."""


def needs_evidence(state: RolloutState, policy: RolloutPolicy) -> bool:
    """Whether the next decision goes by what devices answered: of the plan's devices, all of them."""
    return policy.guard.compare and policy.soak_s > 0 and state.phase not in (Phase.REVERTING, Phase.ENDED)


def find_deadline(state: RolloutState, policy: RolloutPolicy) -> float:
    """When the wave has been judged at the latest, Unix seconds; infinity while none runs."""
    if not state.wave or state.phase in (Phase.HELD, Phase.WAITING, Phase.PAUSED):
        return math.inf
    if state.soaking_since is not None:
        return state.soaking_since + policy.soak_s
    return state.wave_started_at + policy.timeout_s


def decide(state: RolloutState, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float) -> Action:
    """The one thing to do next."""
    if state.end is not None:
        return Wait(math.inf, f"it has ended: {state.end[1]}")
    if state.phase is Phase.REVERTING:
        return _revert(state, look)
    if order := state.find_order("abort"):
        return _abort(state, look, order)
    if not state.wave:
        if not plan.strata:
            return End(*judge_rollout(()))
        if state.phase is Phase.PAUSED:
            return _pause(state)
        return _start_next(state, plan, policy, look, now_s)
    return _go_on(state, plan, policy, look, now_s)


def _go_on(state: RolloutState, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float) -> Action:
    """What to do while a wave runs, or has run."""
    paused = state.phase is Phase.PAUSED
    wave = plan.waves[state.wave - 1]
    if look.layer_condition != wave.condition and not paused:
        missing = "is not on the hub" if look.layer_condition is None else "has another target condition"
        return Repair(wave.condition, f"wave {wave.number} was started, and the layer {missing}")
    verdict = _judge(state, plan, policy, look, now_s)
    if verdict.state == "fail":
        return JudgeWave(verdict)
    if paused:
        return _pause(state)
    promoted = _find_promotion(state)
    if state.phase is Phase.WAITING or promoted:
        if wave is plan.waves[-1]:
            return _commit(state, verdict, look)
        doubt = None if promoted else _doubt(state, plan, policy, look, now_s)
        return JudgeWave(doubt) if doubt else _start_next(state, plan, policy, look, now_s)
    action = _watch(state, policy, look, now_s, verdict)
    if isinstance(action, JudgeWave) and action.verdict.state == "pass" and wave is not plan.waves[-1]:
        return JudgeWave(replace(action.verdict, proven=_find_proven(state, look)))
    return action


def _find_proven(state: RolloutState, look: Look) -> dict[str, str]:
    """The devices that have proven the release, with their generations as far as these are known; without
    those that the ledger names so already."""
    reached, known = find_reached(look), _recall_proven(state)
    return {
        device: generation
        for device, generation in look.generations.items()
        if generation
        and generation != known.get(device)
        and device in reached
        and reached[device].state is State.SUCCEEDED
    }


def _recall_proven(state: RolloutState) -> dict[str, str]:
    """The same as all waves that have passed tell it, the last word on each."""
    return {device: each for verdict in state.judged for device, each in verdict.proven.items()}


def _doubt(
    state: RolloutState, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float
) -> WaveVerdict | None:
    """Why the wave that has passed has not, where devices were replaced since: what was deleted and created
    anew under its name has yet to prove the release. None where enough others have."""
    proven = _recall_proven(state)
    reached = find_reached(look)
    replaced = {
        device
        for device, before in proven.items()
        if device in reached and (look.generations.get(device) or before) != before
    }
    if not replaced:
        return None
    by_then = {
        device: replace(each, state=State.SUCCEEDED)
        if device in proven and device not in replaced and each.state is not State.FAILED
        else each
        for device, each in reached.items()
    }
    verdict = judge_wave(state.wave, by_then, plan.strata, policy, now_s)
    if verdict.state == "pass":
        return None
    return replace(verdict, reason=f"replaced since: {name_some(sorted(replaced))}; {verdict.reason}")


def _watch(
    state: RolloutState, policy: RolloutPolicy, look: Look, now_s: float, verdict: WaveVerdict
) -> Action:
    """What to do with a wave that has yet to pass. `verdict`: what the devices show now."""
    reached = find_reached(look)
    pending = sum(each.state is State.PENDING for each in reached.values())
    proven = all(each.succeeded >= policy.success.needed(each.devices) for each in verdict.strata.values())
    if state.soaking_since is None:
        until_s = state.wave_started_at + policy.timeout_s
        if (pending or not reached) and now_s < until_s:
            return Wait(until_s, f"wave {state.wave}: {_count(reached)}")
        if verdict.strata and proven and policy.soak_s > 0:
            said = say_measured(len(reached) - len(verdict.devices), len(reached))
            return Soak(state.wave, f"{said}, watched for {policy.soak_s:g} s")
    else:
        until_s = state.soaking_since + policy.soak_s
        if now_s < until_s and (state.phase is not Phase.HELD or proven):
            return Wait(until_s, f"wave {state.wave} soaks: {verdict.reason}")
    if verdict.state == "pass" or state.phase is not Phase.HELD:
        return JudgeWave(verdict)
    return _hold(verdict, look)


def _hold(verdict: WaveVerdict, look: Look) -> Action:
    return Hold(_find_word(map(_time_out, find_reached(look).values())), verdict.reason)


def _find_word(outcomes: Iterable[Outcome]) -> State:
    """The word for a wave that has not passed. `Failed` would say that the release was taken back, and it is
    when more have failed than may: who may fail leaves the word to the others."""
    word = judge_rollout(tuple(each for each in outcomes if each.state is not State.FAILED))[0]
    return State.INCONCLUSIVE if word in (State.SUCCEEDED, State.PENDING) else word


def _say_failed(reached: Mapping[str, Outcome]) -> str:
    failed = sum(each.state is State.FAILED for each in reached.values())
    return f"; {failed} failed, which the policy allows" if failed else ""


def _judge(
    state: RolloutState, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float
) -> WaveVerdict:
    """What the wave's devices show now."""
    reached = find_reached(look)
    if now_s >= find_deadline(replace(state, phase=Phase.ROLLING), policy):
        reached = {device: _time_out(outcome) for device, outcome in reached.items()}
    verdict = judge_wave(state.wave, reached, plan.strata, policy, now_s)
    if not needs_evidence(state, policy) or not reached:
        return verdict
    answered = add_evidence(verdict, _compare(state, plan, look), policy)
    # before it soaks, a wave can fail by what it answers, and need not have answered enough
    return answered if state.soaking_since is not None or answered.state == "fail" else verdict


def _time_out(outcome: Outcome) -> Outcome:
    return outcome if outcome.state is not State.PENDING else replace(outcome, state=State.TIMED_OUT)


def _compare(state: RolloutState, plan: RolloutPlan, look: Look) -> dict[str, Comparison]:
    """What the exposed devices and the control have answered, by stratum."""
    exposed: dict[str, list[DeviceEvidence]] = {}
    for device in look.targeted & look.evidence.keys():
        if look.evidence[device].digest.startswith(state.digest):
            exposed.setdefault(plan.strata.get(device, ""), []).append(look.evidence[device])
    control = _find_predecessors(state, plan, look, look.targeted)
    return {
        name: Comparison(
            each,
            control.get(name, ()),
            state.baseline.get(name) or take_baseline(()),
            state.control.get(name, {}),
        )
        for name, each in sorted(exposed.items())
    }


def _find_predecessors(
    state: RolloutState, plan: RolloutPlan, look: Look, reached: frozenset[str]
) -> dict[str, list[DeviceEvidence]]:
    """The evidence of the version that most devices run which the release has not `reached`, by stratum."""
    others = [
        each
        for device, each in sorted(look.evidence.items())
        if device not in reached and device in plan.strata and not each.digest.startswith(state.digest)
    ]
    if not others:
        return {}
    counts = Counter(each.digest for each in others)
    predecessor = max(sorted(counts), key=lambda digest: counts[digest])
    by_stratum: dict[str, list[DeviceEvidence]] = {}
    for each in others:
        if each.digest == predecessor:
            by_stratum.setdefault(plan.strata[each.device], []).append(each)
    return by_stratum


def _start_next(
    state: RolloutState, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float
) -> Action:
    """The next wave, or what it waits for."""
    wave = plan.waves[state.wave]
    if state.wave and policy.approve_waves and wave.number not in state.approved_waves:
        return AskApproval(wave.number, f"wave {wave.number} of {len(plan.waves)}: {_say_more(wave)}")
    if late := _keep_budget(wave, plan, policy, look, now_s):
        return late
    opens_s = find_opening(policy.windows, now_s)
    if opens_s > now_s:
        return Wait(opens_s, f"wave {wave.number} waits for its maintenance window")
    control = frozenset(plan.strata) - {d for each in plan.waves[: wave.number] for d in each.members}
    baseline = {}
    since = {}
    if needs_evidence(state, policy):
        first = _find_predecessors(state, plan, look, frozenset())
        rest = _find_predecessors(state, plan, look, frozenset(plan.strata) - control)
        baseline = {name: take_baseline(each) for name, each in first.items()} if not state.wave else {}
        known = state.baseline or baseline
        since = {name: tally(each, known[name]) for name, each in rest.items() if name in known}
    before = f"wave {state.wave} has passed; " if state.verdict and state.verdict.state == "pass" else ""
    if (order := _find_promotion(state)) is not None:
        before = f"promoted by {order.said}; "
    reason = f"{before}{_say_more(wave)}, {wave.rule}"
    return StartWave(wave.number, wave.condition, reason, baseline, since)


def _keep_budget(
    wave: Wave, plan: RolloutPlan, policy: RolloutPolicy, look: Look, now_s: float
) -> Action | None:
    """What keeps the wave from starting, where it would take too many devices of a group out of service."""
    if policy.budget is None:
        return None
    coming = count_at_once(wave.members, plan.groups)
    ill = [each.device for each in find_reached(look).values() if each.state is not State.SUCCEEDED]
    down = count_at_once(ill, plan.groups)
    most, tag = policy.budget.most, render_path(*policy.budget.tag.segments)
    for group in sorted(coming):
        where = f"{tag} = {group!r}"
        if coming[group] > most:
            many = f"wave {wave.number} changes {coming[group]} devices with {where} at once"
            return Hold(State.INCONCLUSIVE, f"{many}, {most} may: plan it anew with a larger budget")
        if coming[group] + down[group] > most:
            reason = f"{down[group]} devices with {where} are not well, and wave {wave.number} changes more"
            return Wait(now_s + 60, f"{reason}: {most} may be out of service at once")
    return None


def _commit(state: RolloutState, verdict: WaveVerdict, look: Look) -> Action:
    """The end of the last wave: green only by what was measured."""
    reached = find_reached(look)
    whole, reason = judge_rollout(tuple(reached.values()))
    failed = _say_failed(reached)
    if state.phase is Phase.WAITING and verdict.state == "pass":
        if whole is not State.SUCCEEDED:
            reason = f"{verdict.reason}{failed}; not on {name_lacking(verdict.devices)}"
        return Commit(State.SUCCEEDED, reason)
    word = _find_word(reached.values())
    promoted = _find_promotion(state)
    if promoted is None:
        return Hold(word, verdict.reason)
    return Commit(word, f"promoted by {promoted.said}; {verdict.reason}{failed}")


def _abort(state: RolloutState, look: Look, order: Order) -> Action:
    if not state.wave:
        return End(State.SKIPPED, f"aborted by {order.said}")
    return End(
        State.INCONCLUSIVE, f"aborted by {order.said}; {len(find_reached(look))} devices keep the release"
    )


def _revert(state: RolloutState, look: Look) -> Action:
    failed = next((each for each in reversed(state.judged) if each.state == "fail"), None)
    if failed is not None:
        word, reason = State.FAILED, failed.reason
    else:
        order = state.find_order("revert")
        word = State.REVERTED if state.wave else State.SKIPPED
        reason = f"reverted by {order.said}" if order else ""
    return RollBack(reason) if look.layer_condition is not None else End(word, reason)


def _pause(state: RolloutState) -> Action:
    order = state.find_order("pause")
    return Hold(State.INCONCLUSIVE, f"paused by {order.said}" if order else "paused")


def _find_promotion(state: RolloutState) -> Order | None:
    """A person's word that the wave which runs is good enough."""
    return next(
        (each for each in reversed(state.orders) if each.order == "promote" and each.wave == state.wave), None
    )


def find_reached(look: Look) -> dict[str, Outcome]:
    """The outcomes of the devices that the release should run on: who was deleted, or is targeted no more,
    proves nothing and is in nobody's way."""
    return {device: each for device, each in look.outcomes.items() if device in look.targeted}


def _count(outcomes: Mapping[str, Outcome]) -> str:
    states = Counter(each.state for each in outcomes.values())
    return ", ".join(f"{states[state]} {state}" for state in State if states[state]) or "nobody targeted"


def _say_more(wave: Wave) -> str:
    count = len(wave.members)
    return f"{count} more device{'s' if count != 1 else ''}"
