"""IoT Hub's service REST API (2021-04-12), Azure's or ours: only address and login differ."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from edgeferry.adapters.hub_login import HubLogin
from edgeferry.domain.condition import join_conditions
from edgeferry.errors import HubError, UsageError
from edgeferry.wire.retry_after import choose_wait

Json = dict[str, Any]

_API = "2021-04-12"
_PAGE = 1000
_ATTEMPTS = 5
_LONGEST_PAUSE_S = 60.0
_EDGE = "capabilities.iotEdge = true"


class HubClient:
    """Implements the `Hub` port. Use as a context manager, or close it."""

    def __init__(
        self,
        login: HubLogin,
        ca_file: str = "",
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._login = login
        self._sleep = sleep
        self._now = now
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:
            raise UsageError(
                f"hub.ca_file {ca_file} cannot be used: {error}", fix="name the authority's PEM file"
            ) from error
        self._http = httpx.Client(
            base_url=f"https://{login.host}",
            verify=context,
            trust_env=False,
            timeout=httpx.Timeout(30, connect=5),
        )

    def close(self) -> None:
        """Connections are closed; the client is of no more use."""
        self._http.close()

    def devices(self, condition: str = "") -> Sequence[Json]:
        """Twins of the edge devices that match the target condition (all when empty or `*`)."""
        where = _EDGE if condition in ("", "*") else join_conditions(_EDGE, condition)
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

    def get(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any:
        """The document at `path`; HubError when the hub refuses."""
        return self._ask("GET", path, query=query, timeout_s=timeout_s)

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
        renewed = False
        for attempt in range(_ATTEMPTS):
            response = self._try(method, path, body, headers or {}, query or {}, timeout_s)
            if response.status_code == 401 and not renewed and self._login.renew():
                renewed = True
            elif response.status_code == 429 and attempt + 1 < _ATTEMPTS:
                asked_s = choose_wait(response.headers.get("retry-after", ""), attempt, self._now())
                self._sleep(min(asked_s, _LONGEST_PAUSE_S))
            else:
                break
        if response.is_success:
            return response
        raise self._refused(method, path, response)

    def _try(
        self,
        method: str,
        path: str,
        body: Json | None,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout_s: float,
    ) -> httpx.Response:
        try:
            return self._http.request(
                method,
                path,
                params={"api-version": _API, **query},
                json=body,
                headers={"Authorization": self._login.authorization(), **headers},
                timeout=httpx.Timeout(timeout_s, connect=5),
            )
        except httpx.HTTPError as error:
            raise HubError(
                f"the hub {self._login.host} did not answer {method} {path}: {error or type(error).__name__}",
                fix="is it running and reachable? 'edgeferry up' starts the one on this machine",
                retryable=True,
            ) from error

    def _refused(self, method: str, path: str, response: httpx.Response) -> HubError:
        status = response.status_code
        try:
            document = response.json()
            text = str(document.get("Message") or document)
        except ValueError:
            text = response.text[:300]
        if status in (401, 403):
            fix = self._login.explain(status)
        elif status == 404:
            fix = "check the name; 'edgeferry devices list' shows the devices"
        elif status == 429 or status >= 500:
            fix = "try again in a moment"
        else:
            fix = "correct the request as the hub says"
        return HubError(
            f"the hub {self._login.host} answered {status} to {method} {path}: {text}",
            fix=fix,
            retryable=status == 429 or status >= 500,
            status=status,
        )
