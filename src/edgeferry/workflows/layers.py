"""Layers: which deployments a release needs on the hub, given those that are there."""

from __future__ import annotations

from collections.abc import Sequence

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import find_content_fault
from edgeferry.domain.model import COMPANION, DEVICE_AGENT, RESERVED
from edgeferry.domain.release import Entry
from edgeferry.errors import UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import (
    COMPANION_PRIORITY,
    FIRST_MODEL_PRIORITY,
    ModelLayer,
    model_layer_name,
    parse_layers,
    render_agent_base,
    render_base,
    render_companion_layer,
    render_model_layer,
)
from edgeferry.wire.pull_login import next_pull_layer, placeholder_login, render_pull_layer
from edgeferry.workflows.agent_base import copy_base
from edgeferry.workflows.pull_login import pull_layers
from edgeferry.workflows.release import find_elsewhere


def render_all(
    services: Services,
    release: Entry,
    condition: str,
    fleet: Fleet,
    existing: Sequence[Json],
) -> dict[str, Json]:
    """What a rollout of the release would put on a hub that holds `existing`, in the order in which it would:
    `base`, for IoT Edge `pull` with placeholders for the login, `companion` where there is none, `layer`."""
    documents = {"base": render_base(fleet)}
    if fleet.runtime.kind == "iotedge":
        login = placeholder_login(services.registry.host)
        earlier = pull_layers(filter(fleet.owns, existing), login.address)
        documents["pull"] = render_pull_layer(next_pull_layer(login, fleet, earlier), fleet)
    if first := first_companion(services, release, fleet, existing):
        documents["companion"] = render_layer(services, release, first, fleet)
    layer, base = choose_layer(services, release, condition, fleet, existing), None
    if layer.model == DEVICE_AGENT:
        base, layer = copy_base(layer, fleet, existing, ())
    documents["layer"] = render_layer(services, release, layer, fleet, base)
    return documents


def first_companion(
    services: Services, release: Entry, fleet: Fleet, existing: Sequence[Json]
) -> ModelLayer | None:
    """The layer of the companion that comes with a model where the environment has none, for all its devices;
    None where there is one: then it changes by its own rollouts only."""
    layers = parse_layers(filter(fleet.owns, existing))
    if release.body["model"] in RESERVED or COMPANION in (layer.model for layer in layers):
        return None
    companion = release.body["companion"]
    if "release" not in companion:  # of an edgeferry that did not release companions
        raise UsageError(
            f"{release.subject} names no release of a companion, and the fleet has none",
            fix=f"release it again: edgeferry release {release.body['model']}",
        )
    return ModelLayer(
        name=model_layer_name(companion["release"], fleet),
        model=COMPANION,
        release=companion["release"],
        digest=companion["digest"],
        cases_sha256="",
        nonce=services.new_id(),
        target_condition=fleet.all_devices,
        priority=COMPANION_PRIORITY,
    )


def choose_layer(
    services: Services, release: Entry, condition: str, fleet: Fleet, existing: Sequence[Json]
) -> ModelLayer:
    """The model's layer as a rollout would leave it: the very one that is there, else the next one."""
    placed = find_placed(existing, release, condition, fleet)
    return placed or next_layer(services, release, condition, fleet, existing)


def find_placed(existing: Sequence[Json], release: Entry, condition: str, fleet: Fleet) -> ModelLayer | None:
    """The release's layer that targets `condition`, unless another layer of the model stands above it."""
    layers = parse_layers(filter(fleet.owns, existing))
    ours = [layer for layer in layers if layer.model == release.body["model"]]
    top = max(ours, key=lambda layer: layer.priority, default=None)
    return top if top and (top.release, top.target_condition) == (release.subject, condition) else None


def next_layer(
    services: Services, release: Entry, condition: str, fleet: Fleet, existing: Sequence[Json]
) -> ModelLayer:
    """A new layer for the release above all others, with a nonce of its own, and a name of its own where the
    release has a layer already: that one stays as it is, beneath."""
    body = release.body
    nonce = services.new_id()
    name = model_layer_name(release.subject, fleet)
    if name in {one["id"] for one in existing}:
        name = f"{name}-{nonce[:8]}"
    return ModelLayer(
        name=name,
        model=body["model"],
        release=release.subject,
        digest=body["digest"],
        cases_sha256=body["cases_sha256"],
        nonce=nonce,
        target_condition=condition,
        priority=next_priority(existing),
    )


def next_priority(existing: Sequence[Json]) -> int:
    """Above all layers on the hub."""
    return max([FIRST_MODEL_PRIORITY - 1, *(layer.priority for layer in parse_layers(existing))]) + 1


def render_layer(
    services: Services, release: Entry, layer: ModelLayer, fleet: Fleet, base: Json | None = None
) -> Json:
    """The layer as a deployment; of an agent a copy of the `base`. UsageError when a device's twin could not
    hold it."""
    image = find_image(services, release, layer)
    if layer.model == DEVICE_AGENT:
        document = render_agent_base(base or render_base(fleet), layer, image, fleet)
    elif layer.model == COMPANION:
        document = render_companion_layer(layer, image, fleet)
    else:
        document = render_model_layer(layer, image, release.body["version"], fleet)
    fault = find_content_fault(document["content"]["modulesContent"])
    if fault:
        raise UsageError(f"the layer of {release.subject} fits no twin: {fault}", fix="use shorter names")
    return document


def find_image(services: Services, release: Entry, layer: ModelLayer) -> str:
    """The image that the layer brings: in our registry, unless the agent's release says where else."""
    return find_elsewhere(release) or services.registry.reference(layer.model, layer.digest)
