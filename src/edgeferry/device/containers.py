"""A module's container: the create body the engine gets, and what the agent reads back from its labels.

The desired createOptions pass through but for what the agent must add or change: image, environment, labels,
the device's network, the way to the hub, an init process, host ports of the engine's choice on loopback, and
volume names of this device's own. Restarting is the agent's business, not the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.device.link import CA_VARIABLE, CONNECTION_VARIABLE
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.errors import DesiredError
from edgeferry.wire.edge import module_hash, parse_module, render_module

Json = dict[str, Any]

SANDBOX_LABEL = "edgeferry.sandbox"
DEVICE_LABEL = "edgeferry.device"
OWNER_LABEL = "edgeferry.owner"
"""Which agent's state folder made it; see `ownership`."""
MODULE_LABEL = "edgeferry.module"
SPEC_LABEL = "edgeferry.spec"
"""The hash that is compared with the desired one."""
DESIRED_LABEL = "edgeferry.desired"
"""The desired module the container was made from, as JSON."""
CA_IN_CONTAINER = "/etc/edgeferry/hub-ca.pem"


@dataclass(frozen=True)
class Place:
    """Where a device's containers live."""

    sandbox: str
    device: str
    gateway_name: str
    gateway_address: str
    ca_file: str = ""
    """On the engine's machine; empty when modules trust the hub without it."""
    ca_sha256: str = ""
    owner: str = ""

    @property
    def network(self) -> str:
        """The device's network; volumes and containers begin with it too."""
        return f"edgeferry.{self.sandbox}.{self.device}"

    @property
    def labels(self) -> dict[str, str]:
        """What all of this device's containers and networks carry, whoever made them."""
        return {SANDBOX_LABEL: self.sandbox, DEVICE_LABEL: self.device}

    @property
    def owned_labels(self) -> dict[str, str]:
        """What those that this agent makes carry."""
        return {**self.labels, **({OWNER_LABEL: self.owner} if self.owner else {})}

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
            "gateway": [place.gateway_name, place.gateway_address, place.ca_sha256],
        }
    )


def made_hash(place: Place, labels: Mapping[str, str]) -> str:
    """The hash that the container with these labels was made with; "" when another owner made it: no desired
    module has that, so it is made anew."""
    ours = labels.get(OWNER_LABEL, place.owner) == place.owner
    return labels.get(SPEC_LABEL, "") if ours else ""


def render_container(place: Place, spec: ModuleSpec, connection_string: str) -> Json:
    """The raw create body (Docker Engine API ContainerCreate) of the module's container."""
    options = dict(spec.create_options)
    env = {CONNECTION_VARIABLE: connection_string}
    host = {**_mapping(spec, options, "HostConfig"), "RestartPolicy": {"Name": "no"}}
    host.setdefault("Init", True)
    if place.gateway_address:
        hosts = list(host.get("ExtraHosts") or ())
        host["ExtraHosts"] = [*hosts, f"{place.gateway_name}:{place.gateway_address}"]
    mounts = [_own_mount(place, mount) for mount in host.get("Mounts") or ()]
    if place.ca_file:
        env[CA_VARIABLE] = CA_IN_CONTAINER
        mounts.append({"Type": "bind", "Source": place.ca_file, "Target": CA_IN_CONTAINER, "ReadOnly": True})
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
            *(options.get("Env") or ()),
            *(f"{name}={value}" for name, value in {**spec.env, **env}.items()),
        ],
        "Labels": {
            **_mapping(spec, options, "Labels"),
            **place.owned_labels,
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
