"""Many identities in one request: created, updated, deleted, given new keys; each by itself, so that one that
cannot be stops no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgeferry.hub.core import Core, invalid
from edgeferry.hub.registry import Registry
from edgeferry.hub.twins import Twins
from edgeferry.wire.hub import (
    ANY_ETAG,
    ERROR_CODES,
    Identity,
    IfMatch,
    Json,
    RefusalError,
    parse_if_match,
)

MAX_ENTRIES = 100
_WRITTEN = (
    "authentication",
    "capabilities",
    "deviceScope",
    "managedBy",
    "parentScopes",
    "status",
    "statusReason",
)
_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "primarykey": ("primaryKey",),
        "secondarykey": ("secondaryKey",),
        "both": ("primaryKey", "secondaryKey"),
    }
)


@dataclass(frozen=True)
class Bulk:
    """Writes of many identities at once."""

    core: Core
    registry: Registry
    twins: Twins

    def change(self, entries: Sequence[Any]) -> Json:
        """`BulkRegistryOperationResult`: what failed, entry by entry, and what was only half done.
        RefusalError TooManyDevices for more than 100 entries."""
        _check_count(entries)
        errors: list[Json] = []
        warnings: list[Json] = []
        seen: set[tuple[str, str | None]] = set()
        for entry in entries:
            try:
                device, module = _parse_ids(entry)
                if (device, module) in seen:
                    raise RefusalError(
                        "DeviceDefinedMultipleTimes", f"{device!r} is there twice", fix="name it once"
                    )
                seen.add((device, module))
                warning = self._change(device, module, entry)
            except RefusalError as refusal:
                errors.append({"deviceId": _told(entry, "id"), **_render_fault(entry, refusal)})
            else:
                warnings += [warning] if warning else []
        return {"isSuccessful": not errors, "errors": errors, "warnings": warnings}

    def regenerate_keys(self, body: Json) -> Json:
        """`BulkRegenerateKeyResult`: the keys of each identity after the named ones were replaced, and the
        identities where that failed."""
        policy_key, entries = body.get("policyKey"), body.get("devices")
        members = _KEYS.get(policy_key.lower()) if isinstance(policy_key, str) else None
        if members is None:
            raise invalid(f"policyKey is {policy_key!r}", "give primaryKey, secondaryKey or both")
        if not isinstance(entries, list):
            raise invalid("devices is not a list", "send [{'id': …, 'moduleId': …}]")
        _check_count(entries)
        rotated: list[Json] = []
        errors: list[Json] = []
        for entry in entries:
            try:
                device, module = _parse_ids(entry)
                identity = self._rotate(device, module, members)
            except RefusalError as refusal:
                fault = _render_fault(entry, refusal)
                errors.append({"id": _told(entry, "id"), "moduleId": None, **fault})
            else:
                keys = {"primaryKey": identity.primary_key, "secondaryKey": identity.secondary_key}
                rotated.append({"id": device, "moduleId": module, **keys})
        shown = members[0] if len(members) == 1 else "both"
        return {"policyKey": shown, "rotatedKeys": rotated, "errors": errors}

    def _change(self, device: str, module: str | None, entry: Json) -> Json | None:
        """A warning, if any."""
        mode = entry.get("importMode") or "createOrUpdate"
        exists = self.core.store.identity(device, module) is not None
        match str(mode).lower():
            case "create":
                return self._put(device, module, entry, None)
            case "createorupdate":
                return self._put(device, module, entry, ANY_ETAG if exists else None)
            case "update":
                return self._put(device, module, entry, ANY_ETAG)
            case "updateifmatchetag":
                return self._put(device, module, entry, _parse_etag(entry, "eTag"))
            case "delete":
                self.registry.delete(device, module, ANY_ETAG)
            case "deleteifmatchetag":
                self.registry.delete(device, module, _parse_etag(entry, "eTag"))
            case "updatetwin":
                self.twins.write(device, module, entry, ANY_ETAG, whole=False)
            case "updatetwinifmatchetag":
                self.twins.write(device, module, entry, _parse_etag(entry, "twinETag"), whole=False)
            case _:
                raise invalid(
                    f"importMode {mode!r} is unknown",
                    "use create, update, updateIfMatchETag, createOrUpdate, delete, deleteIfMatchETag, "
                    "updateTwin or updateTwinIfMatchETag",
                )
        return None

    def _put(self, device: str, module: str | None, entry: Json, if_match: IfMatch) -> Json | None:
        body = {name: entry[name] for name in _WRITTEN if entry.get(name) is not None}
        self._write(device, module, body, if_match)
        if entry.get("tags") is None and entry.get("properties") is None:
            return None
        try:
            self.twins.write(device, module, entry, None, whole=if_match is None)
        except RefusalError as refusal:
            return {
                "deviceId": device,
                "warningCode": "DeviceRegisteredWithoutTwin",
                "warningStatus": refusal.problem,
            }
        return None

    def _rotate(self, device: str, module: str | None, members: Sequence[str]) -> Identity:
        self.core.identity(device, module)
        keys = {member: self.core.new_key() for member in members}
        return self._write(device, module, {"authentication": {"symmetricKey": keys}}, ANY_ETAG)

    def _write(self, device: str, module: str | None, body: Json, if_match: IfMatch) -> Identity:
        if module is None:
            return self.registry.put_device(device, body, if_match)
        return self.registry.put_module(device, module, body, if_match)


def _check_count(entries: Sequence[Any]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusalError(
            "TooManyDevices", f"{len(entries)} entries", fix=f"send at most {MAX_ENTRIES} at once"
        )


def _parse_ids(entry: Any) -> tuple[str, str | None]:
    device = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(device, str) or not device:
        raise invalid("id is missing", "send objects with the device's id as id")
    module = entry.get("moduleId")
    if module is not None and not isinstance(module, str):
        raise invalid("moduleId is not a text", "leave it out for a device")
    return device, module or None


def _parse_etag(entry: Json, member: str) -> IfMatch:
    # Node's client writes `etag` where the documentation has `eTag`.
    etag = next((value for name, value in entry.items() if name.lower() == member.lower()), None)
    if not isinstance(etag, str) or not etag.strip():
        raise invalid(f"{member} is missing", f"send the {member} that was read")
    return parse_if_match(etag)


def _render_fault(entry: Any, refusal: RefusalError) -> Json:
    module = _told(entry, "moduleId")
    fault = {"errorCode": ERROR_CODES[refusal.name], "errorStatus": f"{refusal.name}: {refusal.problem}"}
    return {"moduleId": module, **fault} if module else fault


def _told(entry: Any, member: str) -> str:
    value = entry.get(member) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""
