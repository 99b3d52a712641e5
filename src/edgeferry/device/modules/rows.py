"""Reading rows fast: msgspec takes the bodies that nearly every client sends, and for all others the exact
parser of `wire.serving` says what they mean, or what is wrong with them. Both read the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from edgeferry.domain.column import LARGEST_FLOAT
from edgeferry.domain.model import Column
from edgeferry.wire.serving import parse_score_request

_MOST = 1e308
_NARROW = {"float": LARGEST_FLOAT, "integer": 2.0**31, "long": 2.0**63}
"""Values at or beyond these are left to the exact parser, whichever way it decides."""
_WHOLE = ("integer", "long")


def make_reader(columns: Sequence[Column]) -> Callable[[bytes], list[list[Any]]]:
    """What reads a body as `parse_score_request` does, with the same values and the same UsageErrors."""
    exact = partial(parse_score_request, columns=columns)
    if any(column.type not in (*_NARROW, "double") for column in columns):
        return exact
    number = Annotated[float, msgspec.Meta(gt=-_MOST, lt=_MOST)]
    row = Annotated[list[number], msgspec.Meta(min_length=len(columns), max_length=len(columns))]
    rows = Annotated[list[row], msgspec.Meta(min_length=1)]
    decoder: Any = msgspec.json.Decoder(msgspec.defstruct("Body", [("data", rows)]))
    narrow = [
        (place, _NARROW[column.type], column.type in _WHOLE)
        for place, column in enumerate(columns)
        if column.type in _NARROW
    ]

    def read(body: bytes) -> list[list[Any]]:
        if body.count(b'"') != 2:  # more than "data" alone
            return exact(body)
        try:
            found: list[list[Any]] = decoder.decode(body).data
        except (msgspec.MsgspecError, RecursionError):
            return exact(body)
        for row in found if narrow else ():
            for place, bound, whole in narrow:
                value = row[place]
                if not -bound < value < bound or (whole and not value.is_integer()):
                    return exact(body)
        return found

    return read
