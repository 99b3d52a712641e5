"""A module's container: the create body the engine gets, and what the agent reads back from its labels.

The desired createOptions pass through but for what the agent must add or change: image, environment, labels,
the device's network, the way to the hub, the folder of its workload API, an init process, host ports of the
engine's choice on loopback, and volume names of this device's own. No key is in it. Restarting is the agent's
business, not the engine's.

A module is found by its name through the search domain that all containers of the device have: the device's
network. `taxi` is first looked up as `taxi.NETWORK`, which is the name of one container, and a container's
name moves while it runs (`handover`). Where no container has that name, the engine's DNS reads it as alias
`taxi` in network `NETWORK`, so that there is no gap between two names. The alias alone serves those who look
without the search domain; while a module is handed over it leads to both of its containers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeferry.device.workload_answers import LAST_VERSION
from edgeferry.device.workload_door import SOCKET
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
LONGEST_LABEL = 63
"""Characters that DNS allows between two dots of a name."""
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
    search: tuple[str, ...] = ()
    """Domains in which the device's machine looks for names."""
    owner: str = ""

    @property
    def network(self) -> str:
        """The device's network, and the domain of its modules; volumes begin with it too."""
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
        """The name of the container that serves as the module."""
        return f"{module}.{self.network}"

    def successor(self, module: str) -> str:
        """The name of a container that does not serve yet."""
        return f"{self.network}.{module}.next"

    def predecessor(self, module: str) -> str:
        """The name of a container that served until a moment ago."""
        return f"{self.network}.{module}.previous"


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


def made_hash(place: Place, labels: Mapping[str, str]) -> str:
    """The hash that the container with these labels was made with; "" when another owner made it: no desired
    module has that, so it is made anew."""
    ours = labels.get(OWNER_LABEL, place.owner) == place.owner
    return labels.get(SPEC_LABEL, "") if ours else ""


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
            **place.owned_labels,
            MODULE_LABEL: spec.name,
            SPEC_LABEL: spec_hash(place, spec),
            DESIRED_LABEL: json.dumps(render_module(spec, with_layer=True)),
        },
        "ExposedPorts": exposed,
        "HostConfig": host,
    }
    if host.get("NetworkMode") not in ("host", "none"):
        host["NetworkMode"] = place.network
        endpoint = {"Aliases": [spec.name]}
        _look_up_here_first(place, host)
        body["NetworkingConfig"] = {"EndpointsConfig": {place.network: endpoint}}
    return body


def made_from(labels: Mapping[str, str]) -> ModuleSpec | None:
    """The desired module a container was made from, or None when its labels do not say."""
    try:
        return parse_module(labels[MODULE_LABEL], json.loads(labels[DESIRED_LABEL]))
    except (KeyError, ValueError, DesiredError):
        return None


def read_search_domains(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The domains in which this machine looks for names; none when that cannot be read."""
    try:
        lines = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ()
    said = [words[1:] for words in lines if words and words[0] in ("search", "domain")]
    return tuple(said[-1]) if said else ()


def _look_up_here_first(place: Place, host: Json) -> None:
    """Names without a dot are looked up among the device's modules before all else. The engine would have
    them looked up as they are first (`ndots:0`); what the deployment says of DNS stands."""
    if any(len(label) > LONGEST_LABEL for label in place.network.split(".")):
        return
    host["DnsSearch"] = [place.network, *(host.get("DnsSearch") or place.search)]
    options = list(host.get("DnsOptions") or ())
    if not any(str(option).startswith("ndots:") for option in options):
        host["DnsOptions"] = [*options, "ndots:1"]


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
