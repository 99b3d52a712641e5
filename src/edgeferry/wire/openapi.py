"""What a hub's service REST offers, described as an OpenAPI 3.1 document.

Its parameters stand in `openapi_parameters.py`, the documents that go to and fro in `openapi_schemas.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeferry.wire.hub import ERROR_CODES
from edgeferry.wire.openapi_parameters import PARAMETERS
from edgeferry.wire.openapi_schemas import EXAMPLES, SCHEMAS

Json = dict[str, Any]

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
        if operation.body in EXAMPLES:
            content["application/json"]["example"] = EXAMPLES[operation.body]
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


def _reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _content(schema: str) -> Json:
    document = _reference("schemas", schema.removesuffix("[]"))
    if schema.endswith("[]"):
        document = {"type": "array", "items": document}
    return {"application/json": {"schema": document}}
