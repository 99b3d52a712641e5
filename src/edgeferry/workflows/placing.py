"""Placing: what a rollout puts on the hub, moves there, and takes away again.

A rollout's layer is an object of its own above all others of its model; what it replaces stays beneath it
until the rollout is committed. So a wave is one edit of the layer's target condition, and going back is one
object less. Each of these can be done again, by anybody, without doing it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeferry.domain.fields import members
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.model import COMPANION, DEVICE_AGENT
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State, judge_rollout
from edgeferry.domain.rollout_record import Serving
from edgeferry.domain.typed import render_choices
from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import (
    ModelLayer,
    base_name,
    holds_layer,
    parse_layers,
    parse_model_layer,
    render_base,
)
from edgeferry.workflows.agent_base import copy_approved
from edgeferry.workflows.layers import find_image, first_companion, next_priority, render_layer
from edgeferry.workflows.pull_login import apply_pull_login
from edgeferry.workflows.release import find_release
from edgeferry.workflows.removal import CHANGED, collect, remove_as_read
from edgeferry.workflows.reports import Reports
from edgeferry.workflows.rollouts import Record, load_rollouts
from edgeferry.workflows.watch import Watched, await_gone, render_deleted, watch

NO_EARLIER = "there is no earlier release"
"""What is said where nothing serves after a layer was removed."""
Change = Literal["created", "updated", "unchanged", "overtaken"]
_GONE = 404
_TAKEN = 409
_TRIES = 10


def lay_ground(services: Services, release: Entry, fleet: Fleet, targeted: Sequence[str]) -> None:
    """The base, the login to pull with and, beneath a model, a companion's layer are on the hub: made where
    they are missing. A base that is not ours is never covered."""
    existing = services.hub.configurations()
    names = {configuration["id"] for configuration in existing}
    if base_name(fleet) not in names and _some_lack_a_base(services, targeted):
        _create(services, render_base(fleet))
    if fleet.runtime.kind == "iotedge":
        apply_pull_login(services, services.pull_login(), fleet)
    if first := first_companion(services, release, fleet, existing):
        _create(services, render_layer(services, release, first, fleet))


def place_layer(
    services: Services,
    release: Entry,
    layer: ModelLayer,
    condition: str,
    fleet: Fleet,
    still: Callable[[], bool],
    over: Callable[[], bool] = lambda: False,
    content_sha256: str = "",
) -> Change:
    """The layer is on the hub and targets `condition`; `overtaken`, and nothing is touched, when `still` says
    no after the hub was read: somebody else went on meanwhile. Who is so slow that the rollout is `over` by
    the time the hub has answered takes back what they did. RefusedError when another deployment has its
    name, or when of an agent's base nothing on the hub has the content `content_sha256` that was approved."""
    found = services.hub.configuration(layer.name)
    if not still():
        return "overtaken"
    if found is None:
        existing, base = services.hub.configurations(), None
        placed = replace(layer, priority=next_priority(existing))
        if layer.model == DEVICE_AGENT:
            image, devices = (
                find_image(services, release, layer),
                services.hub.devices(layer.target_condition),
            )
            base, placed = copy_approved(placed, image, fleet, existing, content_sha256, devices)
        placed = replace(placed, target_condition=condition)
        if not _create(services, render_layer(services, release, placed, fleet, base)):
            return "overtaken"
        if over():
            services.say(f"the rollout was ended while its layer was placed: {remove_layer(services, layer)}")
            return "overtaken"
        return "created"
    if not holds_layer(found, layer):
        raise _taken(layer, fleet)
    if found.get("targetCondition") == condition:
        return "unchanged"
    try:
        edited = services.hub.update_configuration({**found, "targetCondition": condition})
        if not over():
            return "updated"
        services.hub.update_configuration({**edited, "targetCondition": found.get("targetCondition")})
        services.say(f"the rollout was ended while {layer.name} was edited: it targets what it did before")
    except HubError as error:
        if error.status not in (CHANGED, _GONE):
            raise
    return "overtaken"


def list_layers(services: Services, fleet: Fleet | None = None) -> list[ModelLayer]:
    """The layers of models, the companion and the agent on the hub; with a fleet those of its environment."""
    existing = services.hub.configurations()
    return parse_layers(existing if fleet is None else filter(fleet.owns, existing))


def find_layer(services: Services, name: str) -> ModelLayer:
    """The layer of that name on the hub; HubError when nobody has it there any more."""
    found = services.hub.configuration(name)
    layer = parse_model_layer(found) if found else None
    if layer is None:
        raise HubError(
            f"the layer {name} is not on the hub any more", fix="see who took it away, then try again"
        )
    return layer


@dataclass(frozen=True)
class Beneath:
    """The model's other layers of one environment, and what the ledger says of the rollout of each."""

    layers: tuple[ModelLayer, ...]
    rollouts: Mapping[str, Record]
    """By layer."""
    read: Mapping[str, Json]
    """Their deployments as they were read, by layer."""

    def same_devices(self, layer: ModelLayer, condition: str) -> list[ModelLayer]:
        """Those for the same devices, the lowest first: one whose rollout was for them and did not get so far
        is too. The same release for other devices is not: it is theirs."""
        found = [other for other in self.layers if condition in (other.target_condition, self._meant(other))]
        return sorted(found, key=lambda other: other.priority)

    def is_unproven(self, layer: ModelLayer) -> bool:
        """Whether its rollout is known to have ended badly, or not at all."""
        record = self.rollouts.get(layer.name)
        return record is not None and (not record.state.end or record.state.end[0] is not State.SUCCEEDED)

    def _meant(self, layer: ModelLayer) -> str:
        record = self.rollouts.get(layer.name)
        return str(record.start.body.get("condition")) if record else layer.target_condition


def find_beneath(services: Services, layer: ModelLayer, fleet: Fleet) -> Beneath:
    """What else of the model this environment has on the hub."""
    existing = [one for one in services.hub.configurations() if fleet.owns(one)]
    read = {str(one["id"]): one for one in existing}
    others = [
        each for each in parse_layers(existing) if each.model == layer.model and each.name != layer.name
    ]
    records = load_rollouts(services, {"nonce": [each.nonce for each in others]}) if others else []
    by_nonce = {record.state.nonce: record for record in records}
    known = {each.name: by_nonce[each.nonce] for each in others if each.nonce in by_nonce}
    return Beneath(tuple(others), known, read)


def take_away(services: Services, layer: ModelLayer, fleet: Fleet) -> str:
    """The layer is gone from the hub; what to say of it. RefusedError when another deployment has its name:
    that one stays."""
    said = remove_layer(services, layer)
    if not said:
        raise _taken(layer, fleet)
    return said


def remove_layer(services: Services, layer: ModelLayer) -> str:
    """The layer is gone from the hub, and what to say of it; "" when another deployment has its name, which
    is left alone. Nothing is deleted but what was read."""
    for _ in range(_TRIES):
        found = services.hub.configuration(layer.name)
        if found is None:
            break
        if not holds_layer(found, layer):
            return ""
        if remove_as_read(services, layer.name, str(found.get("etag") or "*")):
            break
        services.say(f"{layer.name} was changed while it was being removed: it is read again")
    else:
        raise HubError(
            f"{layer.name} was changed {_TRIES} times while it was being removed",
            fix="see who writes to the hub, then try again",
            retryable=True,
        )
    return f"the layer {layer.name} was removed"


def await_previous(
    services: Services,
    layer: ModelLayer,
    condition: str,
    fleet: Fleet,
    devices: Sequence[str],
    timeout_s: float,
    on_change: Callable[[Outcome], None],
) -> tuple[str, Serving | None]:
    """What became of the devices after the layer was removed: the previous release serves again, as measured
    on them, or the model is gone."""
    try:
        beneath = find_beneath(services, layer, fleet).same_devices(layer, condition)
        if not beneath:
            digest = layer.digest if layer.model == DEVICE_AGENT else ""  # devices always have one
            await_gone(services, devices, layer.model, timeout_s, digest)
            return f"{layer.model} with it: {NO_EARLIER}", None
        previous = beneath[-1]
        if not previous.release:
            return f"{previous.name} serves again, which is of no release and is not measured", None
        entry = find_release(services, previous.release)
        watched = watch(services, entry, previous, devices, timeout_s, on_change)
        return render_settled(previous, watched), Serving(previous.release, watched.outcomes)
    except (OutsideError, RefusedError, UsageError) as error:
        return f"what serves now is not known: {error.problem}", None


def render_settled(previous: ModelLayer, watched: Watched) -> str:
    """What is said of the release that serves after another was taken back."""
    state, reason = judge_rollout(watched.outcomes)
    return f"{previous.release} serves again: {state}: {reason}{render_deleted(watched)}"


def collect_older(services: Services, layer: ModelLayer, fleet: Fleet) -> None:
    """Remove what is older than the previous release for the same devices: its layer, its image and tag in
    the registry. The previous release stays, beneath this one. Images stay where there
    are environments: another one, perhaps on another hub, may run what this one has left behind. So do
    companions that a model's release names which is there still: they would come with it again."""
    found = find_beneath(services, layer, fleet)
    beneath = found.same_devices(layer, layer.target_condition)
    others = [each for each in reversed(beneath) if each.release != layer.release]
    proven = [each for each in others if not found.is_unproven(each)]
    previous = next(iter(proven or others), None)
    stale = [each for each in beneath if each != previous]
    old = [each for each in stale if collect(services, found.read[each.name])]
    needed = {layer.digest, *(other.digest for other in found.layers if other not in old)}
    if layer.model == COMPANION:
        needed |= _named_companions(services)
    for digest in () if fleet.environment else {other.digest for other in old} - needed:
        try:
            services.registry.remove(layer.model, digest)
        except OutsideError as error:  # the release is on its devices all the same
            services.say(f"{layer.model}@{digest} stays in the registry: {error.problem}")


def _named_companions(services: Services) -> set[str]:
    """The images of the companions that would come first with the models' releases on the hub."""
    there = {layer.release for layer in list_layers(services) if layer.model != COMPANION}
    named = (each.body.get(COMPANION) for each in services.ledger.entries("release") if each.subject in there)
    return {str(members(companion).get("digest")) for companion in named}


def _taken(layer: ModelLayer, fleet: Fleet) -> RefusedError:
    choices = {
        "see it": ("deployments", "show", layer.name),
        "when nobody needs it": ("deployments", "delete", layer.name),
    }
    return RefusedError(
        f"the deployment {layer.name} at the hub is not the one of this rollout: somebody has put another in "
        "its place",
        fix=render_choices(fleet.environment, choices),
    )


def _create(services: Services, document: Json) -> bool:
    """Whether the hub took it; no when it has one of that name already."""
    try:
        services.hub.create_configuration(document)
    except HubError as error:
        if error.status != _TAKEN:
            raise
        return False
    return True


def _some_lack_a_base(services: Services, targeted: Sequence[str]) -> bool:
    return any(not report.facts.has_base for _, report in Reports(services, "").read(targeted))
