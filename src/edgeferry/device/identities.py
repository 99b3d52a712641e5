"""The identities of this device's modules, got over REST with the device's own credential.

Follows IoT Hub's service REST 2021-04-12, `/devices/{id}/modules/{id}`: a device may read and create its own.
Keys are kept on disk, so that modules start without the hub.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote

import httpx

from edgeferry.device.state import Enrolment, Store
from edgeferry.errors import HubError
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.sas import render_sas
from edgeferry.wire.topics import API_VERSION, resource

TIMEOUT_S = 10.0
TOKEN_S = 600

_log = logging.getLogger(__name__)


class Identities:
    """Keys of modules, from the hub when it answers, else from disk."""

    def __init__(self, enrolment: Enrolment, store: Store) -> None:
        self._enrolment = enrolment
        self._store = store
        self._keys = store.load_keys()
        self._lock = threading.Lock()

    def connection(self, module: str, *, fresh: bool) -> ConnectionString:
        """The module's own connection string, as seen from this machine; `fresh` asks the hub even when a
        key is known. HubError when there is no key and the hub gives none."""
        key = self.key(module)
        if fresh or not key:
            try:
                key = self.refresh(module)
            except HubError as error:
                if not key or not error.retryable:
                    raise
                _log.warning("module key from disk module=%s: %s", module, error.problem)
        own = self._enrolment.connection
        return ConnectionString(
            host_name=own.host_name,
            key=key,
            device_id=own.device_id,
            module_id=module,
            gateway_host_name=own.gateway_host_name,
        )

    def key(self, module: str) -> str:
        """The key (base64) that is kept for the module; "" when none is."""
        return self._keys.get(module, "")

    def refresh(self, module: str) -> str:
        """The module's key as the hub has it now, which is kept; its identity is made where there is none.
        HubError when the hub gives none."""
        key = self._fetch(module)
        self._keep(module, key)
        return key

    def forget(self, module: str) -> None:
        """The module's key is no longer kept."""
        self._keep(module, "")

    def _keep(self, module: str, key: str) -> None:
        with self._lock:
            if self._keys.get(module, "") == key:
                return
            self._keys = {name: known for name, known in self._keys.items() if name != module}
            if key:
                self._keys[module] = key
            try:
                self._store.save_keys(self._keys)
            except OSError as error:  # the key serves from memory until this agent ends
                _log.error("module key not kept on disk module=%s: %s", module, error)

    def _fetch(self, module: str) -> str:
        """The module's primary key at the hub; the identity is created when there is none."""
        own, device = self._enrolment.connection, self._enrolment.device
        path = identity_path(device, module)
        ca_file = self._enrolment.hub_ca_file
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        token = render_sas(resource(own.host_name, device), own.key, int(time.time()) + TOKEN_S)
        try:
            with httpx.Client(
                base_url=f"https://{own.host_name}",
                verify=context,
                trust_env=False,
                timeout=TIMEOUT_S,
                params={"api-version": API_VERSION},
                headers={"Authorization": token},
            ) as client:
                response = client.get(path)
                if response.status_code == 404:
                    response = client.put(path, json=new_identity(device, module))
                    if response.status_code == 409:
                        response = client.get(path)
                if response.is_error:
                    raise HubError(
                        f"the hub answered {response.status_code} for the identity of module {module}",
                        fix="look at the device's identity at the hub: is it enabled, is its key this one?",
                        status=response.status_code,
                        retryable=response.status_code == 429 or response.status_code >= 500,
                    )
                return str(response.json()["authentication"]["symmetricKey"]["primaryKey"])
        except (httpx.HTTPError, OSError) as error:
            raise HubError(
                f"the hub at {own.host_name} does not answer: {error}",
                fix="it is tried again",
                retryable=True,
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(
                f"the hub's answer for module {module} has no key", fix="let the module use SAS keys"
            ) from error


def identity_path(device: str, module: str) -> str:
    """Where the hub's REST API has the module's identity."""
    return f"/devices/{quote(device)}/modules/{quote(module, safe='$')}"


def new_identity(device: str, module: str) -> dict[str, Any]:
    """What an agent puts there when there is none."""
    own = {"deviceId": device, "moduleId": module}
    return {**own, "managedBy": "iotEdge", "authentication": {"type": "sas"}}
