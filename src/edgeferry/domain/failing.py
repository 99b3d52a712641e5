"""Which part of a target condition is not true of a device, and what the device has there instead. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.condition import Condition
from edgeferry.domain.expression import (
    All,
    Among,
    Calculated,
    Call,
    Compared,
    Expression,
    Literal,
    Not,
    Path,
    Some,
    evaluate,
    follow,
    walk,
)
from edgeferry.domain.notation import render_path, render_text
from edgeferry.domain.value import UNDEFINED


@dataclass(frozen=True)
class Part:
    """A part of a target condition that is not true of the device."""

    text: str
    value: Any
    """What it is instead: False, UNDEFINED, or a value that is no truth value."""
    found: Mapping[str, Any]
    """The device's value for each path of it that is there."""
    missing: tuple[str, ...]
    """Its paths that are not there."""


def find_failing_parts(condition: Condition, device: Mapping[str, Any]) -> tuple[Part, ...]:
    """The smallest parts of the condition that keep it from being true of the device; none when it is."""
    return tuple(_failing(condition.expression, device))


def render_expression(expression: Expression) -> str:
    """The expression as a person would write it."""
    match expression:
        case Path(segments):
            return render_path(*segments)
        case Not(operand):
            return f"NOT {_nested(operand)}"
        case All(parts):
            return " AND ".join(map(_nested, parts))
        case Some(parts):
            return " OR ".join(map(_nested, parts))
        case Compared(left, comparator, right):
            return f"{_nested(left)} {comparator} {_nested(right)}"
        case Among(operand, values, negated):
            listed = ", ".join(map(render_expression, values))
            return f"{_nested(operand)} {'NIN' if negated else 'IN'} [{listed}]"
        case Calculated(first, rest):
            return " ".join((_nested(first), *(f"{sign} {_nested(operand)}" for sign, operand in rest)))
        case Call(function, arguments):
            return f"{function}({', '.join(map(render_expression, arguments))})"
        case Literal(value):
            return _render_constant(value)


def _failing(expression: Expression, device: Mapping[str, Any]) -> Iterator[Part]:
    value = evaluate(expression, lambda path: follow(device, path))
    if value is True:
        return
    if isinstance(expression, All | Some):
        for part in expression.parts:
            yield from _failing(part, device)
        return
    paths = dict.fromkeys(node for node in walk(expression) if isinstance(node, Path))
    values = {render_expression(path): follow(device, path) for path in paths}
    yield Part(
        render_expression(expression),
        value,
        {name: one for name, one in values.items() if one is not UNDEFINED},
        tuple(name for name, one in values.items() if one is UNDEFINED),
    )


def _nested(expression: Expression) -> str:
    text = render_expression(expression)
    return text if isinstance(expression, Path | Literal | Call) else f"({text})"


def _render_constant(value: Any) -> str:
    if isinstance(value, str):
        return render_text(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_render_constant, value))}]"
    return "undefined" if value is UNDEFINED else json.dumps(value)
