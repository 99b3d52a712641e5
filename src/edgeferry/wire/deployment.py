"""Deployments as the hub takes them: base, layers of the companion and of models, the base that stands in a
layer's place for an agent; and reading them back.

Format: IoT Hub service REST 2021-04-12 `Configuration`; `$edgeAgent` and `$edgeHub` desired properties schema
1.1 (IoT Edge 1.0.10 and later); layered keys are full paths, `properties.desired.modules.<name>`. A layer is
the same for both runtimes but for its health check, of which our agent has no need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.edge_runtime import EdgeRuntime
from edgeferry.domain.fields import members
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import AGENT, is_base, list_entries, locate
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.domain.model import COMPANION, DEVICE_AGENT, RESERVED
from edgeferry.domain.notation import render_path, render_text
from edgeferry.domain.smoke import DIGEST_VARIABLE, NONCE_VARIABLE, SmokeRequest
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import render_canonical
from edgeferry.wire.capture import CAPTURES_FOLDER
from edgeferry.wire.capture_page import CAPTURES_PORT, render_source
from edgeferry.wire.edge import render_module, render_settings
from edgeferry.wire.verdict import COMPANION_PORT, render_smoke_request

Json = dict[str, Any]

_BASE_NAME = "edgeferry-base"
BASE_PRIORITY = 0
FIRST_MODEL_PRIORITY = 1000
"""Layers rise from here with each rollout."""
COMPANION_PRIORITY = FIRST_MODEL_PRIORITY - 1
"""Of the first companion, which comes with the first model, and stands above the same bases."""
SCORE_PORT = 8080
_DESIRED = "properties.desired"
_SYSTEM_LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class ModelLayer:
    """What a layer on the hub says about itself (its labels): a model's, or the companion's. Of an agent it
    is a base, as no layer may bring system modules."""

    name: str
    model: str
    """The name of its module."""
    release: str
    digest: str
    cases_sha256: str
    nonce: str
    target_condition: str
    priority: int


def base_name(fleet: Fleet) -> str:
    """The name of the fleet's base deployment."""
    return f"{_BASE_NAME}{fleet.suffix}"


def render_base(fleet: Fleet) -> Json:
    """A base deployment: IoT Edge's two system modules and nothing else. IoT Edge runs them, and gets bounded
    logs, no host ports and a route for what modules send; our agent recognises and reports them."""
    runtime = fleet.runtime
    on_iot_edge = runtime.kind == "iotedge"
    options = {"HostConfig": {"LogConfig": _SYSTEM_LOG}} if on_iot_edge else {}
    edge_agent = ModuleSpec("edgeAgent", runtime.agent_image, options)
    edge_hub = ModuleSpec("edgeHub", runtime.hub_image, options)
    system: Json = {
        "edgeAgent": {"type": "docker", "settings": render_settings(edge_agent)},
        "edgeHub": {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "startupOrder": 0,
            "settings": render_settings(edge_hub),
        },
    }
    if on_iot_edge:
        system["edgeHub"]["env"] = {"OptimizeForPerformance": {"value": False}}
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": system,
        "modules": {},
    }
    hub = {
        "schemaVersion": "1.1",
        "routes": {"upstream": {"route": "FROM /messages/* INTO $upstream"}} if on_iot_edge else {},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
    }
    content = {
        "$edgeAgent": {"properties.desired": agent},
        "$edgeHub": {"properties.desired": hub},
    }
    return render_configuration(
        base_name(fleet), content, fleet.all_devices, BASE_PRIORITY, {"edgeferry": "base", **fleet.labels}
    )


def render_companion_layer(layer: ModelLayer, image: str, fleet: Fleet) -> Json:
    """The layer that brings a companion, and tells it by which rollout."""
    options = render_limits(fleet.limits, port=COMPANION_PORT)
    spec = ModuleSpec(
        name=COMPANION,
        image=image,
        create_options={**options, **_render_health(fleet.runtime, COMPANION_PORT, "/verdict")},
        env={NONCE_VARIABLE: layer.nonce},
        startup_order=1,
    )
    content = {"$edgeAgent": {f"properties.desired.modules.{COMPANION}": render_module(spec)}}
    labels = _render_labels(layer, COMPANION, fleet)
    return render_configuration(layer.name, content, layer.target_condition, layer.priority, labels)


def render_model_layer(layer: ModelLayer, image: str, version: str, fleet: Fleet) -> Json:
    """The layer of one release: the module with a volume for its captures, and on the companion's twin the
    order to smoke-test it and where its captures are. Its metric `proven` counts devices whose smoke test of
    this very rollout passed."""
    options = render_limits(fleet.limits, port=SCORE_PORT, publish=True)
    options |= _render_health(fleet.runtime, SCORE_PORT, "/health")
    options["HostConfig"]["Mounts"] = [
        {"Type": "volume", "Source": f"{layer.model}-captures", "Target": CAPTURES_FOLDER}
    ]
    spec = ModuleSpec(
        name=layer.model,
        image=image,
        create_options=options,
        env={DIGEST_VARIABLE: layer.digest},
        startup_order=10,
    )
    smoke = SmokeRequest(
        model=layer.model,
        url=f"http://{layer.model}:{SCORE_PORT}",
        digest=layer.digest,
        version=version,
        cases_sha256=layer.cases_sha256,
        nonce=layer.nonce,
    )
    content = {
        "$edgeAgent": {f"properties.desired.modules.{layer.model}": render_module(spec)},
        COMPANION: {
            f"properties.desired.models.{layer.model}": render_smoke_request(smoke),
            f"properties.desired.captures.{layer.model}": render_source(
                f"http://{layer.model}:{CAPTURES_PORT}"
            ),
        },
    }
    labels = _render_labels(layer, "model", fleet)
    verdict = render_path("properties", "reported", "verdicts", layer.model)
    proven = (
        f"SELECT deviceId FROM devices.modules WHERE moduleId = {render_text(COMPANION)} "
        f"AND {verdict}.state = 'Passed' AND {verdict}.nonce = {render_text(layer.nonce)}"
    )
    return render_configuration(
        layer.name, content, layer.target_condition, layer.priority, labels, {"proven": proven}
    )


def render_agent_base(base: Mapping[str, Any], layer: ModelLayer, image: str, fleet: Fleet) -> Json:
    """The base of one rollout of an agent: a copy of the `base` with another image for `edgeAgent`, whose
    environment tells of which rollout it is. UsageError when the base cannot be copied so."""
    content = members(members(base.get("content")).get("modulesContent"))
    desired = members(members(content.get(AGENT)).get(_DESIRED))
    kind, name = locate(layer.model)
    entry = members(list_entries(desired, kind).get(name))
    below = [path for path in members(content.get(AGENT)) if path.startswith(f"{_DESIRED}.{kind}")]
    if not entry or below:
        why = f"it sets {below[0]} beside its {_DESIRED}" if below else f"it names no {kind}.{name}"
        raise UsageError(
            f"the base {base.get('id')} cannot be copied for another agent: {why}",
            fix=f"let it name {kind}.{name} in {_DESIRED}",
        )
    changed = {
        **entry,
        "env": {**members(entry.get("env")), NONCE_VARIABLE: {"value": layer.nonce}},
        "settings": {**members(entry.get("settings")), "image": image},
    }
    agent = {**desired, kind: {**members(desired.get(kind)), name: changed}}
    copied = {**content, AGENT: {**members(content.get(AGENT)), _DESIRED: agent}}
    runs = render_path("properties", "reported", kind, name, "settings", "image")
    ours = f"moduleId = {render_text(AGENT)} AND {runs} = {render_text(image)}"
    return render_configuration(
        layer.name,
        copied,
        layer.target_condition,
        layer.priority,
        _render_labels(layer, DEVICE_AGENT, fleet),
        {"proven": f"SELECT deviceId FROM devices.modules WHERE {ours}"},
    )


def _render_labels(layer: ModelLayer, kind: str, fleet: Fleet) -> dict[str, str]:
    return {
        "edgeferry": kind,
        "model": layer.model,
        "release": layer.release,
        "digest": layer.digest,
        "cases_sha256": layer.cases_sha256,
        "nonce": layer.nonce,
        **fleet.labels,
    }


def model_layer_name(release: str, fleet: Fleet) -> str:
    """The name of a release's layer, in the letters that a deployment's may have."""
    return f"edgeferry-{release}{fleet.suffix}".lower().replace(".", "_")


def parse_model_layer(configuration: Mapping[str, Any]) -> ModelLayer | None:
    """What a deployment says about itself, when it is one of our layers of a model or the companion, or the
    base of an agent's rollout."""
    labels = configuration.get("labels") or {}
    if labels.get("edgeferry") not in ("model", COMPANION, DEVICE_AGENT):
        return None
    return ModelLayer(
        name=configuration["id"],
        model=labels.get("model") or COMPANION,
        release=labels.get("release", ""),
        digest=labels.get("digest", ""),
        cases_sha256=labels.get("cases_sha256", ""),
        nonce=labels.get("nonce", ""),
        target_condition=configuration.get("targetCondition") or "",
        priority=int(configuration.get("priority") or 0),
    )


def parse_layers(configurations: Iterable[Mapping[str, Any]]) -> list[ModelLayer]:
    """Our layers of models and of the companion, and the bases of agents, among the deployments, in their
    order."""
    return [layer for one in configurations if (layer := parse_model_layer(one))]


def holds_layer(configuration: Mapping[str, Any], layer: ModelLayer) -> bool:
    """Whether a deployment is that very layer: it brings this image, and asks for the proof of this rollout.
    What its labels say does not count: anybody may edit them, and nobody the content."""
    content = members(members(configuration.get("content")).get("modulesContent"))
    agent = members(content.get(AGENT))
    kind, name = locate(layer.model)
    if is_base(content):
        module = members(list_entries(members(agent[_DESIRED]), kind).get(name))
    else:
        module = members(agent.get(f"{_DESIRED}.{kind}.{name}"))
    if layer.model in RESERVED:
        nonce = members(members(module.get("env")).get(NONCE_VARIABLE)).get("value")
    else:
        asked = members(content.get(COMPANION)).get(f"properties.desired.models.{layer.model}")
        nonce = members(asked).get("nonce")
    image = str(members(module.get("settings")).get("image") or "")
    return image.endswith(f"@{layer.digest}") and nonce == layer.nonce


def hash_content(document: Mapping[str, Any]) -> str:
    """The sha256 (hex) of what a deployment brings."""
    return hashlib.sha256(render_canonical(document["content"])).hexdigest()


def render_limits(device_class: DeviceClass, *, port: int, publish: bool = False) -> Json:
    """The Docker create body (API 1.41) that holds a container to the device class: read-only root, no
    capabilities, bounded memory and CPU; `publish` asks for a host port of the engine's choice."""
    host: Json = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": device_class.memory_bytes,
        "NanoCpus": int(device_class.cpus * 1_000_000_000),
        "PidsLimit": device_class.pids,
        "Tmpfs": {"/tmp": "size=16m"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
    }
    if publish:
        host["PortBindings"] = {f"{port}/tcp": [{"HostPort": ""}]}
    return {"ExposedPorts": {f"{port}/tcp": {}}, "HostConfig": host}


def render_configuration(
    name: str,
    content: Json,
    condition: str,
    priority: int,
    labels: Mapping[str, str],
    queries: Mapping[str, str] | None = None,
) -> Json:
    """A `Configuration` of the REST API that brings `content` (`modulesContent`)."""
    return {
        "id": name,
        "schemaVersion": "2.0",
        "labels": dict(labels),
        "content": {"modulesContent": content},
        "targetCondition": condition,
        "priority": priority,
        "metrics": {"results": {}, "queries": dict(queries or {})},
        "etag": "*",
    }


def _render_health(runtime: EdgeRuntime, port: int, path: str) -> Json:
    """The engine's own health check, for whoever looks at an IoT Edge device with docker or a monitor; IoT
    Edge does not act on it. Our agent would, and what it knows of health it has from the companion."""
    if runtime.kind != "iotedge":
        return {}
    ask = f"import urllib.request as r;r.urlopen('http://127.0.0.1:{port}{path}',timeout=5)"
    return {
        "Healthcheck": {
            "Test": ["CMD", "python3", "-c", ask],
            "Interval": 30 * _SECOND_NS,
            "Timeout": 10 * _SECOND_NS,
            "StartPeriod": 60 * _SECOND_NS,
            "Retries": 3,
        }
    }
