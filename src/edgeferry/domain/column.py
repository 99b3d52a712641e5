"""What a column of a model takes. Types: MLflow's `DataType` (mlflow.types, 3.15). As there, `integer` and
`long` take whole numbers only; unlike there, 2.0 is one, since JSON does not tell it from 2. Pure.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from edgeferry.domain.model import Column

Value = float | str
"""One value of a row: a number (NaN when missing), or a text; bytes are a text in base64."""
NUMBERS = ("double", "float", "long", "integer", "boolean")
TEXT = "string"
BYTES = "binary"
TYPES = (*NUMBERS, TEXT, BYTES)
"""What a row can carry."""
MISSING = math.nan
LARGEST_FLOAT = 3.4028234663852886e38
_WHOLE = {"integer": 2**31, "long": 2**63}
_EXAMPLES = {
    "integer": "a whole number such as 2",
    "long": "a whole number such as 2",
    "boolean": "true or false",
    TEXT: "a text",
    BYTES: "its bytes in base64",
}


def is_text(column: Column) -> bool:
    """Whether its values are texts, or bytes, and no numbers."""
    return column.type in (TEXT, BYTES)


def find_reader(column: Column) -> Callable[[Any], Any]:
    """What makes a row's value of a parsed JSON value: a float, or a text.

    ValueError, with what the value is not, when the column does not take it.
    """
    read = _READERS.get(column.type, _read_double)
    return partial(_read_missing, read) if column.missing and not is_text(column) else read


def takes(column: Column, value: Any) -> bool:
    """Whether a row may have this parsed JSON value in the column."""
    try:
        find_reader(column)(value)
    except ValueError:
        return False
    return True


def wants(column: Column) -> str:
    """What to send for the column, in words: `a whole number such as 2`."""
    wanted = _EXAMPLES.get(column.type, "a number such as 1.5")
    return f"{wanted}, or null" if column.missing else wanted


def parse_value(column: Column, text: str) -> Value:
    """The value in a CSV field; ValueError when the column does not take it."""
    if column.type == TEXT:
        return text
    if column.type == BYTES:
        _read_bytes(text)
        return text
    stripped = text.strip()
    if column.missing and stripped.lower() in ("", "nan"):
        return MISSING
    if column.type == "boolean" and stripped.lower() in ("true", "false"):
        return float(stripped.lower() == "true")
    return float(find_reader(replace(column, missing=False))(float(stripped)))


def with_ranges(columns: Iterable[Column], rows: Sequence[Sequence[Value]]) -> tuple[Column, ...]:
    """The columns, each of numbers with the range that `rows` show; without one where no row has a number."""
    ranged = []
    for place, column in enumerate(columns):
        values = [row[place] for row in rows]
        seen = [value for value in values if isinstance(value, float) and not math.isnan(value)]
        ranged.append(replace(column, low=min(seen), high=max(seen)) if seen else column)
    return tuple(ranged)


def _read_missing(read: Callable[[Any], Any], value: Any) -> Any:
    return MISSING if value is None else read(value)


def _read_double(value: Any) -> float:
    if type(value) is float:
        if math.isfinite(value):
            return value
    elif type(value) is int:
        with suppress(OverflowError):
            return float(value)
    raise ValueError("a finite number")


def _read_float(value: Any) -> float:
    number = _read_double(value)
    if abs(number) > LARGEST_FLOAT:
        raise ValueError("a number of 32 bits")
    return number


def _read_whole(bound: int, value: Any) -> float:
    number = _read_double(value)
    if not number.is_integer():
        raise ValueError("a whole number")
    if not -bound <= value < bound:
        raise ValueError(f"a whole number of {bound.bit_length()} bits")
    return number


def _read_boolean(value: Any) -> float:
    if type(value) is bool or (type(value) in (int, float) and value in (0, 1)):
        return float(value)
    raise ValueError("true or false")


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell
        raise ValueError("a text of Unicode characters") from error
    return value


def _read_bytes(value: Any) -> str:
    if isinstance(value, str):
        with suppress(ValueError):
            base64.b64decode(value, validate=True)
            return value
    raise ValueError("base64")


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": _read_float,
    "boolean": _read_boolean,
    TEXT: _read_text,
    BYTES: _read_bytes,
    **{name: partial(_read_whole, bound) for name, bound in _WHOLE.items()},
}
