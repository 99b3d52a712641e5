"""IoT Edge's workload API, as one module sees it: its key stays with IoT Edge or our agent, which signs.

Follows `edgelet/api/workload` of Azure/iotedge (2019-01-30 and later) and the environment that edgeAgent
gives a module. HTTP over the socket that `IOTEDGE_WORKLOADURI` names (`unix:///…`, or `http://host:port`).
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from edgeferry.errors import HubError
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.sas import render_signed, render_to_sign

VARIABLES = (
    "IOTEDGE_IOTHUBHOSTNAME",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_MODULEID",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_MODULEGENERATIONID",
    "IOTEDGE_WORKLOADURI",
    "IOTEDGE_APIVERSION",
)
_ANSWER_S = 10.0


@dataclass(frozen=True)
class WorkloadPlace:
    """Which module this is, and where its workload API is."""

    connection: ConnectionString
    """Without a key."""
    generation: str
    uri: str
    api_version: str


def read_place(environment: Mapping[str, str]) -> WorkloadPlace | None:
    """The place that edgeAgent's variables name; None unless all of them are set."""
    said = [environment.get(name, "") for name in VARIABLES]
    if not all(said):
        return None
    hub, device, module, gateway, generation, uri, version = said
    connection = ConnectionString(hub, "", None, device, module, gateway)
    return WorkloadPlace(connection, generation, uri, version)


class Workload:
    """The workload API of one module. Every method raises HubError, retryable, when it does not answer."""

    def __init__(self, place: WorkloadPlace) -> None:
        self._place = place

    def fetch_trust_bundle(self) -> str:
        """The authorities (PEM) that edgeHub's certificate descends from."""
        return str(self._ask("GET", "/trust-bundle", None, "certificate"))

    def sign(self, connection: ConnectionString, resource: str, expires_at: int) -> str:
        """The shared access signature for `resource`, valid until `expires_at` (Unix seconds)."""
        module = quote(self._place.connection.module_id or "", safe="")
        data = base64.b64encode(render_to_sign(resource, expires_at)).decode()
        path = f"/modules/{module}/genid/{quote(self._place.generation, safe='')}/sign"
        body = {"keyId": "primary", "algo": "HMACSHA256", "data": data}
        return render_signed(resource, str(self._ask("POST", path, body, "digest")), expires_at)

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None, member: str) -> Any:
        address = f"{path}?api-version={quote(self._place.api_version)}"
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            with closing(_connect(self._place.uri)) as connection:
                connection.request(method, address, json.dumps(body) if body else None, headers)
                response = connection.getresponse()
                text = response.read()
            if response.status >= 300:
                raise _silent(f"{response.status} to {method} {path}")
            return json.loads(text)[member]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise _silent(f"{error or type(error).__name__} to {method} {path}") from error


def _connect(uri: str) -> http.client.HTTPConnection:
    parts = urlsplit(uri)
    if parts.scheme != "unix":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWER_S)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(_ANSWER_S)
    try:
        connection.sock.connect(parts.path)
    except OSError:
        connection.close()
        raise
    return connection


def _silent(why: str) -> HubError:
    return HubError(
        f"the workload API answered {why}",
        fix="look at the log of the device's agent; on IoT Edge: sudo iotedge system logs",
        retryable=True,
    )
