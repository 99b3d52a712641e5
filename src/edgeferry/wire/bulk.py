"""Many devices in one request: `POST /devices` of IoT Hub's service REST 2021-04-12.

The body is a list of `ExportImportDevice`, the answer a `BulkRegistryOperationResult`, also with status 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

MAX_DEVICES = 100
"""In one request."""
CREATE = "create"
DELETE = "delete"
_NUMBERS = {"409001": "DeviceAlreadyExists", "404001": "DeviceNotFound"}


@dataclass(frozen=True)
class BulkFault:
    """Why the hub did not do it to one device."""

    name: str
    """Azure's name of the error, e.g. `DeviceAlreadyExists`."""
    text: str


def render_bulk_device(
    device: str, mode: str, *, edge: bool = False, keys: tuple[str, str] = ("", ""), tags: Json | None = None
) -> Json:
    """One device of the request; `mode` is CREATE or DELETE, which needs nothing but the name."""
    if mode == DELETE:
        return {"id": device, "importMode": mode}
    primary, secondary = keys
    return {
        "id": device,
        "importMode": mode,
        "status": "enabled",
        "authentication": {
            "type": "sas",
            "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary},
        },
        "capabilities": {"iotEdge": edge},
        **({"tags": tags} if tags else {}),
    }


def parse_bulk(result: Any) -> Mapping[str, BulkFault] | None:
    """What went wrong, by device; None when it is no such result."""
    if not isinstance(result, Mapping) or not isinstance(result.get("errors") or [], Sequence):
        return None
    if "isSuccessful" not in result and "errors" not in result:
        return None
    faults = {}
    for one in result.get("errors") or []:
        if isinstance(one, Mapping):
            code = str(one.get("errorCode") or "")
            faults[str(one.get("deviceId"))] = BulkFault(
                _NUMBERS.get(code, code), str(one.get("errorStatus") or code)
            )
    return faults
