"""What a skops file would build, as plain values. Format: its `schema.json` (skops 0.11 to 0.14), a tree.

Objects become `Made`, arrays of texts lists, and arrays of numbers None: they are in files of their own.
"""

from __future__ import annotations

import json
from typing import Any

from edgeferry.wire.pickle_state import Made, Named


def read_schema(body: bytes) -> Any:
    """The value; ValueError when the bytes are no such schema."""
    try:
        return _read(json.loads(body))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is no schema of skops: {error!r}") from error


def _read(node: Any) -> Any:
    match node.get("__loader__"):
        case "JsonNode":
            return json.loads(node["content"])
        case "DictNode":
            return {key: _read(value) for key, value in node["content"].items()}
        case "ListNode" | "TupleNode" | "SetNode":
            return [_read(value) for value in node["content"]]
        case "NdArrayNode":
            return [_read(value) for value in node["content"]] if node.get("type") == "json" else None
        case "ObjectNode":
            content = node.get("content")
            state = _read(content) if isinstance(content, dict) else None
            return Made(Named(node["__module__"], node["__class__"]), (), state)
    return None
