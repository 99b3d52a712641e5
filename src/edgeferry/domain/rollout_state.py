"""Where a rollout stands, by its entries in the ledger. Pure.

`fold` reads the entries, `decide` (`domain/rollout_decision.py`) says what to do; a loop writes that down,
does it, and asks again. As nothing else is remembered, any machine can carry on from any entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from edgeferry.domain.approval import is_pipeline
from edgeferry.domain.promotion import Promoters
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_evidence import Baseline, Tallies
from edgeferry.domain.rollout_record import parse_baseline, parse_control, parse_state, parse_verdict
from edgeferry.domain.wave_verdict import WaveVerdict

OrderName = Literal["pause", "resume", "abort", "revert", "promote"]
ORDERS = get_args(OrderName)
_NOT_THERE = frozenset({State.FAILED, State.SKIPPED, State.REVERTED})
"""Ends after which no device has the release."""


class Phase(StrEnum):
    """How far a rollout is."""

    STARTING = "starting"
    """No wave has been started."""
    ROLLING = "rolling"
    """The wave's devices have yet to prove the release."""
    SOAKING = "soaking"
    """They have, and are watched."""
    HELD = "held"
    """The wave was judged inconclusive: no other starts before it is judged anew, or a person says so."""
    PAUSED = "paused"
    """A person said so."""
    WAITING = "waiting"
    """The wave has passed: the next one waits for a window, the budget or a person's approval."""
    REVERTING = "reverting"
    """The release is being taken back."""
    ENDED = "ended"


@dataclass(frozen=True)
class Order:
    """A person's word on a running rollout."""

    order: str
    """One of ORDERS."""
    reason: str
    author: str
    wave: int
    """The wave that its author saw run; 0 before the first."""
    at_s: float

    @property
    def said(self) -> str:
        """Whose it is, and why."""
        return f"{self.author}: {self.reason}" if self.reason else self.author


@dataclass(frozen=True)
class RolloutState:
    """What the ledger says of one rollout. Times are Unix seconds, as the entries tell them."""

    id: str = ""
    release: str = ""
    model: str = ""
    environment: str = ""
    plan_hash: str = ""
    nonce: str = ""
    layer: str = ""
    digest: str = ""
    """The image's, or how it begins: devices whose evidence is of it are exposed."""
    phase: Phase = Phase.STARTING
    wave: int = 0
    """The last one started; 0: none."""
    wave_started_at: float = 0.0
    soaking_since: float | None = None
    judged: tuple[WaveVerdict, ...] = ()
    """Every verdict, oldest first; a wave that was held has several."""
    verdict: WaveVerdict | None = None
    """The last one on the wave that runs, since it began to soak where it did."""
    baseline: Mapping[str, Baseline] = field(default_factory=dict)
    """The predecessor by stratum, before the first wave."""
    control: Mapping[str, Tallies] = field(default_factory=dict)
    """What the control had counted by stratum when this wave was started."""
    approved_waves: frozenset[int] = frozenset()
    """Waves that the gate was asked for, and lets start."""
    orders: tuple[Order, ...] = ()
    """Those that are to be carried out; a promotion when as many people gave it as must."""
    promotions: tuple[tuple[int, Entry], ...] = ()
    """All orders to promote a wave that had been started, with the wave."""
    end: tuple[State, str] | None = None

    def find_order(self, order: str) -> Order | None:
        """The last order of that name."""
        return next((each for each in reversed(self.orders) if each.order == order), None)


def fold(entries: Sequence[Entry], promoters: Promoters | None = None) -> RolloutState:
    """The rollout that these entries tell of: all whose subject is its id, oldest first. The caller gives
    only entries that it trusts. Which waves are approved one by one, the gate says.

    `promoters`: who may promote a wave; without, anybody may, which nothing is to be carried out by.

    What cannot follow on what came before (a wave started twice or out of turn, after the end anything but
    that it was taken back) is passed over: it was written by somebody who had not read the rest.
    """
    state = RolloutState()
    for entry in entries:
        state = _follow(state, entry, promoters) if state.end is None else _follow_end(state, entry)
    return replace(state, phase=_find_phase(state))


def _follow(state: RolloutState, entry: Entry, promoters: Promoters | None) -> RolloutState:
    body = entry.body
    if entry.kind == "rollout" and not state.id:
        return _start(entry)
    if not state.id or entry.subject != state.id:
        return state
    at_s = datetime.fromisoformat(entry.at).timestamp()
    if entry.kind == "wave":
        return _follow_wave(state, body, at_s)
    if entry.kind == "order" and body.get("order") in ORDERS:
        return _follow_order(state, entry, at_s, promoters)
    if entry.kind == "end":
        return replace(state, end=(parse_state(body.get("state")), str(body.get("reason", ""))))
    return state


def _follow_end(state: RolloutState, entry: Entry) -> RolloutState:
    """A person may take back a rollout that has ended; how that went is a second end."""
    if entry.subject != state.id or state.end is None:
        return state
    body, word = entry.body, state.end[0]
    if entry.kind == "order" and body.get("order") == "revert" and word not in _NOT_THERE:
        at_s = datetime.fromisoformat(entry.at).timestamp()
        order = Order("revert", str(body.get("reason", "")), entry.author, state.wave, at_s)
        end = (State.REVERTED, f"reverted by {order.said}; how that ended is not in the ledger")
        return replace(state, orders=(*state.orders, order), end=end)
    if entry.kind == "end" and word is State.REVERTED is parse_state(body.get("state")):
        return replace(state, end=(State.REVERTED, str(body.get("reason", ""))))
    return state


def _follow_order(
    state: RolloutState, entry: Entry, at_s: float, promoters: Promoters | None
) -> RolloutState:
    body, name, author = entry.body, str(entry.body["order"]), entry.author
    paused = state.find_order("pause")
    by_person = name == "resume" and paused is not None and not is_pipeline(paused.author)
    if is_pipeline(author) and (name == "promote" or by_person):
        return state  # a pipeline has no judgement: it may stop things, and not let them through
    seen = body.get("wave")
    wave = seen if isinstance(seen, int) else state.wave
    if name == "promote":
        if wave > state.wave:
            return state  # nobody has seen that wave run yet
        state = replace(state, promotions=(*state.promotions, (wave, entry)))
        if promoters is not None:
            people, lacking = promoters.judge(find_promotions(state, wave))
            if lacking:
                return state
            author = " and ".join(people)
    order = Order(name, str(body.get("reason", "")), author, wave, at_s)
    return replace(state, orders=(*state.orders, order))


def find_promotions(state: RolloutState, wave: int) -> tuple[Entry, ...]:
    """All orders to promote that wave, oldest first."""
    return tuple(order for of, order in state.promotions if of == wave)


def _start(entry: Entry) -> RolloutState:
    said = {name: str(value or "") for name, value in entry.body.items()}
    release = said.get("release", "")
    return RolloutState(
        id=entry.subject,
        release=release,
        model=said.get("model", ""),
        environment=said.get("environment", ""),
        plan_hash=said.get("plan", ""),
        nonce=said.get("nonce", ""),
        layer=said.get("layer", ""),
        digest=said.get("digest") or f"sha256:{release.rpartition('-')[2]}",
    )


def _follow_wave(state: RolloutState, body: Mapping[str, Any], at_s: float) -> RolloutState:
    wave, event = body.get("wave"), body.get("event")
    if event == "started" and wave == state.wave + 1:
        return replace(
            state,
            wave=state.wave + 1,
            wave_started_at=at_s,
            soaking_since=None,
            verdict=None,
            baseline=state.baseline or parse_baseline(body),
            control=parse_control(body),
        )
    if event == "soaking" and wave == state.wave and state.soaking_since is None:
        return replace(state, soaking_since=at_s, verdict=None)
    if event == "judged" and isinstance(wave, int) and 1 <= wave <= state.wave:
        verdict = parse_verdict(body, at_s)
        latest = verdict if wave == state.wave else state.verdict
        return replace(state, judged=(*state.judged, verdict), verdict=latest)
    return state


def _find_phase(state: RolloutState) -> Phase:
    if state.end is not None:
        return Phase.ENDED
    if state.find_order("revert") or any(each.state == "fail" for each in state.judged):
        return Phase.REVERTING
    stopped = [each.order for each in state.orders if each.order in ("pause", "resume", "abort", "promote")]
    if "abort" in stopped or (stopped and stopped[-1] == "pause"):
        return Phase.PAUSED
    if not state.wave:
        return Phase.STARTING
    if state.verdict is not None:
        return Phase.WAITING if state.verdict.state == "pass" else Phase.HELD
    return Phase.SOAKING if state.soaking_since is not None else Phase.ROLLING
