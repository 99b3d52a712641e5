"""The documents that a hub sends and takes, as JSON Schemas of an OpenAPI document, and examples of them.

What the hub sends is described strictly, so that a member more or less is found; what it takes is described
by type only, as Azure takes more than it reads. They follow the IoT Hub service REST API 2021-04-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgeferry.wire.hub import METHOD_NAME

Json = dict[str, Any]


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
    return {"$ref": f"#/components/schemas/{name}"}


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

_AGENT: Json = {
    "schemaVersion": "1.1",
    "modules": {"camera": {"type": "docker", "settings": {"image": "camera:1"}}},
}
EXAMPLES: Mapping[str, Any] = MappingProxyType(
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
"""Bodies, by the name of their schema, `[]` at its end for a list of it."""
