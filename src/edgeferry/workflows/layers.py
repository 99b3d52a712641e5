"""Layers: which deployments a release needs on the hub, given those that are there."""

from __future__ import annotations

from collections.abc import Sequence

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import find_content_fault
from edgeferry.domain.release import Entry
from edgeferry.errors import UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import (
    COMPANION,
    COMPANION_PRIORITY,
    FIRST_MODEL_PRIORITY,
    ModelLayer,
    model_layer_name,
    parse_model_layer,
    render_base,
    render_companion_layer,
    render_model_layer,
)
from edgeferry.wire.pull_login import next_pull_layer, placeholder_login, render_pull_layer
from edgeferry.workflows.pull_login import pull_layers


def render_all(
    services: Services,
    release: Entry,
    condition: str,
    fleet: Fleet,
    existing: Sequence[Json],
) -> dict[str, Json]:
    """What a rollout of the release would put on a hub that holds `existing`, in the order in which it would:
    `base`, for IoT Edge `pull` with placeholders for the login, `companion`, `layer`."""
    documents = {"base": render_base(fleet)}
    if fleet.runtime.kind == "iotedge":
        login = placeholder_login(services.registry.host)
        earlier = pull_layers(filter(fleet.owns, existing), login.address)
        documents["pull"] = render_pull_layer(next_pull_layer(login, fleet, earlier), fleet)
    documents["companion"] = render_companion(services, release, fleet, existing)
    layer = choose_layer(services, release, condition, fleet, existing)
    documents["layer"] = render_layer(services, release, layer, fleet)
    return documents


def render_companion(
    services: Services,
    release: Entry,
    fleet: Fleet,
    existing: Sequence[Json],
) -> Json:
    """The layer of the release's companion, above the companions of earlier releases."""
    digest = release.body["companion"]["digest"]
    earlier = [c["priority"] for c in existing if (c.get("labels") or {}).get("edgeferry") == "companion"]
    image = services.registry.reference(COMPANION, digest)
    return render_companion_layer(image, digest, fleet, max([COMPANION_PRIORITY - 1, *earlier]) + 1)


def choose_layer(
    services: Services, release: Entry, condition: str, fleet: Fleet, existing: Sequence[Json]
) -> ModelLayer:
    """The model's layer: the very one that is there when it targets `condition` and no later release of the
    model stands above it; else one above all others, with a nonce of its own when the release has none."""
    body = release.body
    name = model_layer_name(release.subject, fleet)
    layers = [(layer, fleet.owns(one)) for one in existing if (layer := parse_model_layer(one))]
    ours = [layer for layer, owned in layers if owned]
    found = next((layer for layer in ours if layer.name == name), None)
    highest = max((layer.priority for layer in ours if layer.model == body["model"]), default=0)
    if found and found.target_condition == condition and found.priority == highest:
        return found
    return ModelLayer(
        name=name,
        model=body["model"],
        release=release.subject,
        digest=body["digest"],
        cases_sha256=body["cases_sha256"],
        nonce=found.nonce if found else services.new_id(),
        target_condition=condition,
        priority=max([FIRST_MODEL_PRIORITY - 1, *(layer.priority for layer, _ in layers)]) + 1,
    )


def render_layer(services: Services, release: Entry, layer: ModelLayer, fleet: Fleet) -> Json:
    """The model's layer as a deployment; UsageError when a device's twin could not hold it."""
    image = services.registry.reference(layer.model, layer.digest)
    document = render_model_layer(layer, image, release.body["version"], fleet)
    fault = find_content_fault(document["content"]["modulesContent"])
    if fault:
        raise UsageError(f"the layer of {release.subject} fits no twin: {fault}", fix="use shorter names")
    return document
