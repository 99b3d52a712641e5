"""Rollback: the newest layer of a model, the companion or the agent goes, and what it replaced serves again,
because a person said so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State, judge_rollout
from edgeferry.domain.rollout_need import render_look
from edgeferry.domain.rollout_record import Serving, render_end
from edgeferry.domain.rollout_state import Order
from edgeferry.domain.typed import render_command
from edgeferry.errors import EdgeferryError, RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.aim import list_aimed
from edgeferry.workflows.begin import Rules, resume
from edgeferry.workflows.placing import (
    NO_EARLIER,
    find_beneath,
    list_layers,
    render_settled,
    take_away,
)
from edgeferry.workflows.release import find_release
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import find_by_layer, give_order
from edgeferry.workflows.watch import render_deleted, watch


@dataclass(frozen=True)
class Reverted:
    """What was taken back, and what serves on the devices instead."""

    release: str
    previous: str
    """The release that serves now; "" for none, or where that is not known."""
    state: State
    """`Succeeded` only when the previous one was measured on every device."""
    reason: str
    outcomes: tuple[Outcome, ...]
    """Of the devices, with the previous release."""
    ok: bool
    """Whether what was wanted came about."""
    fix: str = ""
    rollout: str = ""
    """The id of the rollout that was taken back; "" where the ledger has none."""


def roll_back(
    services: Services,
    model: str,
    *,
    fleet: Fleet,
    reason: str,
    user: str,
    rules: Rules,
    on_change: Callable[[Outcome], None],
) -> Reverted:
    """What became of the devices, which the ledger tells too. A rollout that is under way is ordered back,
    and ends; the layer of one that has ended is removed. RefusedError, and nothing is touched, when there is
    nothing to go back to."""
    layer = _find_top(services, model, fleet)
    record = find_by_layer(services, layer)
    if record and not record.ended:
        give_order(services, record.id, "revert", reason, user, record.state.wave)
        result = resume(
            services, record, fleet=fleet, rules=rules, user=user, on_change=on_change, patient=True
        )
        back = is_back(result)
        now = result.serving or Serving("", ())
        fix = "" if back else result.fix
        return Reverted(
            layer.release, now.release, result.state, result.reason, now.outcomes, back, fix, record.id
        )
    condition = str(record.start.body["condition"]) if record else layer.target_condition
    previous = _find_previous(services, layer, condition, fleet)
    entry = find_release(services, previous.release)
    devices = list_aimed(services, layer.target_condition)
    order = give_order(services, record.id, "revert", reason, user) if record else None
    gone = take_away(services, layer, fleet)
    services.say(gone)
    try:
        watched = watch(services, entry, previous, devices, rules.timeout_s, on_change)
    except EdgeferryError as error:
        _write_end(services, order, f"{gone}, what serves now is not known: {error.problem}", None)
        raise
    serving = Serving(previous.release, watched.outcomes)
    _write_end(services, order, f"{gone}, {render_settled(previous, watched)}", serving)
    state, why = judge_rollout(watched.outcomes)
    why += render_deleted(watched)
    back = state is State.SUCCEEDED
    id_ = record.id if record else ""
    fix = "" if back else render_look(fleet.environment, model, id_, watched.outcomes)
    return Reverted(layer.release, previous.release, state, why, watched.outcomes, back, fix, id_)


def _write_end(services: Services, order: Entry | None, settled: str, serving: Serving | None) -> None:
    """How what was ordered back has ended. Without it the ledger still says that it was: who does not get it
    written goes on, as the same command again would take back one release more."""
    if order is None:
        return
    who = Order("revert", str(order.body["reason"]), order.author, 0, 0.0).said
    body = render_end(State.REVERTED, f"reverted by {who}; {settled}", (), serving)
    try:
        services.ledger.append("end", order.subject, body, order.author)
    except EdgeferryError as error:
        services.say(f"how {order.subject} was taken back is not in the ledger: {error.problem}")


def is_back(result: RolloutResult) -> bool:
    """Whether the rollout ended because it was taken back, and what served before was measured; devices that
    it never reached are not."""
    return result.state in (State.FAILED, State.SKIPPED, State.REVERTED) and (
        f"serves again: {State.SUCCEEDED}" in result.reason
        or NO_EARLIER in result.reason
        or not result.outcomes
    )


def _find_top(services: Services, model: str, fleet: Fleet) -> ModelLayer:
    layers = [layer for layer in list_layers(services, fleet) if layer.model == model]
    if not layers:
        raise UsageError(
            f"no layer of {model} is on the hub",
            fix=f"what there is: {render_command(fleet.environment, 'rollouts', 'list', '--model', model)}",
        )
    return max(layers, key=lambda layer: layer.priority)


def _find_previous(services: Services, layer: ModelLayer, condition: str, fleet: Fleet) -> ModelLayer:
    """`condition`: of all devices that the layer was meant for; its rollout may not have got so far."""
    beneath = find_beneath(services, layer, fleet).same_devices(layer, condition)
    if not beneath:
        raise RefusedError(
            f"{layer.release} is the only release of {layer.model} for {condition!r}",
            fix="ship a better one; to take the model off devices, change their tags",
        )
    previous = beneath[-1]
    if not previous.release:
        raise RefusedError(
            f"{previous.name}, which would serve then, is of no release: nobody could measure it",
            fix=f"release and roll out another {layer.model}",
        )
    return previous
