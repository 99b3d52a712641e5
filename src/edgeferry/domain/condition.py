"""Target conditions: which devices, as IoT Hub's expressions over twins.

Only what is `true` of a device selects it. Comparing a tag that the device has not is undefined (see
`value`), so `tags.env != 'prod'` does not select a device without that tag; `NOT tags.env = 'prod'` neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from edgeferry.domain.expression import All, Compared, Expression, Literal, Path, bind, read_document
from edgeferry.domain.grammar import parse_filter, refuse


@dataclass(frozen=True)
class Condition:
    """A parsed target condition, or the WHERE of a query."""

    text: str
    expression: Expression

    @cached_property
    def of_document(self) -> Callable[[Mapping[str, Any]], Any]:
        """The condition's value as a function of the twin document."""
        return bind(self.expression, read_document)


@lru_cache(maxsize=1024)
def parse_condition(text: str) -> Condition:
    """The condition on devices; `*` selects every device, an empty text none. ConditionError with the column,
    for a condition on modules too."""
    if text.strip() in ("", "*"):
        return Condition(text, Literal(text.strip() == "*"))
    parsed = parse_filter(text)
    if parsed.collection is not None:
        _refuse_collection(parsed.collection, len(text) - len(text.lstrip()) + 1)
    return Condition(text, parsed.expression)


def join_conditions(*texts: str) -> str:
    """The condition that is true where all of these are; ConditionError for one that is none by itself, such
    as `a) OR (b`, which would reach beyond the others."""
    words = [parse_condition(text).text.strip() for text in texts]
    if "" in words:
        return ""
    return " AND ".join(f"({text})" for text in words if text != "*") or "*"


def _refuse_collection(collection: str, column: int) -> None:
    if collection == "devices.modules":
        problem = "this condition is for modules, and here devices are targeted"
        refuse(problem, "write the condition on the devices' tags that have the module", column)
    refuse("a target condition has no FROM", "write only what follows WHERE", column)


def matches(condition: Condition, document: Mapping[str, Any]) -> bool:
    """Whether the twin document is selected: only when the condition is `true` of it."""
    return condition.of_document(document) is True


def wanted_tags(condition: Condition) -> dict[str, str | float | bool] | None:
    """The tags that a device needs to be selected, by dotted name, e.g. {"models.nyc_taxi": True}; None for a
    condition that says more than which tags have which values."""
    expression = condition.expression
    wanted: dict[str, str | float | bool] = {}
    for part in expression.parts if isinstance(expression, All) else (expression,):
        match part:
            case Compared(Path(("tags", *names)), "=", Literal(str() | int() | float() as value)) if names:
                wanted[".".join(names)] = value
            case _:
                return None
    return wanted
