"""The parameters of a hub's service REST, in paths, queries and headers, as an OpenAPI document describes
them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgeferry.wire.hub import CONFIGURATION_ID, DEVICE_ID

Json = dict[str, Any]

API_VERSION = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$"
"""The form of every api-version."""
_STRING: Json = {"type": "string"}

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
