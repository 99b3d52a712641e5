"""Enrol: a device has an identity at the hub that may run modules, and the tags of one of the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeferry.domain.enrolment import missing_tags, new_tags
from edgeferry.domain.twin import merge
from edgeferry.errors import HubError, RefusedError
from edgeferry.ports import Hub, Json


@dataclass(frozen=True)
class Enrolled:
    """What became of the device at the hub."""

    device: str
    state: Literal["created", "adopted"]
    tags: Json
    identity: Json = field(repr=False)
    """Keys included."""
    remarks: tuple[str, ...] = ()


def enrol_device(
    hub: Hub, device: str, device_class: str, asked: Mapping[str, Any], *, may_exist: bool = False
) -> Enrolled:
    """The device, created with the fleet's tags and those `asked` for; where it `may_exist`, one that does is
    adopted. RefusedError when it must not and does."""
    identity = _find(hub, device)
    if identity is not None:
        if not may_exist:
            raise RefusedError(
                f"the hub has a device {device!r} already; nothing was changed",
                fix=f"edgeferry devices adopt {device} prints its line again, or choose another name",
            )
        return adopt_device(hub, identity, device_class, asked)
    tags = new_tags(device, device_class, asked)
    identity = hub.create_device(device, tags)
    return Enrolled(device, "created", tags, identity)


def adopt_device(hub: Hub, identity: Json, device_class: str, asked: Mapping[str, Any]) -> Enrolled:
    """The device that the hub has, with its keys and tags as they are, and what it lacked to be one of the
    fleet; what could not be added is a remark."""
    device, remarks = identity["deviceId"], []
    if identity.get("status") == "disabled":
        remarks.append("it is disabled: the hub refuses it until somebody enables it")
    if not (identity.get("capabilities") or {}).get("iotEdge"):
        try:
            identity = hub.save_identity({**identity, "capabilities": {"iotEdge": True}})
        except HubError as error:
            if error.status != 400:
                raise
            remarks.append(f"it cannot run modules: the hub does not make it an edge device: {error.problem}")
    tags = merge({}, hub.device_twin(device).get("tags") or {})
    missing = missing_tags(device, device_class, tags, asked)
    wanted = merge(tags, missing)
    if wanted != tags:
        hub.patch_tags(device, missing)
    return Enrolled(device, "adopted", wanted, identity, tuple(remarks))


def _find(hub: Hub, device: str) -> Json | None:
    try:
        return hub.device(device)
    except HubError as error:
        if error.status != 404:
            raise
        return None
