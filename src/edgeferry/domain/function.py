"""The functions that conditions and queries may call.

`is_defined` and `array_contains` work in Azure's twin queries; the others are documented for message routes
only ("IoT Hub message routing query syntax", Microsoft) and ours beyond Azure there. A value of another kind
than a function takes makes it UNDEFINED; the `is_…` functions are false of what is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.value import PRIMITIVE, UNDEFINED, Kind, as_number, compare, kind_of

TEXT: frozenset[Kind] = frozenset(("string",))
NUMBER: frozenset[Kind] = frozenset(("number",))


@dataclass(frozen=True)
class Function:
    """How one function is called, and what of it Azure's twin queries know."""

    least: int
    most: int
    """How many arguments it takes."""
    run: Callable[..., Any]
    is_portable: bool = False
    instead: str = "tag the devices with what is meant, and compare that tag"
    """What to write for Azure."""


def _taking(kinds: frozenset[Kind], run: Callable[..., Any], *later: frozenset[Kind]) -> Callable[..., Any]:
    """`run`, UNDEFINED when an argument is of another kind: `kinds` for the first, `later` for the rest."""
    wanted = (kinds, *later)

    def run_checked(*values: Any) -> Any:
        for index, value in enumerate(values):
            if kind_of(value) not in wanted[min(index, len(wanted) - 1)]:
                return UNDEFINED
        return run(*values)

    return run_checked


def _number(run: Callable[..., float]) -> Callable[..., Any]:
    def run_checked(*values: Any) -> Any:
        try:
            return as_number(run(*values))
        except (ArithmeticError, ValueError):
            return UNDEFINED

    return _taking(NUMBER, run_checked)


def _is_kind(kinds: frozenset[Kind]) -> Function:
    return Function(
        1, 1, lambda value: kind_of(value) in kinds, instead="compare it with a value of its kind"
    )


def _array_contains(values: Any, wanted: Any) -> Any:
    if kind_of(values) != "array" or kind_of(wanted) not in PRIMITIVE:
        return UNDEFINED
    return any(compare(value, "=", wanted) is True for value in values)


def _substring(text: str, start: float, length: float | None = None) -> Any:
    if start < 0 or start != int(start) or (length is not None and length != int(length)):
        return UNDEFINED
    return text[int(start) : None if length is None else int(start) + max(0, int(length))]


def _as_number(value: Any) -> Any:
    try:
        return as_number(float(value)) if kind_of(value) in ("string", "number") else UNDEFINED
    except (ArithmeticError, ValueError):
        return UNDEFINED


def _round(number: float) -> float:
    """To the nearest whole number, halves away from zero."""
    return math.copysign(math.floor(abs(number) + 0.5), number)


_ORDERED = "compare with `>=` and `<`: tags.x >= 'ab' AND tags.x < 'ac' is every text that begins with 'ab'"
_EXACT = "compare with each text as it is written: tags.x IN ['a', 'A']"
_STARTS = Function(2, 2, _taking(TEXT, str.startswith), instead=_ORDERED)

FUNCTIONS: Mapping[str, Function] = {
    "is_defined": Function(1, 1, lambda value: value is not UNDEFINED, is_portable=True),
    "array_contains": Function(2, 2, _array_contains, is_portable=True),
    "starts_with": _STARTS,
    "startswith": _STARTS,
    "ends_with": Function(2, 2, _taking(TEXT, str.endswith)),
    "endswith": Function(2, 2, _taking(TEXT, str.endswith)),
    "contains": Function(2, 2, _taking(TEXT, str.__contains__)),
    "lower": Function(1, 1, _taking(TEXT, str.lower), instead=_EXACT),
    "upper": Function(1, 1, _taking(TEXT, str.upper), instead=_EXACT),
    "concat": Function(2, 100, _taking(TEXT, lambda *texts: "".join(texts))),
    "length": Function(1, 1, _taking(TEXT, len)),
    "index_of": Function(2, 2, _taking(TEXT, str.find)),
    "substring": Function(2, 3, _taking(TEXT, _substring, NUMBER)),
    "as_number": Function(1, 1, _as_number, instead="store the tag as a number"),
    "is_null": Function(1, 1, lambda value: value is None, instead="write tags.x = null"),
    "is_bool": _is_kind(frozenset(("boolean",))),
    "is_number": _is_kind(NUMBER),
    "is_string": _is_kind(TEXT),
    "is_object": _is_kind(frozenset(("object",))),
    "is_array": _is_kind(frozenset(("array",))),
    "is_primitive": _is_kind(PRIMITIVE),
    "abs": Function(1, 1, _number(abs)),
    "ceiling": Function(1, 1, _number(math.ceil)),
    "floor": Function(1, 1, _number(math.floor)),
    "round": Function(1, 1, _number(_round)),
    "sign": Function(1, 1, _number(lambda number: (number > 0) - (number < 0))),
    "sqrt": Function(1, 1, _number(math.sqrt)),
    "square": Function(1, 1, _number(lambda number: number * number), instead="write tags.x * tags.x"),
    "exp": Function(1, 1, _number(math.exp)),
    "power": Function(2, 2, _number(math.pow)),
}
"""By name, in small letters."""
