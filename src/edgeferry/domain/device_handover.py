"""Handing a module over: who asks for it, where its successor must answer, and when it cannot be done. Pure.

A module asks by labels, of its image or of its createOptions (`Labels`); the latter win:

    edgeferry.handover      `true`, or the path that answers 200 once the container can serve (else `/health`)
    edgeferry.health-port   where it answers; by default the only TCP port that the container exposes

Asking for it says that two containers of the module may run side by side for some seconds, on one identity
and with the same volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.manifest import ModuleSpec
from edgeferry.errors import DesiredError

HANDOVER_LABEL = "edgeferry.handover"
HEALTH_PORT_LABEL = "edgeferry.health-port"
HEALTH_PATH = "/health"


@dataclass(frozen=True)
class Probe:
    """Where a container answers once it can serve."""

    port: int
    path: str


def wants_hand_over(spec: ModuleSpec, image_labels: Mapping[str, str]) -> bool:
    """Whether labels of the module's image or createOptions ask for it."""
    own = spec.create_options.get("Labels")
    labels = {**image_labels, **(own if isinstance(own, Mapping) else {})}
    return _path(labels) != ""


def can_hand_over(spec: ModuleSpec) -> str:
    """Why two containers of the module cannot run side by side; "" when they can."""
    host = spec.create_options.get("HostConfig")
    host = host if isinstance(host, Mapping) else {}
    if spec.status != "running":
        return "it is not to run"
    if host.get("NetworkMode") in ("host", "none"):
        return f"it is not on the device's network (NetworkMode {host['NetworkMode']})"
    if fixed := _fixed_port(host.get("PortBindings")):
        return f"host port {fixed} can have one container only"
    if host.get("Devices"):
        return "it has a device of its own (HostConfig.Devices)"
    if device := next((source for source in _sources(host) if source.startswith("/dev/")), ""):
        return f"it has a device of its own ({device})"
    if spec.create_options.get("MacAddress"):
        return "its MacAddress can be of one container only"
    return ""


def find_probe(module: str, labels: Mapping[str, str], exposed_ports: Iterable[str]) -> Probe:
    """Where the container with these labels and exposed ports (`8080/tcp`) answers; DesiredError when it is
    not said."""
    said = labels.get(HEALTH_PORT_LABEL, "")
    ports = [port.partition("/")[0] for port in exposed_ports if not port.endswith(("/udp", "/sctp"))]
    port = said or (ports[0] if len(ports) == 1 else "")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        known = f"label {HEALTH_PORT_LABEL} is {said!r}" if said else f"it exposes {len(ports)} ports"
        raise DesiredError(
            f"module {module} cannot be handed over: {known}, so its health port is not known",
            fix=f"set label {HEALTH_PORT_LABEL} to the port that answers {HEALTH_PATH}",
        )
    return Probe(int(port), _path(labels) or HEALTH_PATH)


def _path(labels: Mapping[str, str]) -> str:
    said = str(labels.get(HANDOVER_LABEL, "")).strip()
    if said.startswith("/"):
        return said
    return HEALTH_PATH if said.lower() in ("true", "1", "yes") else ""


def _fixed_port(bindings: Any) -> str:
    named = bindings.values() if isinstance(bindings, Mapping) else ()
    rows = [row for rows in named if isinstance(rows, list) for row in rows]
    ports = (str(row.get("HostPort") or "") for row in rows if isinstance(row, Mapping))
    return next((port for port in ports if port not in ("", "0")), "")


def _sources(host: Mapping[str, Any]) -> list[str]:
    """What the container mounts, as createOptions name it."""
    binds = [str(bind).partition(":")[0] for bind in host.get("Binds") or ()]
    mounts = [mount for mount in host.get("Mounts") or () if isinstance(mount, Mapping)]
    return [*binds, *(str(mount.get("Source") or "") for mount in mounts)]
