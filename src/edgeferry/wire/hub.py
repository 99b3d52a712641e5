"""IoT Hub's service REST: identities, twins, configurations, methods and errors as JSON documents.

Follows the IoT Hub service REST API 2021-04-12 as azure-iot-hub 2.7 (Python) and azure-iothub 1.16 (Node)
really send and read it. Timestamps are ISO 8601, UTC.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edgeferry.domain.layering import Deployment
from edgeferry.domain.twin import Twin, render_section
from edgeferry.errors import RefusedError

Json = dict[str, Any]

NEVER = "0001-01-01T00:00:00Z"

# Microsoft's lists of letters changed over the years; these are what all of them have.
DEVICE_ID = r"[A-Za-z0-9\-.%_*?!(),=@$']{1,128}"
MODULE_ID = rf"(?!\$){DEVICE_ID}"
CONFIGURATION_ID = r"[a-z0-9\-:+%_#*?!(),=@;']{1,128}"

ERROR_CODES: Mapping[str, int] = MappingProxyType(
    {
        "ArgumentInvalid": 400004,
        "DeviceDefinedMultipleTimes": 400011,
        "DeserializationError": 400012,
        "InvalidConfigurationTargetCondition": 400401,
        "InvalidConfigurationContent": 400402,
        "CannotModifyImmutableConfigurationContent": 400403,
        "InvalidConfigurationCustomMetricsQuery": 400404,
        "IotHubUnauthorizedAccess": 401002,
        "SystemModuleModifyUnauthorizedAccess": 401100,
        "GenericNotFound": 404000,
        "DeviceNotFound": 404001,
        "ModuleNotFound": 404010,
        "FeatureNotSupported": 404013,
        "DeviceNotOnline": 404103,
        "DeviceConnectionClosedRemotely": 404104,
        "ConfigurationNotFound": 404301,
        "GenericMethodNotAllowed": 405000,
        "DeviceAlreadyExists": 409001,
        "ModuleAlreadyExistsOnDevice": 409301,
        "ConfigurationAlreadyExists": 409401,
        "PreconditionFailed": 412001,
        "MessageTooLarge": 413001,
        "TooManyDevices": 413002,
        "TooManyModulesOnDevice": 413003,
        "ConfigurationCountLimitExceeded": 413101,
        "ServerError": 500001,
        "ServiceUnavailable": 503001,
        "ThrottlingException": 429001,
        "GatewayTimeout": 504101,
    }
)
"""Azure's numbers by name; the first three digits are the HTTP status."""


class RefusalError(RefusedError):
    """A request that the hub refuses, by Azure's `name` for it (a key of ERROR_CODES)."""

    def __init__(self, name: str, problem: str, *, fix: str) -> None:
        super().__init__(problem, fix=fix)
        self.name = name

    @property
    def status(self) -> int:
        """The HTTP status."""
        return ERROR_CODES[self.name] // 1000


# --- what the hub knows


@dataclass(frozen=True)
class Identity:
    """A device, or a module of one (`module` is not None), with its twin."""

    device: str
    module: str | None
    generation: str
    created_at: str
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)
    twin: Twin
    etag: int = 1
    """Counts writes of the identity (the twin has its own)."""
    status: str = "enabled"
    status_reason: str | None = None
    status_updated_at: str = NEVER
    managed_by: str = ""
    is_edge: bool = False
    scope: str = ""
    parent_scopes: tuple[str, ...] = ()
    deployments: Mapping[str, str] = field(default_factory=dict)
    """`Applied` or `Targeted` by deployment id."""
    assigned: bool = False
    """Whether deployments decide its desired properties."""


@dataclass(frozen=True)
class Presence:
    """Whether an identity is connected now, and since when it is or is not."""

    connected: bool = False
    changed_at: str = NEVER
    active_at: str = NEVER


@dataclass(frozen=True)
class Configuration:
    """A deployment as the service keeps it."""

    deployment: Deployment
    schema_version: str
    labels: Mapping[str, str]
    updated_at: str
    metric_queries: Mapping[str, str]
    etag: int = 1


# --- documents


def render_identity(identity: Identity, presence: Presence) -> Json:
    """`Device` or `Module` of the REST API, keys included."""
    document: Json = {
        "deviceId": identity.device,
        "generationId": identity.generation,
        "etag": render_etag(identity.etag),
        "connectionState": "Connected" if presence.connected else "Disconnected",
        "connectionStateUpdatedTime": presence.changed_at,
        "lastActivityTime": presence.active_at,
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "type": "sas",
            "symmetricKey": {"primaryKey": identity.primary_key, "secondaryKey": identity.secondary_key},
            "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        },
    }
    if identity.module is not None:
        return {"moduleId": identity.module, "managedBy": identity.managed_by, **document}
    return {
        **document,
        "status": identity.status,
        "statusReason": identity.status_reason,
        "statusUpdatedTime": identity.status_updated_at,
        "capabilities": {"iotEdge": identity.is_edge},
        "deviceScope": identity.scope,
        "parentScopes": list(identity.parent_scopes),
    }


def render_twin(identity: Identity, presence: Presence) -> Json:
    """`Twin` of the REST API."""
    twin = identity.twin
    document: Json = {
        "deviceId": identity.device,
        "etag": render_etag(twin.version),
        "deviceEtag": render_etag(identity.etag),
        "status": identity.status,
        "statusUpdateTime": identity.status_updated_at,
        "connectionState": "Connected" if presence.connected else "Disconnected",
        "lastActivityTime": presence.active_at,
        "cloudToDeviceMessageCount": 0,
        "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "modelId": "",
        "version": twin.version,
        "tags": twin.tags,
        "properties": {
            "desired": render_section(twin.desired),
            "reported": render_section(twin.reported),
        },
        "configurations": {name: {"status": status} for name, status in identity.deployments.items()},
    }
    if identity.module is not None:
        return {**document, "moduleId": identity.module}
    return {
        **document,
        "capabilities": {"iotEdge": identity.is_edge},
        "deviceScope": identity.scope,
        "parentScopes": list(identity.parent_scopes),
    }


def render_device_twin(twin: Twin) -> bytes:
    """The twin as its own device or module reads it over MQTT: no tags, no metadata."""
    return render_json(
        {
            "desired": {**twin.desired.values, "$version": twin.desired.version},
            "reported": {**twin.reported.values, "$version": twin.reported.version},
        }
    )


def render_configuration(
    configuration: Configuration, system_results: Mapping[str, int], results: Mapping[str, int]
) -> Json:
    """`Configuration` of the REST API with its metrics as of now."""
    deployment = configuration.deployment
    return {
        "id": deployment.id,
        "schemaVersion": configuration.schema_version,
        "labels": dict(configuration.labels),
        "content": {"modulesContent": {name: dict(paths) for name, paths in deployment.modules.items()}},
        "contentType": "assignment",
        "targetCondition": deployment.condition.text,
        "createdTimeUtc": deployment.created_at,
        "lastUpdatedTimeUtc": configuration.updated_at,
        "priority": deployment.priority,
        "systemMetrics": {
            "results": dict(system_results),
            "queries": dict(render_system_queries(deployment)),
        },
        "metrics": {"results": dict(results), "queries": dict(configuration.metric_queries)},
        "etag": render_etag(configuration.etag),
    }


def render_system_queries(deployment: Deployment) -> Mapping[str, str]:
    """The queries that count how far a deployment has come, by metric; an empty one counts nothing."""
    condition = deployment.condition.text.strip()
    targeted = "select deviceId from devices where capabilities.iotEdge = true"
    if condition != "*":
        targeted = f"{targeted} and ({condition})" if condition else ""  # parsed, so a whole one
    applied = (
        "select deviceId from devices.modules where moduleId = '$edgeAgent' "
        f"and configurations.[[{deployment.id}]].status = 'Applied'"
    )
    current = f"{applied} and properties.desired.$version = properties.reported.lastDesiredVersion"
    code = "properties.reported.lastDesiredStatus.code"
    return {
        "targetedCount": targeted,
        "appliedCount": applied,
        "reportedSuccessfulCount": f"{current} and {code} = 200",
        "reportedFailedCount": f"{current} and {code} != 200",
    }


# --- direct methods


@dataclass(frozen=True)
class MethodRequest:
    """A direct method to call; both timeouts in seconds."""

    name: str
    payload: Any = None
    response_timeout_s: int = 30
    connect_timeout_s: int = 0


METHOD_NAME = 1024
"""Most characters of a method's name: percent-encoded, it stands in an MQTT topic of at most 65535 bytes."""


def render_method_request(request: MethodRequest) -> bytes:
    """The body of `POST /twins/…/methods`."""
    return render_json(
        {
            "methodName": request.name,
            "payload": request.payload,
            "responseTimeoutInSeconds": request.response_timeout_s,
            "connectTimeoutInSeconds": request.connect_timeout_s,
        }
    )


def parse_method_request(body: Any) -> MethodRequest:
    """The method asked for; RefusalError when a member is missing or out of bounds."""
    if not isinstance(body, dict) or not isinstance(body.get("methodName"), str) or not body["methodName"]:
        raise RefusalError("ArgumentInvalid", "methodName is missing", fix="name the method to call")
    if len(body["methodName"]) > METHOD_NAME:
        raise RefusalError(
            "ArgumentInvalid",
            f"methodName has {len(body['methodName'])} characters",
            fix=f"use at most {METHOD_NAME}",
        )
    response = _timeout(body, "responseTimeoutInSeconds", 30, at_least=5)
    connect = _timeout(body, "connectTimeoutInSeconds", 0, at_least=0)
    return MethodRequest(body["methodName"], body.get("payload"), response, connect)


def _timeout(body: Json, name: str, default: int, at_least: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= 300:
        raise RefusalError(
            "ArgumentInvalid", f"{name} is {value!r}", fix=f"give whole seconds from {at_least} to 300"
        )
    return value


# --- errors, etags, JSON

IfMatch = tuple[str, ...] | None
"""Etags of which one must be the document's, unquoted; `*` is any; None is no condition."""
ANY_ETAG: IfMatch = ("*",)

_ETAG = re.compile(r'(?:W/)?(?:"([^"]*)"|([^\s,"]+))')


def render_error(refusal: RefusalError, tracking_id: str, at: str) -> bytes:
    """The error body: Azure's flat form, which all its SDKs can read; for method errors JSON in a string.
    `at` is ISO 8601, UTC."""
    text = f"{refusal.problem}. {refusal.fix}" if refusal.fix else refusal.problem
    tracking = f"{tracking_id}-TimeStamp:{at[5:7]}/{at[8:10]}/{at[:4]} {at[11:19]}"
    if refusal.name in ("DeviceNotOnline", "DeviceConnectionClosedRemotely", "GatewayTimeout"):
        inner = {
            "errorCode": ERROR_CODES[refusal.name],
            "trackingId": tracking,
            "message": text,
            "info": {},
            "timestampUtc": at,
        }
        return render_json({"Message": json.dumps(inner), "ExceptionMessage": ""})
    flat = f"ErrorCode:{refusal.name};{text}"
    tracking = tracking.replace("-", "-G:0-", 1)
    return render_json({"Message": flat, "ExceptionMessage": f"Tracking ID:{tracking}"})


def parse_error(body: bytes) -> str:
    """What an error body says to a person, whichever form it has; the body itself when it has neither."""
    text = body.decode("utf-8", "replace")
    try:
        message = json.loads(text)["Message"]
        if message.startswith("{"):
            return str(json.loads(message)["message"])
        return str(message.removeprefix("ErrorCode:").partition(";")[2] or message)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text[:500]


def render_etag(count: int) -> str:
    """The etag of a document at this write, e.g. `MQ==`; unquoted, as it stands in bodies."""
    return base64.b64encode(str(count).encode()).decode()


def parse_if_match(header: str | None) -> IfMatch:
    """The etags that an `If-Match` names, whether quoted, bare, weak (`W/`) or several."""
    if header is None or not header.strip():
        return None
    return tuple(quoted or bare for quoted, bare in _ETAG.findall(header))


def matches_etag(if_match: IfMatch, etag: str) -> bool:
    """Whether a document with this etag is one that was meant."""
    return if_match is None or "*" in if_match or etag in if_match


def is_key(text: str) -> bool:
    """Whether it can be a shared access key: base64 of 16 to 64 bytes."""
    try:
        return 16 <= len(base64.b64decode(text, validate=True)) <= 64
    except (binascii.Error, ValueError):
        return False


_NESTING = 250
"""Deepest JSON taken. Python's reader takes more or less by its version, and more than code that recurses."""


def render_json(value: Any) -> bytes:
    """The value's UTF-8 JSON; ValueError for NaN, infinities and broken text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_json(data: bytes) -> Any:
    """The value of UTF-8 JSON, sure to be renderable again; ValueError otherwise."""
    try:
        value = json.loads(data.decode("utf-8"))
        render_json(value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if data.count(b"{") + data.count(b"[") > _NESTING and _is_deep(value):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_NESTING):
        level = [
            member
            for one in level
            if isinstance(one, dict | list)
            for member in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)
