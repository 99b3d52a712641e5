"""What a model server offers, as an OpenAPI 3.1.0 document (spec.openapis.org/oas/v3.1.0; schemas are JSON
Schema 2020-12), made from the model's card. It describes what `wire.serving` reads and writes.
"""

from __future__ import annotations

import json
from typing import Any

from edgeferry.domain.column import BYTES, LARGEST_FLOAT, TEXT, is_text
from edgeferry.domain.model import Column
from edgeferry.wire.serving import BYTES_TYPES, PNG, ModelCard, takes_bytes

Json = dict[str, Any]

_LARGEST = 1.7976931348623157e308
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_TYPES: dict[str, Json] = {
    "double": {"type": "number", "format": "double", "minimum": -_LARGEST, "maximum": _LARGEST},
    "float": {"type": "number", "format": "float", "minimum": -LARGEST_FLOAT, "maximum": LARGEST_FLOAT},
    "long": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "boolean": {"enum": [False, True, 0, 1]},
    TEXT: {"type": "string"},
    BYTES: {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
}
_REFUSALS = {
    "400": "The body is not what the model takes; the message names row and column.",
    "408": "The request did not arrive in time.",
    "413": "The body is larger than the server takes.",
    "415": "The model takes no body of this content type, and none that is packed.",
    "431": "The header is larger than the server takes.",
    "500": "The model failed at this input.",
    "503": "No room for another request, or about to end: ask again after `Retry-After` seconds.",
    "504": "The model did not answer in time.",
}


def render_openapi(card: ModelCard) -> bytes:
    """The document as JSON; the same card gives the same bytes."""
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": card.model,
            "version": card.version,
            "description": f"Answers with `{card.output}`, one a row. Runtime `{card.runtime}`.",
        },
        "paths": {
            "/score": {"post": _score(card)},
            "/health": {
                "get": _get(
                    "health",
                    "Which model answers, from which image, and how it is",
                    {"200": _json_answer("It is ready.", "Health"), "503": _json_answer("It is not.", None)},
                )
            },
            "/cases": {
                "get": _get(
                    "cases",
                    "The smoke cases of this version",
                    {"200": {"description": "cases.json", "content": {"application/json": {"schema": {}}}}},
                )
            },
            "/metrics": {
                "get": _get(
                    "metrics",
                    "Counters and gauges in Prometheus' text format",
                    {
                        "200": {
                            "description": "The metrics.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                )
            },
            "/openapi.json": {
                "get": _get("openapi", "This document", {"200": _json_answer("The document.", None)})
            },
        },
        "components": {"schemas": _schemas(card)},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _score(card: ModelCard) -> Json:
    content: Json = {"application/json": {"schema": _reference("ScoreRequest")}}
    example = _example(card)
    if example is not None:
        content["application/json"]["example"] = example
    if card.image is not None:
        size = f"{card.image.width}×{card.image.height}"
        content[PNG] = {"schema": {"description": f"An 8-bit grayscale PNG of {size} pixels."}}
    if takes_bytes(card):
        for kind in BYTES_TYPES:
            shown = {"description": f"The value of `{card.columns[0].name}`."}
            content[kind if not kind.endswith("/") else f"{kind}*"] = {"schema": shown}
    refusals = {status: _json_answer(why, "Refusal") for status, why in _REFUSALS.items()}
    refusals["503"]["headers"] = {
        "Retry-After": {"description": "In seconds.", "schema": {"type": "integer", "minimum": 0}}
    }
    return {
        "operationId": "score",
        "summary": "The model's answers to rows",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _json_answer("One answer a row, in order.", "Answers"), **refusals},
    }


def _schemas(card: ModelCard) -> Json:
    refusal = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "fix"],
                "properties": {"message": {"type": "string"}, "fix": {"type": "string"}},
            }
        },
    }
    texts = ("model", "version", "digest", "model_sha256")
    health = {
        "type": "object",
        "required": ["ready", *texts],
        "properties": {
            "ready": {"type": "boolean"},
            **{name: {"type": "string"} for name in texts},
            "captures": {"type": "object"},
        },
    }
    return {**_score_schemas(card), "Refusal": refusal, "Health": health}


def _score_schemas(card: ModelCard) -> Json:
    if card.runtime in ("score", "own"):
        script = 'What the model\'s own code reads; by convention {"data": [row, …]}.'
        return {
            "ScoreRequest": {"description": script},
            "Answers": {"description": "What that code returns."},
        }
    columns = [_column(column) for column in card.columns]
    return {
        "ScoreRequest": {
            "type": "object",
            "required": ["data"],
            "properties": {
                "data": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [_reference("Row"), _reference("NamedRow")]},
                }
            },
        },
        "Row": {
            "type": "array",
            "description": f"One value for each of: {', '.join(column.name for column in card.columns)}.",
            "prefixItems": columns,
            "items": False,
            "minItems": len(columns),
            "maxItems": len(columns),
        },
        "NamedRow": {
            "type": "object",
            "required": [column.name for column in card.columns],
            "properties": {column.name: schema for column, schema in zip(card.columns, columns, strict=True)},
            "additionalProperties": False,
        },
        "Answers": {
            "type": "array",
            "description": f"`{card.output}` of each row.",
            "items": {"type": "string" if card.answers == TEXT else "number"},
            "minItems": 1,
        },
    }


def _column(column: Column) -> Json:
    schema = dict(_TYPES.get(column.type, _TYPES["double"]))
    if column.missing and "type" in schema and not is_text(column):
        schema["type"] = [schema["type"], "null"]
    if column.missing and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    schema["title"] = column.name
    if column.low is not None and column.high is not None:
        schema["description"] = f"In the held-out rows from {column.low:.12g} to {column.high:.12g}."
    return schema


def _example(card: ModelCard) -> Json | None:
    """A request within the ranges; None when a column's is unknown."""
    if any(column.low is None for column in card.columns):
        return None
    return {"data": [[column.low for column in card.columns]]}


def _get(name: str, summary: str, responses: Json) -> Json:
    return {"operationId": name, "summary": summary, "responses": responses}


def _json_answer(description: str, schema: str | None) -> Json:
    shown = _reference(schema) if schema else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": shown}}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
