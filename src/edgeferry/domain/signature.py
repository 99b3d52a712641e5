"""What a model answers with, by the signature in its file MLmodel (MLflow 3.15), read as YAML. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.column import NUMBERS, TEXT

_TEXTS = ("str", "object")
"""What MLflow calls an array of texts."""


def find_answers(mlmodel: Mapping[str, Any]) -> str:
    """`string` where each row is answered with a text, else `double`."""
    outputs = _read_outputs(mlmodel)
    return TEXT if len(outputs) == 1 and outputs[0][0] in (TEXT, *_TEXTS) else "double"


def find_other_answers(mlmodel: Mapping[str, Any]) -> str:
    """What the answers are when they are neither one number nor one text a row; "" when they are, or the
    signature does not say."""
    outputs = _read_outputs(mlmodel)
    if len(outputs) > 1:
        return f"this one has {len(outputs)} outputs"
    for kind, shape in outputs:
        if len(shape) > 1 and shape[1:] != [1]:
            return f"this one answers with arrays of shape {shape}"
        known = kind in (*NUMBERS, TEXT, *_TEXTS) or kind.startswith(("float", "int", "uint", "bool"))
        if not known:
            return f"this one answers with {kind}"
    return ""


def _read_outputs(mlmodel: Mapping[str, Any]) -> list[tuple[str, list[int]]]:
    """Type and shape of each output, no shape of a column; none when the signature does not say."""
    try:
        outputs = json.loads(mlmodel["signature"]["outputs"])
        return [
            (str(each["tensor-spec"]["dtype"]), list(each["tensor-spec"]["shape"]))
            if each["type"] == "tensor"
            else (str(each["type"]), [])
            for each in outputs
        ]
    except (KeyError, TypeError, ValueError):
        return []
