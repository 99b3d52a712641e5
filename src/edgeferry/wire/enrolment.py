"""What a device is told when it is enrolled: the token that travels to it, and `device.json`, which it keeps.

The token is base64url, without padding, of a JSON object: the members of `device.json`, with the hub's CA
certificate itself in the place of a file's name, and `version`. `engine` is the device's own to say.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import UsageError
from edgeferry.wire.connection import ConnectionString, parse_connection_string, render_connection_string

Json = dict[str, Any]

HUB_NAME = "edgeferry-hub"
"""The name of our hub inside containers: its certificate holds it besides its addresses."""
FLEET = "fleet"
"""What stands in the place of a sandbox's id on a machine that is a device by itself."""
DECOMMISSIONED = "decommissioned"
"""The file that lies where `device.json` lay once the device was taken out of its fleet."""
_VERSION = 1
_AGAIN = "copy the whole line again, or let the device be adopted: edgeferry devices adopt NAME"


@dataclass(frozen=True)
class Surroundings:
    """Where a device lives: how its modules reach the hub, and where its images come from."""

    gateway_name: str = HUB_NAME
    """The hub's name inside containers, present in its certificate: where none is given, the name by which
    the device reaches it."""
    gateway_address: str = ""
    """Where containers reach it; empty when the name resolves by itself."""
    registries: tuple[RegistryLogin, ...] = ()
    engine: str = ""
    """Empty: not known yet."""
    sandbox: str = FLEET


@dataclass(frozen=True)
class Token:
    """All that a device needs to become one, its key included."""

    connection: ConnectionString
    hub_ca: str = field(default="", repr=False)
    """PEM; empty when the system's authorities do."""
    surroundings: Surroundings = Surroundings()


@dataclass(frozen=True)
class DeviceFile:
    """`device.json`."""

    connection: ConnectionString
    hub_ca_file: str
    surroundings: Surroundings

    @property
    def device(self) -> str:
        """The device's id."""
        return self.connection.device_id or ""


def locate_hub(host: str, address: str = "") -> Surroundings:
    """How modules of a device reach the hub at `host` (REST's, with or without a port): by its own name, or
    where that is an IP address by a name that its certificate has; `address` is where containers reach it,
    if that is elsewhere."""
    name = _host_of(host)
    if address:
        return Surroundings(HUB_NAME, address)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return Surroundings(name)
    return Surroundings(HUB_NAME, name)


def is_only_here(host: str) -> bool:
    """Whether the hub at `host` can be reached from its own machine only, and not from a container."""
    name = _host_of(host)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def render_token(token: Token) -> str:
    """One word of letters, digits, `-` and `_`: a secret."""
    said = {
        "version": _VERSION,
        "connection_string": render_connection_string(token.connection),
        "hub_ca": token.hub_ca,
        **_render_surroundings(token.surroundings),
    }
    text = json.dumps({name: value for name, value in said.items() if value}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def parse_token(text: str) -> Token:
    """What the token says; UsageError when it is none, or cut off. Nothing of it is in the error."""
    word = "".join(text.split())
    try:
        said = json.loads(base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True))
        if said.get("version") != _VERSION:
            raise UsageError(
                "the token is of another version of edgeferry", fix="install the same version on both sides"
            )
        connection = _read_connection(said)
        return Token(connection, str(said.get("hub_ca") or ""), _read_surroundings(said, connection))
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"this is no token, or not a whole one ({len(word)} letters)", fix=_AGAIN) from None


def render_device_file(file: DeviceFile) -> Json:
    """The document that is `device.json`."""
    said = {
        "connection_string": render_connection_string(file.connection),
        "hub_ca_file": file.hub_ca_file,
        **_render_surroundings(file.surroundings),
    }
    return {name: value for name, value in said.items() if value}


def parse_device_file(said: Any) -> DeviceFile:
    """What `device.json` says; UsageError, ValueError, KeyError, TypeError or AttributeError when that is no
    enrolment."""
    connection = _read_connection(said)
    surroundings = _read_surroundings(said, connection)
    if not surroundings.engine:
        raise KeyError("engine")
    return DeviceFile(connection, str(said.get("hub_ca_file") or ""), surroundings)


def _host_of(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]")


def _render_surroundings(here: Surroundings) -> Json:
    return {
        "container_gateway": {"name": here.gateway_name, "address": here.gateway_address},
        "registries": [
            {"address": login.address, "username": login.username, "password": login.password}
            for login in here.registries
        ],
        "engine": here.engine,
        "sandbox": here.sandbox,
    }


def _read_surroundings(said: Mapping[str, Any], connection: ConnectionString) -> Surroundings:
    gateway = said.get("container_gateway") or {}
    own_name = _host_of(connection.gateway_host_name or connection.host_name)
    return Surroundings(
        gateway_name=gateway.get("name") or own_name,
        gateway_address=gateway.get("address") or "",
        registries=tuple(
            RegistryLogin(login["address"], login["username"], login["password"])
            for login in said.get("registries") or ()
        ),
        engine=str(said.get("engine") or ""),
        sandbox=said["sandbox"],
    )


def _read_connection(said: Mapping[str, Any]) -> ConnectionString:
    connection = parse_connection_string(said["connection_string"])
    if not connection.device_id or connection.module_id:
        raise ValueError("its connection string is not a device's")
    return connection
