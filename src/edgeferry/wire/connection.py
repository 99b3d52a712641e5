"""Connection strings: where a hub is, and as whom to speak to it.

The `Name=value;…` form of Azure IoT Hub, for service policies, devices and modules. `HostName` is the
hub's identity; `GatewayHostName`, where present, is the place to connect to over MQTT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeferry.errors import UsageError

_NAMES = {
    "HostName": "host_name",
    "DeviceId": "device_id",
    "ModuleId": "module_id",
    "SharedAccessKeyName": "policy",
    "SharedAccessKey": "key",
    "GatewayHostName": "gateway_host_name",
}
_AZURE = re.compile(r"([a-z0-9-]+)\.azure-devices\.(?:net|cn|us)", re.IGNORECASE)


@dataclass(frozen=True)
class ConnectionString:
    """A hub and a credential: of a policy, of a device, or of a module."""

    host_name: str
    key: str = field(repr=False)
    policy: str | None = None
    device_id: str | None = None
    module_id: str | None = None
    gateway_host_name: str | None = None


def parse_connection_string(text: str) -> ConnectionString:
    """The parts of a connection string; UsageError naming what is missing. The key is never in an error."""
    parts: dict[str, str] = {}
    by_lower = {name.lower(): member for name, member in _NAMES.items()}
    for part in text.strip().split(";"):
        name, _, value = part.partition("=")
        member = by_lower.get(name.strip().lower())
        if member and value:
            parts[member] = value.strip()
    cs = ConnectionString(
        host_name=parts.get("host_name", ""),
        key=parts.get("key", ""),
        policy=parts.get("policy"),
        device_id=parts.get("device_id"),
        module_id=parts.get("module_id"),
        gateway_host_name=parts.get("gateway_host_name"),
    )
    _check(cs)
    return cs


def render_connection_string(cs: ConnectionString) -> str:
    """The text of a connection string; UsageError naming what is missing."""
    _check(cs)
    parts = {name: getattr(cs, member) for name, member in _NAMES.items()}
    return ";".join(f"{name}={value}" for name, value in parts.items() if value)


def device_connection(
    host: str, identity: Mapping[str, Any], *, secondary: bool = False, gateway: str = ""
) -> ConnectionString:
    """How the device or module whose identity document is `identity` reaches the hub at `host`, which has a
    port where its REST is not on 443: MQTT then goes to the same name by `GatewayHostName`, or to `gateway`.
    UsageError for one without keys of its own."""
    keys = (identity.get("authentication") or {}).get("symmetricKey") or {}
    key = keys.get("secondaryKey" if secondary else "primaryKey") or ""
    device, module = identity["deviceId"], identity.get("moduleId")
    if not key:
        raise UsageError(
            f"{device}{'/' + module if module else ''} has no key: it does not sign in by shared key",
            fix="use what it signs in with, e.g. its certificate",
        )
    name, colon, port = host.rpartition(":")
    own = name if colon and port.isdigit() and port != "443" else None
    return ConnectionString(host, key, None, device, module, gateway or own)


def azure_hub_name(host: str) -> str:
    """The name of Azure's hub at `host` (the public cloud's, China's or the US government's), as `az` takes
    it; "" for any other host."""
    match = _AZURE.fullmatch(host)
    return match[1] if match else ""


def _check(cs: ConnectionString) -> None:
    if not cs.host_name:
        missing = "HostName"
    elif not cs.key:
        missing = "SharedAccessKey"
    elif cs.module_id and not cs.device_id:
        missing = "DeviceId"
    elif not cs.policy and not cs.device_id:
        missing = "SharedAccessKeyName or DeviceId"
    else:
        return
    raise UsageError(
        f"the connection string has no {missing}",
        fix="give it whole, as in HostName=…;SharedAccessKeyName=…;SharedAccessKey=… "
        "or HostName=…;DeviceId=…;SharedAccessKey=…",
    )
