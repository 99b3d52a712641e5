"""IoT Hub's service REST API (2021-04-12), Azure's or ours: only address and login differ."""

from __future__ import annotations

import base64
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from edgeferry.adapters.hub_login import HubLogin
from edgeferry.adapters.hub_transport import PAGE_ROWS, HubTransport
from edgeferry.domain.condition import join_conditions
from edgeferry.errors import HubError
from edgeferry.wire.bulk import CREATE, DELETE, MAX_DEVICES, parse_bulk, render_bulk_device

Json = dict[str, Any]

_EDGE = "capabilities.iotEdge = true"
_ANY = {"If-Match": '"*"'}


class HubClient:
    """Implements the `Hub` port. Use as a context manager, or close it."""

    def __init__(
        self,
        login: HubLogin,
        ca_file: str = "",
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        queries_per_minute: float = math.inf,
    ) -> None:
        self.queries_per_minute = queries_per_minute
        self._door = HubTransport(login, ca_file, sleep=sleep, now=now)

    @property
    def host(self) -> str:
        """The hub's host name, with a port where it is not 443."""
        return self._door.host

    @property
    def skew_s(self) -> float | None:
        """How far this machine's clock was ahead of the hub's at its last answer, seconds; None where that is
        not known."""
        return self._door.skew_s

    def close(self) -> None:
        """Connections are closed; the client is of no more use."""
        self._door.close()

    def query(self, text: str, rows: int = PAGE_ROWS) -> Iterator[Sequence[Json]]:
        """The query's rows, page by page."""
        return self._door.query(text, rows)

    def devices(self, condition: str = "") -> Sequence[Json]:
        """Twins of the edge devices that match the target condition (all when empty or `*`)."""
        return [
            row for page in self.query(f"SELECT * FROM devices WHERE {_where(condition)}") for row in page
        ]

    def device_ids(self, condition: str = "") -> Iterator[Sequence[str]]:
        """The ids of the same devices, page by page."""
        return (list(page) for page in self.generations(condition))

    def generations(self, condition: str = "") -> Iterator[Mapping[str, str]]:
        """The same with the generation of each, which a device that is created anew has another of; "" where
        the hub does not say. Twins have it in an edge device's scope only: `ms-azure-iot-edge://ID-DIGITS`."""
        for page in self.query(f"SELECT deviceId, deviceScope FROM devices WHERE {_where(condition)}"):
            yield {str(row["deviceId"]): str(row.get("deviceScope") or "").rpartition("-")[2] for row in page}

    def device_twin(self, device: str) -> Json:
        """The device's twin."""
        return self._door.ask("GET", f"/twins/{quote(device)}")

    def module_twin(self, device: str, module: str) -> Json | None:
        """The module's twin; None when there is no such module."""
        try:
            return self._door.ask("GET", f"/twins/{quote(device)}/modules/{quote(module, safe='$')}")
        except HubError as error:
            if error.status == 404:
                return None
            raise

    def patch_tags(self, device: str, tags: Json) -> Json:
        """The twin after merging `tags`; None as a value removes a tag."""
        return self._door.ask("PATCH", f"/twins/{quote(device)}", {"tags": tags}, _ANY)

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
            identity = self._door.ask("PUT", path, body)
        except HubError as error:
            if error.status != 409:
                raise
            return self._door.ask("GET", path)
        if tags:
            self.patch_tags(device, tags)
        return identity

    def device(self, device: str) -> Json:
        """The device's identity, keys included."""
        return self._door.ask("GET", f"/devices/{quote(device)}")

    def modules(self, device: str) -> Sequence[Json]:
        """The identities of the device's modules, keys included."""
        listed: Any = self._door.ask("GET", f"/devices/{quote(device)}/modules")
        return list(listed)

    def save_identity(self, identity: Json) -> Json:
        """The device or module as the hub has it after the write; HubError 412 when somebody else wrote since
        `identity` was read."""
        path = f"/devices/{quote(identity['deviceId'])}"
        if module := identity.get("moduleId"):
            path += f"/modules/{quote(module, safe='$')}"
        return self._door.ask("PUT", path, identity, {"If-Match": f'"{identity["etag"]}"'})

    def create_devices(self, devices: Sequence[str], edge: bool, tags: Json) -> Mapping[str, str]:
        """For each device "created", "existed", or why the hub did not create it."""
        bodies = [
            render_bulk_device(one, CREATE, edge=edge, keys=(_new_key(), _new_key()), tags=tags)
            for one in devices
        ]
        return self._many(bodies, "created", "DeviceAlreadyExists", "existed", self._create)

    def delete_devices(self, devices: Sequence[str]) -> Mapping[str, str]:
        """For each device "deleted", "missing", or why the hub did not delete it."""
        bodies = [render_bulk_device(one, DELETE) for one in devices]
        return self._many(bodies, "deleted", "DeviceNotFound", "missing", self._delete)

    def patch_twin(self, device: str, module: str, patch: Json, etag: str = "*") -> Json:
        """The twin of the device, or of its module, after a merge patch of its desired properties and tags;
        HubError 412 when `etag` is another than its own."""
        path = f"/twins/{quote(device)}" + (f"/modules/{quote(module, safe='$')}" if module else "")
        return self._door.ask("PATCH", path, patch, {"If-Match": f'"{etag}"'})

    def configuration(self, name: str) -> Json | None:
        """The automatic deployment; None when there is none of that name."""
        try:
            return self._door.ask("GET", f"/configurations/{quote(name)}")
        except HubError as error:
            if error.status == 404:
                return None
            raise

    def configurations(self) -> Sequence[Json]:
        """All automatic deployments."""
        listed: Any = self._door.ask("GET", "/configurations", query={"top": "100"})
        return list(listed)

    def create_configuration(self, configuration: Json) -> Json:
        """The new configuration; HubError with status 409 when its name is taken."""
        return self._door.ask("PUT", f"/configurations/{quote(configuration['id'])}", configuration)

    def update_configuration(self, configuration: Json) -> Json:
        """The configuration with labels, priority and target condition changed; HubError 412 when its etag is
        another than the one in `configuration` (`*`: any)."""
        etag = {"If-Match": f'"{configuration.get("etag") or "*"}"'}
        return self._door.ask("PUT", f"/configurations/{quote(configuration['id'])}", configuration, etag)

    def delete_configuration(self, name: str, etag: str = "*") -> None:
        """The configuration is gone, or was not there; HubError 412 when its etag is another than `etag`."""
        try:
            self._door.ask("DELETE", f"/configurations/{quote(name)}", headers={"If-Match": f'"{etag}"'})
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
        return self._door.ask("POST", path, body, timeout_s=timeout_s + 10)

    def get(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any:
        """The document at `path`; HubError when the hub refuses."""
        return self._door.ask("GET", path, query=query, timeout_s=timeout_s)

    def _many(
        self,
        bodies: Sequence[Json],
        done: str,
        harmless: str,
        word: str,
        one_by_one: Callable[[Json], None],
    ) -> Mapping[str, str]:
        """What became of each device: `done`, `word` where the hub calls the error `harmless`, or why not.
        A hub without the bulk route is asked for one after the other."""
        states: dict[str, str] = {}
        for start in range(0, len(bodies), MAX_DEVICES):
            some = bodies[start : start + MAX_DEVICES]
            response = self._door.send("POST", "/devices", some, expected=(400, 404, 405))
            faults = parse_bulk(response.json()) if response.status_code in (200, 400) else None
            for body in some:
                name = str(body["id"])
                if faults is None:
                    states[name] = self._one(body, done, harmless, word, one_by_one)
                elif fault := faults.get(name):
                    states[name] = word if fault.name == harmless else fault.text
                else:
                    states[name] = done
        return states

    def _one(self, body: Json, done: str, harmless: str, word: str, do: Callable[[Json], None]) -> str:
        try:
            do(body)
        except HubError as error:
            if error.status == {"DeviceAlreadyExists": 409, "DeviceNotFound": 404}[harmless]:
                return word
            if error.status != 400:
                raise
            return error.problem
        return done

    def _create(self, body: Json) -> None:
        name = body["id"]
        identity = {key: body[key] for key in ("status", "authentication", "capabilities")}
        self._door.ask("PUT", f"/devices/{quote(name)}", {"deviceId": name, **identity})
        if body.get("tags"):
            self.patch_tags(name, body["tags"])

    def _delete(self, body: Json) -> None:
        self._door.ask("DELETE", f"/devices/{quote(body['id'])}", headers=_ANY)


def _where(condition: str) -> str:
    return _EDGE if condition in ("", "*") else join_conditions(_EDGE, condition)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
