"""Canonical JSON: one byte form per value, so that it can be hashed and signed.

Keys sorted, no spaces, UTF-8, no NaN: the subset of RFC 8785 for values whose numbers are Python's
(floats in `repr` form).
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


def render_canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value; ValueError for NaN and infinities."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def refuse_constant(text: str) -> NoReturn:
    """For `json.loads(parse_constant=…)`: NaN and Infinity, which Python reads, are no JSON; ValueError."""
    raise ValueError(f"{text} is not a JSON number")
