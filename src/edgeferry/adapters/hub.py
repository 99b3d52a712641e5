"""IoT Hub's service REST API (2021-04-12), Azure's or ours: only address and key differ."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from edgeferry.errors import HubError, UsageError
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.sas import render_sas

Json = dict[str, Any]

_API = "2021-04-12"
_TOKEN_S = 3600
_PAGE = 1000
_EDGE = "capabilities.iotEdge = true"


class HubClient:
    """Implements the `Hub` port. Use as a context manager, or close it."""

    def __init__(
        self, connection: ConnectionString, ca_file: str = "", *, now: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._now = now
        self._token = ""
        self._token_expires = 0.0
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:
            raise UsageError(
                f"hub.ca_file {ca_file} cannot be used: {error}", fix="name the authority's PEM file"
            ) from error
        self._http = httpx.Client(
            base_url=f"https://{connection.host_name}",
            verify=context,
            trust_env=False,
            timeout=httpx.Timeout(30, connect=5),
        )

    def close(self) -> None:
        """Connections are closed; the client is of no more use."""
        self._http.close()

    def devices(self, condition: str = "") -> Sequence[Json]:
        """Twins of the edge devices that match the target condition (all when empty or `*`)."""
        where = _EDGE if condition in ("", "*") else f"{_EDGE} AND ({condition})"
        return self._query(f"SELECT * FROM devices WHERE {where}")

    def device_twin(self, device: str) -> Json:
        """The device's twin."""
        return self._ask("GET", f"/twins/{quote(device)}")

    def module_twin(self, device: str, module: str) -> Json | None:
        """The module's twin; None when there is no such module."""
        try:
            return self._ask("GET", f"/twins/{quote(device)}/modules/{quote(module, safe='$')}")
        except HubError as error:
            if error.status == 404:
                return None
            raise

    def patch_tags(self, device: str, tags: Json) -> Json:
        """The twin after merging `tags`; None as a value removes a tag."""
        return self._ask("PATCH", f"/twins/{quote(device)}", {"tags": tags}, {"If-Match": '"*"'})

    def create_device(self, device: str, tags: Json) -> Json:
        """The identity of an edge device with its keys; an existing one is returned as it is."""
        path = f"/devices/{quote(device)}"
        body = {
            "deviceId": device,
            "status": "enabled",
            "capabilities": {"iotEdge": True},
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": None, "secondaryKey": None}},
        }
        try:
            identity = self._ask("PUT", path, body)
        except HubError as error:
            if error.status != 409:
                raise
            return self._ask("GET", path)
        if tags:
            self.patch_tags(device, tags)
        return identity

    def configurations(self) -> Sequence[Json]:
        """All automatic deployments."""
        listed: Any = self._ask("GET", "/configurations", query={"top": "100"})
        return list(listed)

    def create_configuration(self, configuration: Json) -> Json:
        """The new configuration; HubError with status 409 when its name is taken."""
        return self._ask("PUT", f"/configurations/{quote(configuration['id'])}", configuration)

    def update_configuration(self, configuration: Json) -> Json:
        """The configuration with labels, priority and target condition changed."""
        return self._ask(
            "PUT", f"/configurations/{quote(configuration['id'])}", configuration, {"If-Match": '"*"'}
        )

    def delete_configuration(self, name: str) -> None:
        """The configuration is gone, or was not there."""
        try:
            self._ask("DELETE", f"/configurations/{quote(name)}", headers={"If-Match": '"*"'})
        except HubError as error:
            if error.status != 404:
                raise

    def call_module(self, device: str, module: str, method: str, payload: Json, timeout_s: int = 30) -> Json:
        """The module's answer, `{"status", "payload"}`; HubError 404 when it is not connected."""
        body = {
            "methodName": method,
            "payload": payload,
            "responseTimeoutInSeconds": timeout_s,
            "connectTimeoutInSeconds": 0,
        }
        path = f"/twins/{quote(device)}/modules/{quote(module, safe='$')}/methods"
        return self._ask("POST", path, body, timeout_s=timeout_s + 10)

    def _query(self, text: str) -> list[Json]:
        rows: list[Json] = []
        continuation = ""
        while True:
            headers = {"x-ms-max-item-count": str(_PAGE)}
            if continuation:
                headers["x-ms-continuation"] = continuation
            response = self._send("POST", "/devices/query", {"query": text}, headers)
            rows.extend(response.json())
            continuation = response.headers.get("x-ms-continuation", "")
            if not continuation:
                return rows

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Json:
        response = self._send(method, path, body, headers, query=query, timeout_s=timeout_s)
        answer: Json = response.json() if response.content else {}
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> httpx.Response:
        host = self._connection.host_name
        try:
            response = self._http.request(
                method,
                path,
                params={"api-version": _API, **(query or {})},
                json=body,
                headers={"Authorization": self._authorization(), **(headers or {})},
                timeout=httpx.Timeout(timeout_s, connect=5),
            )
        except httpx.HTTPError as error:
            raise HubError(
                f"the hub {host} did not answer {method} {path}: {error or type(error).__name__}",
                fix="is it running and reachable? 'edgeferry up' starts the one on this machine",
                retryable=True,
            ) from error
        if response.is_success:
            return response
        raise _refused(host, method, path, response)

    def _authorization(self) -> str:
        now = self._now()
        if now > self._token_expires - 300:
            self._token_expires = now + _TOKEN_S
            connection = self._connection
            try:
                self._token = render_sas(
                    connection.host_name, connection.key, int(self._token_expires), connection.policy
                )
            except ValueError as error:
                raise UsageError(
                    "the key in the hub's connection string is not base64",
                    fix="copy the connection string again, whole",
                ) from error
        return self._token


def _refused(host: str, method: str, path: str, response: httpx.Response) -> HubError:
    status = response.status_code
    try:
        document = response.json()
        text = str(document.get("Message") or document)
    except ValueError:
        text = response.text[:300]
    if status == 401:
        fix = "check EDGEFERRY_HUB__CONNECTION_STRING: the policy's key, and this machine's clock"
    elif status == 403:
        fix = "use a policy with registry read, registry write and service connect rights"
    elif status == 404:
        fix = "check the name; 'edgeferry devices list' shows the devices"
    elif status == 429 or status >= 500:
        fix = "try again in a moment"
    else:
        fix = "correct the request as the hub says"
    return HubError(
        f"the hub {host} answered {status} to {method} {path}: {text}",
        fix=fix,
        retryable=status == 429 or status >= 500,
        status=status,
    )
