"""What a hub knows as JSON Lines: a header, then one document per device, module and configuration.

Our own format, version 1. The header is `{"edgeferry_hub_export": 1, "keys": true}`; `kind` says what each
other line is. A device stands before its modules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import Deployment, find_content_fault
from edgeferry.domain.limits import ANY_SIZES
from edgeferry.domain.twin import Section, Twin
from edgeferry.errors import ConditionError
from edgeferry.wire.hub import Configuration, Identity, is_key

VERSION = 1
_MARK = "edgeferry_hub_export"
_DEVICE, _MODULE, _CONFIGURATION = "device", "module", "configuration"
_IDENTITY: Mapping[str, type | tuple[type, ...]] = {
    "device": str,
    "module": (str, type(None)),
    "generation": str,
    "created_at": str,
    "etag": int,
    "status": str,
    "status_reason": (str, type(None)),
    "status_updated_at": str,
    "managed_by": str,
    "is_edge": bool,
    "scope": str,
    "parent_scopes": list,
    "deployments": dict,
    "assigned": bool,
    "primary_key": str,
    "secondary_key": str,
    "twin": dict,
}
_CONFIGURATION_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "id": str,
    "priority": int,
    "created_at": str,
    "condition": str,
    "modules": dict,
    "schema_version": str,
    "labels": dict,
    "updated_at": str,
    "metric_queries": dict,
    "etag": int,
}

Record = Identity | Configuration


def render_export(records: Iterable[Record], *, keys: bool) -> Iterator[str]:
    """The lines, each with its end; without `keys` no line holds a secret."""
    yield _line({_MARK: VERSION, "keys": keys})
    for record in records:
        yield _line(_render_identity(record, keys) if isinstance(record, Identity) else _render(record))


def parse_export(lines: Iterable[str]) -> Iterator[Record]:
    """What the lines say; an identity exported without its keys has empty ones. ValueError with the number of
    the line that cannot be read."""
    version = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise ValueError("it is not a JSON object")
            if not version:
                version = document.get(_MARK, 0)
                if version != VERSION:
                    raise ValueError(f"it is no header of an export of version {VERSION}")
            else:
                yield _parse(document)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"line {number}: {said}") from error
        except ConditionError as error:
            raise ValueError(f"line {number}: {error.problem}") from error
    if not version:
        raise ValueError("line 1: it is empty")


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def _render_identity(identity: Identity, keys: bool) -> Mapping[str, Any]:
    document = {"kind": _DEVICE if identity.module is None else _MODULE, **asdict(identity)}
    if not keys:
        del document["primary_key"], document["secondary_key"]
    return document


def render_stored(configuration: Configuration) -> dict[str, Any]:
    """The configuration as it is kept under its id."""
    deployment = configuration.deployment
    return {
        "priority": deployment.priority,
        "created_at": deployment.created_at,
        "condition": deployment.condition.text,
        "modules": {name: dict(paths) for name, paths in deployment.modules.items()},
        "schema_version": configuration.schema_version,
        "labels": dict(configuration.labels),
        "updated_at": configuration.updated_at,
        "metric_queries": dict(configuration.metric_queries),
        "etag": configuration.etag,
    }


def parse_stored(name: str, document: dict[str, Any]) -> Configuration:
    """The configuration of that id from what `render_stored` gave; takes the document apart."""
    deployment = Deployment(
        id=name,
        priority=document.pop("priority"),
        created_at=document.pop("created_at"),
        condition=parse_condition(document.pop("condition")),
        modules=document.pop("modules"),
    )
    return Configuration(deployment=deployment, **document)


def _render(configuration: Configuration) -> Mapping[str, Any]:
    return {"kind": _CONFIGURATION, "id": configuration.deployment.id, **render_stored(configuration)}


def _parse(document: dict[str, Any]) -> Record:
    match document.pop("kind", None):
        case "device" | "module" as kind:
            identity = _parse_identity(document)
            if (identity.module is None) is not (kind == _DEVICE):
                raise ValueError(f"it is no {kind}")
            return identity
        case "configuration":
            return _parse_configuration(document)
        case other:
            raise ValueError(f"kind {other!r} is unknown")


def _parse_identity(document: dict[str, Any]) -> Identity:
    if "primary_key" not in document and "secondary_key" not in document:
        document |= {"primary_key": "", "secondary_key": ""}
    _check(document, _IDENTITY)
    if not document["device"] or document["module"] == "":
        raise ValueError("an id is empty")
    if document["status"] not in ("enabled", "disabled"):
        raise ValueError("status is neither enabled nor disabled")
    if any(key and not is_key(key) for key in (document["primary_key"], document["secondary_key"])):
        raise ValueError("a key is not base64 of 16 to 64 bytes")
    twin = document.pop("twin")
    _check(twin, {"desired": dict, "reported": dict, "tags": dict, "version": int})
    parsed = Twin(
        _parse_section(twin["desired"]), _parse_section(twin["reported"]), twin["tags"], twin["version"]
    )
    document["parent_scopes"] = tuple(str(parent) for parent in document["parent_scopes"])
    return Identity(twin=parsed, **document)


def _parse_section(document: dict[str, Any]) -> Section:
    _check(document, {"values": dict, "metadata": dict, "version": int})
    if not _describes(document["metadata"], document["values"]):
        raise ValueError("a section's metadata does not describe its values")
    return Section(**document)


def _describes(metadata: Any, values: Any) -> bool:
    """Whether the metadata's tree has a place for each value."""
    if not isinstance(metadata, dict):
        return False
    if not isinstance(values, dict):
        return True
    return all(_describes(metadata.get(name), value) for name, value in values.items())


def _parse_configuration(document: dict[str, Any]) -> Configuration:
    _check(document, _CONFIGURATION_FIELDS)
    if fault := find_content_fault(document["modules"], ANY_SIZES):
        raise ValueError(fault)
    return parse_stored(document.pop("id"), document)


def _check(document: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]]) -> None:
    if unknown := document.keys() - fields.keys():
        raise ValueError(f"{sorted(unknown)[0]!r} is unknown")
    for name, wanted in fields.items():
        value = document[name]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ValueError(f"{name} is no such value")
