"""A module's container: the create body the engine gets, and what the agent reads back from its labels.

The desired createOptions pass through but for what the agent must add or change: image, environment, labels,
the device's network, the way to the hub, the folder of its workload API, an init process, host ports of the
engine's choice on loopback, and volume names of this device's own. No key is in it. Restarting is the agent's
business, not the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.device.workload_answers import LAST_VERSION
from edgeferry.device.workload_door import SOCKET
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.errors import DesiredError
from edgeferry.wire.edge import module_hash, parse_module, render_module

Json = dict[str, Any]

SANDBOX_LABEL = "edgeferry.sandbox"
DEVICE_LABEL = "edgeferry.device"
MODULE_LABEL = "edgeferry.module"
SPEC_LABEL = "edgeferry.spec"
"""The hash that is compared with the desired one."""
DESIRED_LABEL = "edgeferry.desired"
"""The desired module the container was made from, as JSON."""
WORKLOAD_IN_CONTAINER = "/run/edgeferry"
"""Where a module finds the folder of its socket."""
_LOG_LEVEL = "RuntimeLogLevel"
"""IoT Edge gives it to every module whose deployment does not."""


@dataclass(frozen=True)
class Place:
    """Where a device's containers live."""

    sandbox: str
    device: str
    gateway_name: str
    gateway_address: str
    hub: str = ""
    """The hub's host name, as signatures name it."""
    ca_sha256: str = ""
    """Of what modules trust the hub by; empty for the system's authorities."""
    workload: str = ""
    """The folder, on the engine's machine, with a folder for each module's socket."""
    generation: str = ""
    """Which life of that folder this is."""

    @property
    def network(self) -> str:
        """The device's network; volumes and containers begin with it too."""
        return f"edgeferry.{self.sandbox}.{self.device}"

    @property
    def labels(self) -> dict[str, str]:
        """What all of this device's containers and networks carry."""
        return {SANDBOX_LABEL: self.sandbox, DEVICE_LABEL: self.device}

    def container(self, module: str) -> str:
        """The name of the module's container."""
        return f"{self.network}.{module}"


def spec_hash(place: Place, spec: ModuleSpec) -> str:
    """The hash that a container made from `spec` in `place` carries. Restart policy and startup order are
    not in it: the agent follows them without making the container anew."""
    return module_hash(
        {
            "image": spec.image,
            "createOptions": dict(spec.create_options),
            "env": dict(spec.env),
            "version": spec.version,
            "status": spec.status,
            "hub": [place.hub, place.gateway_name, place.gateway_address, place.ca_sha256],
            "workload": [place.workload, place.generation],
        }
    )


def render_environment(place: Place, module: str) -> dict[str, str]:
    """The variables by which IoT Edge tells a module its hub and its workload API."""
    return {
        "IOTEDGE_IOTHUBHOSTNAME": place.hub,
        "IOTEDGE_DEVICEID": place.device,
        "IOTEDGE_MODULEID": module,
        "IOTEDGE_GATEWAYHOSTNAME": place.gateway_name,
        "IOTEDGE_MODULEGENERATIONID": place.generation,
        "IOTEDGE_WORKLOADURI": f"unix://{WORKLOAD_IN_CONTAINER}/{SOCKET}",
        "IOTEDGE_APIVERSION": LAST_VERSION,
        "IOTEDGE_AUTHSCHEME": "sasToken",
    }


def render_container(place: Place, spec: ModuleSpec) -> Json:
    """The raw create body (Docker Engine API ContainerCreate) of the module's container."""
    options = dict(spec.create_options)
    env = render_environment(place, spec.name)
    lines = [line for line in options.get("Env") or () if line.partition("=")[0] not in env]
    if not any(line.startswith(f"{_LOG_LEVEL}=") for line in lines):
        env = {_LOG_LEVEL: spec.env.get(_LOG_LEVEL, "info"), **env}
    host = {**_mapping(spec, options, "HostConfig"), "RestartPolicy": {"Name": "no"}}
    host.setdefault("Init", True)
    if place.gateway_address:
        hosts = list(host.get("ExtraHosts") or ())
        host["ExtraHosts"] = [*hosts, f"{place.gateway_name}:{place.gateway_address}"]
    mounts = [_own_mount(place, mount) for mount in host.get("Mounts") or ()]
    source = f"{place.workload}/{spec.name}"
    mounts.append({"Type": "bind", "Source": source, "Target": WORKLOAD_IN_CONTAINER, "ReadOnly": True})
    host["Mounts"] = mounts
    if host.get("Binds"):
        host["Binds"] = [_own_bind(place, bind) for bind in host["Binds"]]
    exposed = dict(_mapping(spec, options, "ExposedPorts"))
    if host.get("PortBindings"):
        exposed |= {port: {} for port in host["PortBindings"]}
        host["PortBindings"] = {
            port: [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in host["PortBindings"]
        }
    body: Json = {
        **options,
        "Image": spec.image,
        "Env": [
            *lines,
            *(f"{name}={value}" for name, value in {**spec.env, **env}.items()),
        ],
        "Labels": {
            **_mapping(spec, options, "Labels"),
            **place.labels,
            MODULE_LABEL: spec.name,
            SPEC_LABEL: spec_hash(place, spec),
            DESIRED_LABEL: json.dumps(render_module(spec)),
        },
        "ExposedPorts": exposed,
        "HostConfig": host,
    }
    if host.get("NetworkMode") not in ("host", "none"):
        host["NetworkMode"] = place.network
        endpoint = {"Aliases": [spec.name]}
        body["NetworkingConfig"] = {"EndpointsConfig": {place.network: endpoint}}
    return body


def made_from(labels: Mapping[str, str]) -> ModuleSpec | None:
    """The desired module a container was made from, or None when its labels do not say."""
    try:
        return parse_module(labels[MODULE_LABEL], json.loads(labels[DESIRED_LABEL]))
    except (KeyError, ValueError, DesiredError):
        return None


def _mapping(spec: ModuleSpec, options: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = options.get(key) or {}
    if not isinstance(value, Mapping):
        raise DesiredError(
            f"createOptions.{key} of module {spec.name} is not an object", fix="correct the deployment"
        )
    return value


def _own_bind(place: Place, bind: str) -> str:
    """`source:target[:mode]` with a volume's name made this device's own; host paths stay."""
    return bind if bind.startswith("/") else f"{place.network}.{bind}"


def _own_mount(place: Place, mount: Mapping[str, Any]) -> Json:
    if mount.get("Type") == "volume" and mount.get("Source"):
        return {**mount, "Source": f"{place.network}.{mount['Source']}"}
    return dict(mount)
