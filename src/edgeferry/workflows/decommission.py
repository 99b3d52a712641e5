"""Decommission: a device wipes itself if it can be asked, and the hub knows it no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeferry.domain.layering import AGENT
from edgeferry.errors import HubError, OutsideError
from edgeferry.ports import Hub, Json

METHOD = "Decommission"
LEAST_WIPE_S = 5
"""IoT Hub's shortest time for a method."""


@dataclass(frozen=True)
class Decommissioned:
    """What happened on both sides."""

    device: str
    wipe: Literal["done", "in part", "no answer", "refused"]
    told: str
    """Why the device was not wiped, or not all of it."""
    removed: Mapping[str, int]
    """By kind, as the device counted."""


def decommission_device(hub: Hub, device: str, wipe_timeout_s: int) -> Decommissioned:
    """What became of the device, whose identity is gone with its modules and keys: the hub refuses it from
    now on. OutsideError when the hub did not delete it; what it was asked to wipe is wiped all the same."""
    wiped = _wipe(hub, device, wipe_timeout_s)
    state = hub.delete_devices([device])[device]
    if state not in ("deleted", "missing"):
        raise OutsideError(
            f"the hub did not delete {device}: {state}; on the device: {wiped.wipe}", fix="try it again"
        )
    return wiped


def _wipe(hub: Hub, device: str, timeout_s: int) -> Decommissioned:
    try:
        said = hub.call_module(device, AGENT, METHOD, {"device": device}, max(timeout_s, LEAST_WIPE_S))
    except HubError as error:
        if error.status not in (404, 504):
            raise
        return Decommissioned(device, "no answer", "its agent is not connected, or too slow", {})
    payload = said.get("payload")
    answer: Json = payload if isinstance(payload, dict) else {}
    counts = {str(kind): n for kind, n in (answer.get("removed") or {}).items() if isinstance(n, int)}
    problems = "; ".join(map(str, answer.get("problems") or ()))
    if said.get("status") == 200:
        return Decommissioned(device, "done", "", counts)
    if counts or problems:
        return Decommissioned(device, "in part", problems, counts)
    told = str(answer.get("message") or f"its agent answered {said.get('status')}")
    return Decommissioned(device, "refused", told, {})
