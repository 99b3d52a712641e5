"""The journey that the demo shows: every model of the project shipped, then moved by tags, then used.

Devices take the models in turn, and the last device takes all of them. Then one tag is moved: a device loses
one model and receives another by itself, and back again. At the end every model on every device gets real
requests, and the device must have captured each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgeferry.domain.rollout import State
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.workflows.placing import find_layer
from edgeferry.workflows.reports import fetch_facts
from edgeferry.workflows.ship import Order, Shipment, Stage, render_outcome, ship
from edgeferry.workflows.smoke import smoke
from edgeferry.workflows.watch import await_gone, watch

Use = Callable[[str, str], tuple[int, int]]
"""Sends requests to a model on a device: (how many were sent, how many of them the device captured)."""


@dataclass(frozen=True)
class Arrival:
    """One model on one device, as proven at the end."""

    device: str
    model: str
    state: str
    digest: str
    verdict: str
    latency_ms: float
    sent: int = 0
    captured: int = 0


@dataclass(frozen=True)
class Journey:
    """What the demo saw; `ok` only when every part of it held."""

    ok: bool
    shipments: tuple[Shipment, ...]
    stages: tuple[Stage, ...]
    arrivals: tuple[Arrival, ...] = ()
    problem: str = ""
    fix: str = ""


def spread(models: Sequence[str], devices: Sequence[str]) -> dict[str, set[str]]:
    """Which device takes which models: one each in turn, and the last device all of them.

    With one model and two devices the last device stays empty, for the tag to show.
    """
    if len(models) == 1:
        return {device: {models[0]} if number == 0 else set() for number, device in enumerate(devices)}
    alone = devices[:-1]
    taken = {device: {models[number % len(models)]} for number, device in enumerate(alone)}
    return {**taken, devices[-1]: set(models)}


def show_journey(
    services: Services,
    orders: Sequence[Order],
    devices: Sequence[str],
    use: Use,
    on_stage: Callable[[Stage], None],
) -> Journey:
    """The journey of all models; it ends at the first part that does not hold."""
    models = [order.model for order in orders]
    if not models:
        raise UsageError("the project has no models", fix="add a folder with a model.yaml below models/")
    taken = spread(models, devices)
    for device, its in taken.items():
        services.hub.patch_tags(
            device, {"models": {model: True if model in its else None for model in models}}
        )
    shipments: list[Shipment] = []
    stages: list[Stage] = []

    def note(stage: Stage) -> None:
        stages.append(stage)
        on_stage(stage)

    for order in orders:
        shipment = ship(services, order, partial(_note_for, order.model, note))
        shipments.append(shipment)
        if not shipment.ok:
            return Journey(False, tuple(shipments), tuple(stages), (), shipment.problem, shipment.fix)
    by_model = dict(zip(models, shipments, strict=True))
    mover, lost, gained = _choose_move(taken, models, devices)
    move = _Move(services, by_model, orders[0].rules.timeout_s, note)
    problem = move.swap(mover, lost, gained) or move.swap(mover, gained, lost)
    if problem:
        fix = f"edgeferry status; edgeferry logs MODEL --device {mover}"
        return Journey(False, tuple(shipments), tuple(stages), (), problem, fix)
    arrivals = [
        _look(services, by_model[model], device, model, use)
        for device in devices
        for model in sorted(taken[device])
    ]
    problem = next((_judge(arrival) for arrival in arrivals if _judge(arrival)), "")
    fix = "edgeferry captures MODEL --device DEVICE; edgeferry status" if problem else ""
    return Journey(not problem, tuple(shipments), tuple(stages), tuple(arrivals), problem, fix)


@dataclass(frozen=True)
class _Move:
    """Moves a model between devices by tags, and waits for the proof."""

    services: Services
    shipments: Mapping[str, Shipment]
    timeout_s: float
    note: Callable[[Stage], None]

    def swap(self, device: str, lost: str, gained: str) -> str:
        """The problem, or "": `device` no longer runs `lost`, and has proven `gained`; either may be ""."""
        services = self.services
        since = services.now()
        wanted = {name: value for name, value in ((lost, None), (gained, True)) if name}
        services.say(f"tagging {device}: " + ", ".join(_render_tag(name, v) for name, v in wanted.items()))
        services.hub.patch_tags(device, {"models": wanted})
        told = []
        if gained:
            shipment = self.shipments[gained]
            assert shipment.release
            assert shipment.rollout
            layer = find_layer(services, shipment.rollout.layer)
            say = services.say
            watched = watch(
                services, shipment.release, layer, [device], self.timeout_s, lambda o: say(render_outcome(o))
            )
            if watched.deleted:
                return f"{device} was deleted meanwhile"
            [outcome] = watched.outcomes
            if outcome.state is not State.SUCCEEDED:
                return f"{device}: {gained}: {outcome.state}: {outcome.reason}"
            told.append(f"{device} received {gained} by itself: {outcome.reason}")
        if lost:
            await_gone(services, [device], lost, self.timeout_s)
            told.append(f"{device} no longer runs {lost}")
        self.note(Stage("move", "done", services.now() - since, "; ".join(told)))
        return ""


def _choose_move(
    taken: Mapping[str, set[str]], models: Sequence[str], devices: Sequence[str]
) -> tuple[str, str, str]:
    """(device, what it loses, what it gains): with one model the empty device gains it, else the first
    device exchanges its model for the next one."""
    if len(models) == 1:
        return devices[-1], "", models[0]
    first = devices[0]
    (own,) = taken[first]
    return first, own, next(model for model in models if model != own)


def _look(services: Services, shipment: Shipment, device: str, model: str, use: Use) -> Arrival:
    assert shipment.rollout
    layer = find_layer(services, shipment.rollout.layer)
    facts = fetch_facts(services, device, model)
    fresh = smoke(services, device, layer)
    sent, captured = use(device, model)
    verdict = fresh.verdict
    return Arrival(
        device=device,
        model=model,
        state=str(State.SUCCEEDED) if fresh.passed and facts.runtime_status == "running" else fresh.state,
        digest=facts.image.partition("@")[2],
        verdict=fresh.state,
        latency_ms=verdict.latency_ms if verdict else 0.0,
        sent=sent,
        captured=captured,
    )


def _judge(arrival: Arrival) -> str:
    if arrival.state != State.SUCCEEDED:
        return f"{arrival.model} on {arrival.device}: smoke test {arrival.verdict}"
    if not arrival.sent or arrival.captured != arrival.sent:
        return (
            f"{arrival.model} on {arrival.device}: {arrival.sent} requests sent, {arrival.captured} captured"
        )
    return ""


def _note_for(model: str, note: Callable[[Stage], None], stage: Stage) -> None:
    note(replace(stage, detail=f"{model}: {stage.detail}"))


def _render_tag(model: str, value: bool | None) -> str:
    return f"models.{model}={'true' if value else ''}"
