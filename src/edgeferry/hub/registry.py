"""The identity registry: devices and their modules, created, changed and removed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.layering import AGENT, HUB
from edgeferry.domain.limits import is_full
from edgeferry.hub.assigner import MANAGED, Assigner, new_identity
from edgeferry.hub.core import Core, check_etag, check_id, check_put, invalid
from edgeferry.hub.events import Event, IdentityGone
from edgeferry.hub.store import Store
from edgeferry.wire.hub import (
    DEVICE_ID,
    MODULE_ID,
    Identity,
    IfMatch,
    RefusalError,
    is_key,
    render_etag,
    render_identity,
)

Json = dict[str, Any]

SYSTEM_MODULES = (AGENT, HUB)
_RESERVED_DEVICE_IDS = ("query", "keys", ".", "..")


@dataclass(frozen=True)
class Registry:
    """Writes of identities."""

    core: Core
    assigner: Assigner

    def show(self, identity: Identity) -> Json:
        """The identity's document."""
        return render_identity(identity, self.core.presence_of(identity))

    def put_device(self, device: str, body: Json, if_match: IfMatch) -> Identity:
        """The device created (without If-Match) or updated (with it)."""
        check_id(body, "deviceId", device)
        store = self.core.store
        old = store.identity(device)
        check_put(old, if_match, "DeviceAlreadyExists", "DeviceNotFound", f"device {device!r}")
        now = self.core.now()
        if old is None and (not re.fullmatch(DEVICE_ID, device) or device in _RESERVED_DEVICE_IDS):
            raise invalid(f"{device!r} cannot be a device id", "use letters, digits, '-', '_' and '.'")
        identity = old or new_identity(device, None, now, self.core.new_key)
        identity = _with_keys(identity, body)
        identity = _with_status(identity, body, now)
        identity = _with_capabilities(identity, body)
        if old is not None:
            identity = replace(identity, etag=old.etag + 1)
        with store.transaction():
            store.save_identity(identity)
            if identity.is_edge:
                for name in SYSTEM_MODULES:
                    if store.identity(device, name) is None:
                        module = new_identity(device, name, now, self.core.new_key)
                        store.save_identity(replace(module, managed_by=MANAGED))
            events = [*_gone(old, identity, store), *self.assigner.assign(identity)]
        self.core.announce(events)
        return identity

    def put_module(self, device: str, name: str, body: Json, if_match: IfMatch) -> Identity:
        """The module created (without If-Match) or updated (with it)."""
        check_id(body, "deviceId", device)
        check_id(body, "moduleId", name)
        store = self.core.store
        self.core.identity(device)
        old = store.identity(device, name)
        check_put(old, if_match, "ModuleAlreadyExistsOnDevice", "ModuleNotFound", f"module {device}/{name}")
        if old is None and (not re.fullmatch(MODULE_ID, name) or name in (".", "..")):
            raise invalid(f"{name!r} cannot be a module id", "use letters, digits, '-', '_' and '.'")
        if old is None and is_full(len(store.modules(device)), self.core.sizes.modules):
            raise RefusalError(
                "TooManyModulesOnDevice",
                f"device {device!r} has {self.core.sizes.modules} modules already",
                fix="delete one first",
            )
        module = _with_keys(old or new_identity(device, name, self.core.now(), self.core.new_key), body)
        managed_by = body.get("managedBy")
        if managed_by is not None and not isinstance(managed_by, str):
            raise invalid("managedBy is not a text", "leave it out, or give IotEdge")
        if name not in SYSTEM_MODULES and managed_by is not None:
            module = replace(module, managed_by=managed_by)
        if old is not None:
            module = replace(module, etag=old.etag + 1)
        with store.transaction():
            store.save_identity(module)
        self.core.announce(_gone(old, module, store))
        return module

    def delete(self, device: str, module: str | None, if_match: IfMatch) -> None:
        """The identity is gone, with its modules if it is a device, and may not stay connected."""
        identity = self.core.identity(device, module)
        check_etag(if_match, render_etag(identity.etag), f"{device}/{module}" if module else device)
        if module in SYSTEM_MODULES:
            raise RefusalError(
                "SystemModuleModifyUnauthorizedAccess",
                f"{module} belongs to the hub",
                fix="delete the device to be rid of it",
            )
        events: list[Event] = [IdentityGone(device, module)]
        if module is None:
            events += [IdentityGone(device, one.module) for one in self.core.store.modules(device)]
        with self.core.store.transaction():
            self.core.store.delete_identity(device, module)
        self.core.announce(events)


def _with_keys(identity: Identity, body: Json) -> Identity:
    """With the keys in the body; empty or missing ones leave what is there."""
    authentication = body.get("authentication") or {}
    if not isinstance(authentication, dict) or authentication.get("type") not in (None, "sas"):
        raise invalid("authentication is not of type sas", "use authentication by symmetric keys")
    keys = authentication.get("symmetricKey") or {}
    if not isinstance(keys, dict):
        raise invalid("symmetricKey is not an object", "give primaryKey and secondaryKey")
    primary, secondary = keys.get("primaryKey"), keys.get("secondaryKey")
    for key in (primary, secondary):
        if key and not (isinstance(key, str) and is_key(key)):
            raise invalid("a symmetric key is not base64 of 16 to 64 bytes", "leave keys out to get new ones")
    return replace(
        identity,
        primary_key=primary or identity.primary_key,
        secondary_key=secondary or identity.secondary_key,
    )


def _with_status(identity: Identity, body: Json, now: str) -> Identity:
    status = body.get("status") or identity.status
    reason = body.get("statusReason", identity.status_reason)
    if status not in ("enabled", "disabled"):
        raise invalid(f"status {status!r} is unknown", "use enabled or disabled")
    if reason is not None and (not isinstance(reason, str) or len(reason) > 128):
        raise invalid("statusReason is not a text of at most 128 characters", "shorten it")
    if status == identity.status:
        return replace(identity, status_reason=reason)
    return replace(identity, status=status, status_reason=reason, status_updated_at=now)


def _with_capabilities(identity: Identity, body: Json) -> Identity:
    capabilities = body.get("capabilities") or {}
    is_edge = capabilities.get("iotEdge") if isinstance(capabilities, dict) else "?"
    scope = body.get("deviceScope") or identity.scope
    parents = body.get("parentScopes") or list(identity.parent_scopes)
    if is_edge not in (None, True, False):
        raise invalid("capabilities.iotEdge is neither true nor false", "say whether it is an edge device")
    if identity.is_edge and is_edge is False:
        raise invalid(f"{identity.device!r} is an edge device", "delete it and create it anew")
    if not isinstance(scope, str) or not isinstance(parents, list) or len(parents) > 1:
        raise invalid("deviceScope is not a text, or parentScopes not a list of one", "leave both out")
    if identity.is_edge:
        scope = identity.scope
    elif is_edge:
        scope = f"ms-azure-iot-edge://{identity.device}-{identity.generation}"
    elif scope and not parents:
        parents = [scope]  # a leaf names its parent by the scope alone
    return replace(
        identity,
        is_edge=identity.is_edge or bool(is_edge),
        scope=scope,
        parent_scopes=tuple(str(parent) for parent in parents),
    )


def _gone(old: Identity | None, new: Identity, store: Store) -> Sequence[Event]:
    """Connections that a change of keys or status ends."""
    if old is None:
        return []
    gone: list[Event] = []
    if (old.primary_key, old.secondary_key) != (new.primary_key, new.secondary_key):
        gone.append(IdentityGone(new.device, new.module))
    if new.module is None and new.status != "enabled" and old.status == "enabled":
        gone.append(IdentityGone(new.device, None))
        gone += [IdentityGone(new.device, module.module) for module in store.modules(new.device)]
    return gone
