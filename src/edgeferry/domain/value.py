"""Values in twins and what operators make of them.

Logic is three-valued: what is not there is UNDEFINED, and so is every comparison with it, between values of
different types, and between lists or objects ("IoT Hub query language", Microsoft: comparisons are supported
between primitive types only).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Final, Literal


class Undefined(Enum):
    """The type of UNDEFINED."""

    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED
"""The value of a path that is not there, and of every comparison with it."""

Kind = Literal["undefined", "null", "boolean", "number", "string", "array", "object"]

_KINDS: Mapping[type, Kind] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    dict: "object",
    list: "array",
    Undefined: "undefined",
}
PRIMITIVE: frozenset[Kind] = frozenset(("null", "boolean", "number", "string"))
"""The kinds that can be compared."""

COMPARATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITY = ("=", "!=", "<>")
_LARGEST_EXACT = 2**53


def kind_of(value: Any) -> Kind:
    """Which of JSON's kinds the value is."""
    kind = _KINDS.get(type(value))
    if kind is None:
        kind = "string" if isinstance(value, str) else "object" if isinstance(value, Mapping) else "array"
    return kind


def compare(left: Any, comparator: str, right: Any) -> bool | Undefined:
    """Whether the comparison holds; strings order by code point, false before true."""
    kind = kind_of(left)
    if kind not in PRIMITIVE or kind != kind_of(right):
        return UNDEFINED
    if kind == "null" and comparator not in _EQUALITY:
        return UNDEFINED
    return COMPARATORS[comparator](left, right)


def negate(value: Any) -> bool | Undefined:
    """NOT of the value."""
    return not value if value is True or value is False else UNDEFINED


def calculate(left: Any, sign: str, right: Any) -> float | Undefined:
    """The number that `+ - * / %` gives, as precise as a double is; `%` has the sign of `left`. UNDEFINED for
    what is not a number, for a division by zero and where the result is too large."""
    if kind_of(left) != "number" or kind_of(right) != "number":
        return UNDEFINED
    try:
        return as_number(_ARITHMETIC[sign](left, right))
    except (ArithmeticError, ValueError):
        return UNDEFINED


def as_number(value: float) -> float | Undefined:
    """The number, whole where it is; UNDEFINED when it is infinite or none."""
    if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return UNDEFINED
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT
    return int(value) if whole else value


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
}
