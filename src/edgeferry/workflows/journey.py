"""The journey that the demo shows: ship to one device, then let a tag bring the model to another, and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeferry.domain.rollout import State
from edgeferry.ports import Services
from edgeferry.wire.deployment import parse_model_layer
from edgeferry.workflows.rollout import watch
from edgeferry.workflows.ship import Order, Shipment, Stage, render_outcome, ship
from edgeferry.workflows.smoke import smoke
from edgeferry.workflows.survey import await_gone


@dataclass(frozen=True)
class Arrival:
    """One device that got the model, and how."""

    device: str
    state: str
    digest: str
    verdict: str
    latency_ms: float
    how: str


@dataclass(frozen=True)
class Journey:
    """What the demo saw; `ok` only when every part of it held."""

    ok: bool
    shipment: Shipment
    stages: tuple[Stage, ...]
    arrivals: tuple[Arrival, ...] = ()
    problem: str = ""
    fix: str = ""


def show_journey(
    services: Services, order: Order, first: str, second: str, on_stage: Callable[[Stage], None]
) -> Journey:
    """The journey of `order.model`: shipped to `first`; `second` receives it when tagged, loses it after."""
    tag = {"models": {order.model: True}}
    untag = {"models": {order.model: None}}
    services.hub.patch_tags(second, untag)
    services.hub.patch_tags(first, tag)
    shipment = ship(services, order, on_stage)
    if not shipment.ok or shipment.release is None or shipment.rollout is None:
        return Journey(False, shipment, shipment.stages, (), shipment.problem, shipment.fix)
    arrivals = [
        Arrival(
            each.device,
            str(State.SUCCEEDED),
            each.verdict.digest,
            each.verdict.state,
            each.verdict.latency_ms,
            "shipped",
        )
        for each in shipment.smokes
        if each.verdict
    ]
    since = services.now()
    services.say(f"tagging {second}: models.{order.model}=true")
    services.hub.patch_tags(second, tag)
    layers = (parse_model_layer(configuration) for configuration in services.hub.configurations())
    layer = next(found for found in layers if found and found.name == shipment.rollout.layer)
    outcome = watch(
        services,
        shipment.release,
        layer,
        lambda: [second],
        order.timeout_s,
        lambda seen: services.say(render_outcome(seen)),
    )[0]
    fresh = smoke(services, second, layer)
    arrived = outcome.state is State.SUCCEEDED and fresh.passed
    stages = [*shipment.stages]
    stages.append(
        _stage("tag", services.now() - since, f"{second} received it by itself: {outcome.reason}", arrived)
    )
    on_stage(stages[-1])
    if not arrived:
        problem = f"{second}: {outcome.state}: {outcome.reason}; smoke {fresh.state}: {fresh.reason}"
        fix = f"edgeferry status; edgeferry logs {order.model} --device {second}"
        return Journey(False, shipment, tuple(stages), tuple(arrivals), problem, fix)
    since = services.now()
    services.say(f"untagging {second}")
    services.hub.patch_tags(second, untag)
    await_gone(services, second, order.model, order.timeout_s)
    stages.append(_stage("untag", services.now() - since, f"{second} no longer runs it", True))
    on_stage(stages[-1])
    verdict = fresh.verdict
    if verdict is not None:
        how = "by its tag, and gone with it"
        arrivals.append(
            Arrival(second, str(outcome.state), outcome.digest, verdict.state, verdict.latency_ms, how)
        )
    return Journey(True, shipment, tuple(stages), tuple(arrivals))


def _stage(name: str, seconds: float, detail: str, held: bool) -> Stage:
    return Stage(name, "done" if held else "refused", seconds, detail)
