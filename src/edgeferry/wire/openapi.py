"""What a hub's service REST offers, described as an OpenAPI 3.1 document.

The schemas follow the IoT Hub service REST API 2021-04-12. What the hub sends is described strictly, so that
a member more or less is found; what it takes is described by type only, as Azure takes more than it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgeferry.wire.hub import CONFIGURATION_ID, DEVICE_ID, ERROR_CODES, METHOD_NAME

Json = dict[str, Any]

API_VERSION = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$"
"""The form of every api-version."""


@dataclass(frozen=True)
class Operation:
    """One thing to ask of the hub."""

    method: str
    path: str
    """With `{device}`, `{module}` or `{configuration}`."""
    summary: str
    right: str | None
    """What a policy needs; None where nobody is asked who they are."""
    answer: str | None = None
    """The schema of a success (200), a list of it with `[]` at the end; None for 204 without a body."""
    body: str | None = None
    """The schema of what is sent, likewise."""
    parameters: tuple[str, ...] = ()
    """Names of PARAMETERS beside those in the path."""
    refusals: tuple[str, ...] = ()
    """Names of ERROR_CODES beside those that every operation has."""
    own: str = ""
    """Who else may: `device`, the device in the path; `module`, a module of that device or of its parent,
    named by x-ms-edge-moduleId."""


def render_openapi(operations: Iterable[Operation], version: str) -> Json:
    """The document; `version` is the program's."""
    operations = list(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        names = _names(operation)
        if names:
            item["parameters"] = [_reference("parameters", name) for name in names]
        document = item[operation.method.lower()] = _render_operation(operation)
        if operation.method == "PUT" and operation.answer in _CREATED:
            document["responses"]["200"]["links"] = _render_links(operation, operations)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgeferry hub",
            "version": version,
            "description": "The service REST of a local hub, as Azure IoT Hub's clients call it.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"sas": _SAS},
            "parameters": dict(PARAMETERS),
            "schemas": dict(SCHEMAS),
        },
    }


def _render_operation(operation: Operation) -> Json:
    parameters = [_reference("parameters", name) for name in operation.parameters]
    if operation.right is not None:
        name = "api-version" if operation.own != "module" else "optional-api-version"
        parameters.insert(0, _reference("parameters", name))
    document: Json = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _render_responses(operation),
        "security": [] if operation.right is None else [{"sas": []}],
    }
    if operation.right is not None:
        document["description"] = f"Needs {operation.right}."
    if operation.body is not None:
        content = _content(operation.body)
        if operation.body in _EXAMPLES:
            content["application/json"]["example"] = _EXAMPLES[operation.body]
        document["requestBody"] = {"required": True, "content": content}
    return document


def _render_responses(operation: Operation) -> Json:
    if operation.answer is None:
        responses: Json = {"204": {"description": "Done."}}
    else:
        responses = {"200": {"description": "The document.", "content": _content(operation.answer)}}
        if operation.answer in _WITH_ETAG:
            responses["200"]["headers"] = {
                "ETag": {"description": "The document's etag, quoted.", "schema": {"type": "string"}}
            }
    codes = list(operation.refusals)
    if operation.right is not None:
        codes += ["ArgumentInvalid", "IotHubUnauthorizedAccess", "ServerError"]
        if operation.body is not None:
            codes += ["DeserializationError", "MessageTooLarge"]
    for status in sorted({ERROR_CODES[code] // 1000 for code in codes}):
        names = sorted({code for code in codes if ERROR_CODES[code] // 1000 == status})
        schema = "Health" if operation.answer == "Health" else "Error"
        if status == 400 and operation.answer == "BulkResult":
            schema = "BulkResultOrError"
        responses[str(status)] = {
            "description": ", ".join(names),
            "content": _content(schema),
            "headers": {"iothub-errorcode": {"schema": {"type": "string"}}},
        }
    return responses


def _render_links(creating: Operation, operations: Iterable[Operation]) -> Json:
    """What can be asked about that which the operation creates."""
    names = _names(creating)
    members = {name: f"$response.body#/{_MEMBERS[creating.answer or '', name]}" for name in names}
    return {
        _operation_id(one): {"operationId": _operation_id(one), "parameters": members}
        for one in operations
        if _names(one) == names and one != creating
    }


def _names(operation: Operation) -> list[str]:
    return [name for name in ("device", "module", "configuration") if f"{{{name}}}" in operation.path]


def _operation_id(operation: Operation) -> str:
    words = [word.strip("{}") for word in operation.path.strip("/").split("/")]
    return "-".join((operation.method.lower(), *words))


def _content(schema: str) -> Json:
    document = _reference("schemas", schema.removesuffix("[]"))
    if schema.endswith("[]"):
        document = {"type": "array", "items": document}
    return {"application/json": {"schema": document}}


def _reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(members: Mapping[str, Json], optional: tuple[str, ...] = ()) -> Json:
    """A document that the hub sends: these members, all of them, and no others."""
    return {
        "type": "object",
        "properties": dict(members),
        "required": [name for name in members if name not in optional],
        "additionalProperties": False,
    }


def _taken(members: Mapping[str, Json], required: tuple[str, ...] = ()) -> Json:
    """A document that the hub takes: null counts as absent, unknown members as nothing."""
    return {
        "type": "object",
        "properties": {
            name: schema if name in required else {"anyOf": [schema, {"type": "null"}]}
            for name, schema in members.items()
        },
        "required": list(required),
    }


def _schema(name: str) -> Json:
    return _reference("schemas", name)


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _map(values: Json) -> Json:
    return {"type": "object", "additionalProperties": values}


_STRING: Json = {"type": "string"}
_BOOLEAN: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_ANY: Json = {}
_OBJECT: Json = {"type": "object"}
_NULLABLE: Json = {"type": ["string", "null"]}
_TIME: Json = {"type": "string", "description": "ISO 8601, UTC"}
_STATUS: Json = {"enum": ["enabled", "disabled"]}
_CONNECTION: Json = {"enum": ["Connected", "Disconnected"]}
_THUMBPRINTS = _object({"primaryThumbprint": _NULLABLE, "secondaryThumbprint": _NULLABLE})

_SAS: Json = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "SharedAccessSignature sr=…&sig=…&se=…[&skn=…], signed by a policy's or an identity's key",
}

_WITH_ETAG = ("Device", "Module", "Twin", "Configuration")
_CREATED = ("Device", "Module", "Configuration")
_MEMBERS = {
    ("Device", "device"): "deviceId",
    ("Module", "device"): "deviceId",
    ("Module", "module"): "moduleId",
    ("Configuration", "configuration"): "id",
}

_AGENT: Json = {
    "schemaVersion": "1.1",
    "modules": {"camera": {"type": "docker", "settings": {"image": "camera:1"}}},
}
_EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "DeviceWrite": {"capabilities": {"iotEdge": True}},
        "ModuleWrite": {},
        "TwinWrite": {"tags": {"environment": "test"}, "properties": {"desired": {"fps": 30}}},
        "ConfigurationWrite": {
            "content": {"modulesContent": {"$edgeAgent": {"properties.desired": _AGENT}}},
            "targetCondition": "tags.environment='test'",
            "priority": 10,
        },
        "Content": {"modulesContent": {"$edgeAgent": {"properties.desired": _AGENT}}},
        "BulkEntry[]": [{"id": "edge-2", "importMode": "createOrUpdate", "tags": {"line": 2}}],
        "KeysRequest": {"policyKey": "primaryKey", "devices": [{"id": "edge-1"}]},
        "MethodRequest": {"methodName": "ping", "payload": None},
        "Query": {"query": "SELECT * FROM devices WHERE tags.environment = 'test'"},
        "QueriesToTest": {"targetCondition": "tags.environment='test'"},
    }
)

PARAMETERS: Mapping[str, Json] = MappingProxyType(
    {
        "device": {
            "name": "device",
            "in": "path",
            "required": True,
            "example": "edge-1",
            "schema": {"type": "string", "pattern": f"^{DEVICE_ID}$"},
        },
        "module": {
            "name": "module",
            "in": "path",
            "required": True,
            "example": "camera",
            "schema": {"type": "string", "pattern": f"^{DEVICE_ID}$"},
        },
        "configuration": {
            "name": "configuration",
            "in": "path",
            "required": True,
            "example": "base-1",
            "schema": {"type": "string", "pattern": f"^{CONFIGURATION_ID}$"},
        },
        "api-version": {
            "name": "api-version",
            "in": "query",
            "required": True,
            "example": "2021-04-12",
            "schema": {"type": "string", "pattern": API_VERSION},
        },
        "optional-api-version": {
            "name": "api-version",
            "in": "query",
            "description": "Required of policies; a module's own call may leave it out.",
            "schema": {"type": "string", "pattern": API_VERSION},
        },
        "if-match": {
            "name": "If-Match",
            "in": "header",
            "description": "Etags of the write to change, or *; quoted, bare, with W/, or a list of them.",
            "schema": _STRING,
        },
        "top": {
            "name": "top",
            "in": "query",
            "description": "How many at most.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999999999},
        },
        "max-item-count": {
            "name": "x-ms-max-item-count",
            "in": "header",
            "description": "Rows of a page, 100 when absent, at most 1000.",
            "schema": {"type": "integer"},
        },
        "continuation": {
            "name": "x-ms-continuation",
            "in": "header",
            "description": "As the last page gave it.",
            "schema": _STRING,
        },
        "edge-module": {
            "name": "x-ms-edge-moduleId",
            "in": "header",
            "description": "{device}/{module} of a module that calls with its own credential.",
            "schema": _STRING,
        },
        "after": {
            "name": "after",
            "in": "query",
            "description": "A page's `next`; from the oldest message kept when absent.",
            "schema": _STRING,
        },
        "limit": {
            "name": "limit",
            "in": "query",
            "description": "Messages of a page, 100 when absent.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
        },
        "wait": {
            "name": "wait",
            "in": "query",
            "description": "Seconds to wait for a message where there is none.",
            "schema": {"type": "integer", "minimum": 0, "maximum": 60},
        },
        "of-device": {
            "name": "device",
            "in": "query",
            "description": "Only this device's and its modules'.",
            "schema": _STRING,
        },
    }
)
"""Parameters by the name that an Operation gives."""

_AUTHENTICATION = _object(
    {
        "type": {"const": "sas"},
        "symmetricKey": _object({"primaryKey": _STRING, "secondaryKey": _STRING}),
        "x509Thumbprint": _THUMBPRINTS,
    }
)
_IDENTITY: Json = {
    "deviceId": _STRING,
    "generationId": _STRING,
    "etag": _STRING,
    "connectionState": _CONNECTION,
    "connectionStateUpdatedTime": _TIME,
    "lastActivityTime": _TIME,
    "cloudToDeviceMessageCount": _COUNT,
    "authentication": _AUTHENTICATION,
}
_EDGE: Json = {
    "capabilities": _object({"iotEdge": {"type": "boolean"}}),
    "deviceScope": _STRING,
    "parentScopes": _list(_STRING),
}
_SECTION: Json = {
    "type": "object",
    "properties": {"$version": {"type": "integer", "minimum": 1}, "$metadata": _OBJECT},
    "required": ["$version", "$metadata"],
}
_TAKEN_AUTHENTICATION = _taken(
    {"type": {"const": "sas"}, "symmetricKey": _taken({"primaryKey": _STRING, "secondaryKey": _STRING})}
)
_TAKEN_DEVICE: Json = {
    "status": _STATUS,
    "statusReason": {"type": "string", "maxLength": 128},
    "authentication": _TAKEN_AUTHENTICATION,
    "capabilities": _taken({"iotEdge": {"type": "boolean"}}),
    "deviceScope": _STRING,
    "parentScopes": {**_list(_STRING), "maxItems": 1},
}
_MODULES_CONTENT = _map(_map(_ANY))
_POLICY_KEY: Json = {"enum": ["primaryKey", "secondaryKey", "both"]}

SCHEMAS: Mapping[str, Json] = MappingProxyType(
    {
        "Device": _object(
            {
                **_IDENTITY,
                "status": _STATUS,
                "statusReason": _NULLABLE,
                "statusUpdatedTime": _TIME,
                **_EDGE,
            }
        ),
        "Module": _object({"moduleId": _STRING, "managedBy": _STRING, **_IDENTITY}),
        "Twin": _object(
            {
                "deviceId": _STRING,
                "moduleId": _STRING,
                "etag": _STRING,
                "deviceEtag": _STRING,
                "status": _STATUS,
                "statusUpdateTime": _TIME,
                "connectionState": _CONNECTION,
                "lastActivityTime": _TIME,
                "cloudToDeviceMessageCount": _COUNT,
                "authenticationType": {"const": "sas"},
                "x509Thumbprint": _THUMBPRINTS,
                "modelId": _STRING,
                "version": {"type": "integer", "minimum": 1},
                "tags": _OBJECT,
                "properties": _object({"desired": _SECTION, "reported": _SECTION}),
                "configurations": _map(_object({"status": {"enum": ["Applied", "Targeted"]}})),
                **_EDGE,
            },
            optional=("moduleId", *_EDGE),
        ),
        "Messages": _object(
            {
                "messages": _list(
                    _object(
                        {
                            "sequence": _COUNT,
                            "enqueuedTime": _TIME,
                            "deviceId": _STRING,
                            "moduleId": _STRING,
                            "systemProperties": _map(_STRING),
                            "properties": _map(_NULLABLE),
                            "encoding": {"enum": ["json", "base64"]},
                            "body": _ANY,
                        },
                        optional=("moduleId",),
                    )
                ),
                "next": _STRING,
                "lost": {**_COUNT, "description": "Messages after the cursor that were dropped for room."},
            }
        ),
        "Configuration": _object(
            {
                "id": _STRING,
                "schemaVersion": _STRING,
                "labels": _map(_STRING),
                "content": _object({"modulesContent": _MODULES_CONTENT}),
                "contentType": _NULLABLE,
                "targetCondition": _STRING,
                "createdTimeUtc": _TIME,
                "lastUpdatedTimeUtc": _TIME,
                "priority": _COUNT,
                "systemMetrics": _object({"results": _map(_COUNT), "queries": _map(_STRING)}),
                "metrics": _object({"results": _map(_COUNT), "queries": _map(_STRING)}),
                "etag": _STRING,
            }
        ),
        "BulkResult": _object(
            {
                "isSuccessful": {"type": "boolean"},
                "errors": _list(
                    _object(
                        {
                            "deviceId": _STRING,
                            "moduleId": _STRING,
                            "errorCode": {"type": "integer"},
                            "errorStatus": _STRING,
                        },
                        optional=("moduleId",),
                    )
                ),
                "warnings": _list(
                    _object(
                        {
                            "deviceId": _STRING,
                            "warningCode": {"const": "DeviceRegisteredWithoutTwin"},
                            "warningStatus": _STRING,
                        }
                    )
                ),
            }
        ),
        "BulkResultOrError": {"anyOf": [_schema("BulkResult"), _schema("Error")]},
        "KeysResult": _object(
            {
                "policyKey": _POLICY_KEY,
                "rotatedKeys": _list(
                    _object(
                        {
                            "id": _STRING,
                            "moduleId": _NULLABLE,
                            "primaryKey": _STRING,
                            "secondaryKey": _STRING,
                        }
                    )
                ),
                "errors": _list(
                    _object(
                        {
                            "id": _STRING,
                            "moduleId": _NULLABLE,
                            "errorCode": {"type": "integer"},
                            "errorStatus": _STRING,
                        }
                    )
                ),
            }
        ),
        "MethodResult": _object({"status": {"type": "integer"}, "payload": _ANY}),
        "QueryErrors": _object({"targetConditionError": _NULLABLE, "customMetricQueryErrors": _map(_STRING)}),
        "RegistryStatistics": _object(
            {"totalDeviceCount": _COUNT, "enabledDeviceCount": _COUNT, "disabledDeviceCount": _COUNT}
        ),
        "ServiceStatistics": _object({"connectedDeviceCount": _COUNT}),
        "PurgeResult": _object({"totalMessagesPurged": _COUNT, "deviceId": _STRING, "moduleId": _NULLABLE}),
        "Row": _OBJECT,
        "Health": _object({"status": _STRING, "live": _BOOLEAN, "ready": _BOOLEAN}),
        "Description": _OBJECT,
        "Error": _object({"Message": _STRING, "ExceptionMessage": _STRING}),
        # what the hub takes
        "DeviceWrite": _taken({"deviceId": _STRING, **_TAKEN_DEVICE}),
        "ModuleWrite": _taken(
            {
                "deviceId": _STRING,
                "moduleId": _STRING,
                "managedBy": _STRING,
                "authentication": _TAKEN_AUTHENTICATION,
            }
        ),
        "TwinWrite": _taken({"tags": _OBJECT, "properties": _taken({"desired": _OBJECT})}),
        "ConfigurationWrite": _taken(
            {
                "id": _STRING,
                "schemaVersion": _STRING,
                "labels": _map(_STRING),
                "content": _taken({"modulesContent": _MODULES_CONTENT}),
                "targetCondition": _STRING,
                "priority": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                "metrics": _taken({"queries": _map(_STRING)}),
            }
        ),
        "BulkEntry": _taken(
            {
                "id": _STRING,
                "moduleId": _STRING,
                "importMode": _STRING,
                "eTag": _STRING,
                "twinETag": _STRING,
                "managedBy": _STRING,
                "tags": _OBJECT,
                "properties": _taken({"desired": _OBJECT}),
                **_TAKEN_DEVICE,
            },
            required=("id",),
        ),
        "KeysRequest": _taken(
            {
                "policyKey": _POLICY_KEY,
                "devices": _list(_taken({"id": _STRING, "moduleId": _STRING}, required=("id",))),
            },
            required=("policyKey", "devices"),
        ),
        "MethodRequest": _taken(
            {
                "methodName": {"type": "string", "minLength": 1, "maxLength": METHOD_NAME},
                "payload": _ANY,
                "responseTimeoutInSeconds": {"type": "integer", "minimum": 5, "maximum": 300},
                "connectTimeoutInSeconds": {"type": "integer", "minimum": 0, "maximum": 300},
            },
            required=("methodName",),
        ),
        "Query": _taken({"query": _STRING}, required=("query",)),
        "QueriesToTest": _taken({"targetCondition": _STRING, "customMetricQueries": _map(_STRING)}),
        "Content": _taken({"modulesContent": _MODULES_CONTENT}, required=("modulesContent",)),
    }
)
"""Documents by the name that an Operation gives."""
