"""Rollout: one layered deployment, then wait until every targeted device has proven it or time is up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeferry.domain.condition import parse_condition, wanted_tags
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import (
    DeviceFacts,
    Outcome,
    State,
    Wanted,
    judge_at_deadline,
    judge_device,
    judge_rollout,
)
from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import (
    COMPANION,
    ModelLayer,
    base_name,
    companion_layer_name,
    parse_model_layer,
    render_base,
)
from edgeferry.wire.facts import parse_facts
from edgeferry.workflows.approve import ask_gate
from edgeferry.workflows.cases import fetch_cases
from edgeferry.workflows.layers import choose_layer, render_companion, render_layer
from edgeferry.workflows.pull_login import apply_pull_login
from edgeferry.workflows.release import find_release
from edgeferry.workflows.survey import await_gone

POLL_S = 0.25
Change = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class RolloutResult:
    """How a rollout ended."""

    release: str
    layer: str
    state: State
    reason: str
    outcomes: tuple[Outcome, ...]
    changed: bool
    """Whether this rollout put a new layer on the hub."""
    fix: str = ""


def rollout(
    services: Services,
    release: Entry,
    condition: str,
    *,
    fleet: Fleet,
    timeout_s: float,
    user: str,
    on_change: Callable[[Outcome], None],
) -> RolloutResult:
    """The rollout's end: `Succeeded` only when measured on every targeted device.

    Without an approval, or with nobody targeted, nothing is touched.
    """
    gate = ask_gate(services, release, condition, environment=fleet.environment)
    if not gate.open:
        return RolloutResult(release.subject, "", State.SKIPPED, gate.reason, (), False, gate.fix)
    targeted = [twin["deviceId"] for twin in services.hub.devices(condition)]
    if not targeted:
        state, reason = judge_rollout(())
        fix = (
            f"tag a device: edgeferry devices tag DEVICE {_render_tags(condition)}, or correct the condition"
        )
        return RolloutResult(
            release.subject, "", state, f"{reason}: no device matches {condition}", (), False, fix
        )
    layer, change = apply_layers(services, release, condition, fleet, targeted)
    changed = change != "unchanged"
    outcomes = watch(services, release, layer, targeted, timeout_s, on_change)
    state, reason = judge_rollout(outcomes)
    if state is State.FAILED and change == "created":
        try:
            reason += f"; {_withdraw(services, layer, fleet, targeted, timeout_s, on_change)}"
        except (OutsideError, RefusedError, UsageError) as error:
            reason += f"; taking it back: {error.problem}"
    result = RolloutResult(release.subject, layer.name, state, reason, tuple(outcomes), changed)
    if changed or state is not State.SUCCEEDED or not _is_recorded(services, layer):
        approval = gate.approval.id if gate.approval else ""
        services.ledger.append("rollout", release.subject, _record(result, layer, approval), user)
    if state is State.SUCCEEDED:
        collect_older(services, layer, release, fleet)
    return result


def apply_layers(
    services: Services, release: Entry, condition: str, fleet: Fleet, targeted: Sequence[str]
) -> tuple[ModelLayer, Change]:
    """The model's layer on the hub, and what became of it; the base, the login to pull with and the
    companion's layer beneath it are made when they are missing. A base that is not ours is never covered."""
    existing = services.hub.configurations()
    by_name = {configuration["id"]: configuration for configuration in existing}
    if base_name(fleet) not in by_name and _some_lack_a_base(services, targeted):
        services.hub.create_configuration(render_base(fleet))
    if fleet.runtime.kind == "iotedge":
        apply_pull_login(services, services.pull_login(), fleet)
    companion = render_companion(services, release, fleet, existing)
    if companion["id"] not in by_name:
        services.hub.create_configuration(companion)
    layer = choose_layer(services, release, condition, fleet, existing)
    found = by_name.get(layer.name)
    if found and parse_model_layer(found) == layer:
        return layer, "unchanged"
    document = render_layer(services, release, layer, fleet)
    if found:
        services.hub.update_configuration({**document, "content": found["content"]})
        return layer, "updated"
    services.hub.create_configuration(document)
    return layer, "created"


def watch(
    services: Services,
    release: Entry,
    layer: ModelLayer,
    targeted: Sequence[str],
    timeout_s: float,
    on_change: Callable[[Outcome], None],
) -> list[Outcome]:
    """The outcome of each targeted device, when all have ended or time is up.

    A hub that does not answer is waited for; the last facts known are judged at the deadline.
    """
    body = release.body
    wanted = Wanted(
        module=layer.model,
        digest=layer.digest,
        image_hashes=frozenset({layer.digest, body["config_digest"]}),
        cases_sha256=layer.cases_sha256,
        nonce=layer.nonce,
        cases=fetch_cases(services, layer.model, layer.digest, layer.cases_sha256),
    )
    deadline = services.now() + timeout_s
    told: dict[str, Outcome] = {}
    facts: dict[str, DeviceFacts] = {}
    while True:
        for device in targeted:
            before = told.get(device)
            if before and before.state is not State.PENDING:
                continue
            try:
                facts[device] = fetch_facts(services, device, layer.model)
            except HubError as error:
                if not error.retryable or services.now() >= deadline:
                    raise
                continue
            outcome = judge_device(wanted, facts[device])
            if before is None or replace(outcome, verdict=None) != replace(before, verdict=None):
                on_change(outcome)
            told[device] = outcome
        if len(told) == len(targeted) and all(each.state is not State.PENDING for each in told.values()):
            return [told[device] for device in targeted]
        if services.now() >= deadline:
            return [_end(wanted, device, told, facts) for device in targeted]
        services.sleep(POLL_S)


def _end(
    wanted: Wanted, device: str, told: Mapping[str, Outcome], facts: Mapping[str, DeviceFacts]
) -> Outcome:
    outcome = told.get(device)
    if outcome is None:
        return Outcome(device, State.UNREACHABLE, "the hub told nothing of it")
    return outcome if outcome.state is not State.PENDING else judge_at_deadline(wanted, facts[device])


def fetch_facts(services: Services, device: str, module: str) -> DeviceFacts:
    """What the hub knows now of one module on one device."""
    agent = services.hub.module_twin(device, "$edgeAgent")
    companion = services.hub.module_twin(device, COMPANION)
    return parse_facts(device, module, agent, companion)


def _some_lack_a_base(services: Services, targeted: Sequence[str]) -> bool:
    return any(not fetch_facts(services, device, "").has_base for device in targeted)


def _withdraw(
    services: Services,
    layer: ModelLayer,
    fleet: Fleet,
    targeted: Sequence[str],
    timeout_s: float,
    on_change: Callable[[Outcome], None],
) -> str:
    """What became of the devices after the failed layer was removed: the previous release serves again, as
    measured on them, or the model is gone."""
    services.hub.delete_configuration(layer.name)
    removed = f"the layer {layer.name} was removed"
    services.say(removed)
    previous = max(_beneath(services, layer, fleet), key=lambda other: other.priority, default=None)
    if previous is None:
        for device in targeted:
            await_gone(services, device, layer.model, timeout_s)
        return f"{removed}, {layer.model} with it: there is no earlier release"
    entry = find_release(services, previous.release)
    state, reason = judge_rollout(watch(services, entry, previous, targeted, timeout_s, on_change))
    return f"{removed}, {previous.release} serves again: {state}: {reason}"


def collect_older(services: Services, layer: ModelLayer, release: Entry, fleet: Fleet) -> None:
    """Remove what is older than the previous release for the same devices: its layer, its image and tag in
    the registry; and older companions. The previous release stays, beneath this one. Images stay where there
    are environments: another one, perhaps on another hub, may run what this one has left behind."""
    *old, _ = sorted(_beneath(services, layer, fleet), key=lambda other: other.priority) or [layer]
    for other in old:
        services.hub.delete_configuration(other.name)
    needed = {layer.digest, *(other.digest for other in _others(services, layer, fleet))}
    for digest in () if fleet.environment else {other.digest for other in old} - needed:
        try:
            services.registry.remove(layer.model, digest)
        except OutsideError as error:  # the release is on its devices all the same
            services.say(f"{layer.model}@{digest} stays in the registry: {error.problem}")
    companion = companion_layer_name(release.body["companion"]["digest"], fleet)
    for configuration in filter(fleet.owns, services.hub.configurations()):
        labels = configuration.get("labels") or {}
        if labels.get("edgeferry") == "companion" and configuration["id"] != companion:
            services.hub.delete_configuration(configuration["id"])


def _others(services: Services, layer: ModelLayer, fleet: Fleet) -> list[ModelLayer]:
    """The model's other layers of this environment."""
    layers = map(parse_model_layer, filter(fleet.owns, services.hub.configurations()))
    return [other for other in layers if other and other.model == layer.model and other.name != layer.name]


def _beneath(services: Services, layer: ModelLayer, fleet: Fleet) -> list[ModelLayer]:
    """The model's other layers for the same devices: those with the same target condition."""
    same = layer.target_condition
    return [other for other in _others(services, layer, fleet) if other.target_condition == same]


def _is_recorded(services: Services, layer: ModelLayer) -> bool:
    """Whether the ledger says that this very layer has succeeded."""
    wanted = (layer.nonce, layer.target_condition, str(State.SUCCEEDED))
    entries = services.ledger.entries("rollout", layer.release)
    return any(
        (e.body.get("nonce"), e.body.get("target_condition"), e.body.get("state")) == wanted for e in entries
    )


def _record(result: RolloutResult, layer: ModelLayer, approval: str) -> Json:
    return {
        "release": result.release,
        "layer": layer.name,
        "target_condition": layer.target_condition,
        "nonce": layer.nonce,
        "approval": approval,
        "state": str(result.state),
        "reason": result.reason,
        "devices": {
            outcome.device: {"state": str(outcome.state), "reason": outcome.reason, "digest": outcome.digest}
            for outcome in result.outcomes
        },
    }


def _render_tags(condition: str) -> str:
    """What `edgeferry devices tag` takes to let a device match; KEY=VALUE where that cannot be told."""
    wanted = wanted_tags(parse_condition(condition)) or {}
    return (
        " ".join(shlex.quote(f"{name}={_render_value(value)}") for name, value in wanted.items())
        or "KEY=VALUE"
    )


def _render_value(value: str | float | bool) -> str:
    """As text where it would be read as text again, else as JSON."""
    try:
        json.loads(str(value))
    except ValueError:
        if isinstance(value, str):
            return value
    return json.dumps(value)
