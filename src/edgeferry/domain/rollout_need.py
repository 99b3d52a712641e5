"""What a rollout that has not ended needs of a person, and the commands for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_state import Phase, RolloutState
from edgeferry.domain.typed import render_choices


@dataclass(frozen=True)
class Need:
    """Why nothing goes on by itself, and what to type."""

    word: str
    """`held`, `paused` or `approval needed`."""
    reason: str
    fix: str


def find_unapproved_wave(state: RolloutState, waves: int, *, approve_waves: bool) -> int:
    """The wave, of so many, that starts only when people have approved it; 0 where none waits for them."""
    passed = state.phase is Phase.WAITING or (state.phase is not Phase.PAUSED and _is_promoted(state))
    waits = approve_waves and passed and state.end is None and 0 < state.wave < waves
    return state.wave + 1 if waits and state.wave + 1 not in state.approved_waves else 0


def find_need(state: RolloutState) -> Need | None:
    """Why the rollout stands still by what the ledger says of it, or None. An approval between waves is asked
    of the gate (`find_unapproved_wave`)."""
    if state.phase is Phase.PAUSED:
        if order := state.find_order("abort"):
            choices = {"end it": ("rollouts", "run", state.id)}
            return Need("paused", f"aborted by {order.author}", render_choices(state.environment, choices))
        order = state.find_order("pause")
        who = f"paused by {order.author}" + (f": {order.reason}" if order.reason else "") if order else ""
        return Need("paused", who, render_fix("paused", state))
    if state.phase is Phase.HELD and not _is_promoted(state):
        reason = state.verdict.reason if state.verdict else ""
        return Need("held", reason, render_fix("held", state))
    return None


def render_fix(word: str, state: RolloutState) -> str:
    """What a person may do about a rollout that is `held` or `paused`."""
    first = {"go on": ("rollouts", "resume", state.id)} if word == "paused" else {}
    rest = {
        "see it": ("rollouts", "show", state.id),
        "judge it anew": ("rollouts", "run", state.id),
        "let it go on": ("rollouts", "promote", state.id),
        "take it back": ("rollouts", "revert", state.id),
    }
    if word == "paused":
        del rest["judge it anew"], rest["let it go on"]
    return render_choices(state.environment, first | rest)


def render_look(environment: str, model: str, rollout: str, outcomes: Sequence[Outcome]) -> str:
    """How to find out why a rollout was no success: by the first device that has not proven the release."""
    bad = next((each.device for each in outcomes if each.state is not State.SUCCEEDED), "")
    choices: dict[str, tuple[str, ...]] = {}
    if bad:
        choices["what the device wrote"] = ("logs", model, "--device", bad)
    if rollout:
        choices["all that was said of it"] = ("rollouts", "show", rollout)
    return render_choices(environment, choices or {"what runs now": ("status",)})


def _is_promoted(state: RolloutState) -> bool:
    return any(each.order == "promote" and each.wave == state.wave for each in state.orders)
