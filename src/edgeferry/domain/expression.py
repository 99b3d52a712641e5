"""Expressions over twins: what IoT Hub's conditions and queries are made of, and their values.

Where a path's value comes from is the caller's: a document, or columns of values that many documents share.
`bind` turns an expression into one function for that place, made once and called per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from edgeferry.domain.function import FUNCTIONS
from edgeferry.domain.value import COMPARATORS, PRIMITIVE, UNDEFINED, calculate, compare, kind_of, negate

_EXACT_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
}


class _Node:
    @cached_property
    def by_lookup(self) -> Callable[[Lookup], Any]:
        """The expression as a function of the lookup that knows its paths."""
        node: Any = self
        return bind(node, lambda path: lambda lookup: lookup(path))


def _column() -> Any:
    return field(default=1, compare=False, repr=False)


@dataclass(frozen=True)
class Path(_Node):
    """Members to follow from the top of a twin document, the first in the letter case that documents have."""

    segments: tuple[str, ...]
    column: int = _column()
    """Where it stands in its text, from 1; the same for `column` below."""


@dataclass(frozen=True)
class Literal(_Node):
    """A constant."""

    value: Any
    quote: str = field(default="", compare=False, repr=False)
    """What encloses a text: `'` or `"`."""
    column: int = _column()


@dataclass(frozen=True)
class Not(_Node):
    """The inverse; of what is neither true nor false, that again."""

    operand: Expression


@dataclass(frozen=True)
class All(_Node):
    """AND over its parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Some(_Node):
    """OR over its parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Compared(_Node):
    """Two values beside each other."""

    left: Expression
    comparator: str
    right: Expression


@dataclass(frozen=True)
class Among(_Node):
    """IN, or NIN when `negated`: what `=` with each value, joined by OR, gives."""

    operand: Expression
    values: tuple[Literal, ...]
    negated: bool


@dataclass(frozen=True)
class Calculated(_Node):
    """Arithmetic from left to right: each sign of `+ - * / %` with the operand after it."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Call(_Node):
    """A function of values."""

    function: str
    """A key of FUNCTIONS."""
    arguments: tuple[Expression, ...]
    column: int = _column()


Expression = Path | Literal | Not | All | Some | Compared | Among | Calculated | Call

Lookup = Callable[[Path], Any]
"""The value at a path, UNDEFINED where there is none."""
Read = Callable[[Path], Callable[[Any], Any]]
"""For a path, the function that gives its value for a row, UNDEFINED where there is none."""


def evaluate(expression: Expression, lookup: Lookup) -> Any:
    """The value of the expression where paths have the values that `lookup` gives."""
    return expression.by_lookup(lookup)


def find_paths(expression: Expression) -> frozenset[Path]:
    """The paths whose values the expression can depend on."""
    return frozenset(node for node in walk(expression) if isinstance(node, Path))


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all within it, in the order of the text."""
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(parts_of(node)))


def parts_of(node: Expression) -> tuple[Expression, ...]:
    """What an expression is made of; () for paths and constants."""
    match node:
        case Not(operand):
            return (operand,)
        case All(parts) | Some(parts) | Call(arguments=parts):
            return parts
        case Compared(left, _, right):
            return (left, right)
        case Among(operand, values):
            return (operand, *values)
        case Calculated(first, rest):
            return (first, *(operand for _, operand in rest))
    return ()


def follow(document: Mapping[str, Any], path: Path) -> Any:
    """The value at the path in the document; UNDEFINED where there is none."""
    return read_document(path)(document)


def read_document(path: Path) -> Callable[[Mapping[str, Any]], Any]:
    """The function that gives the path's value in a document."""
    segments = path.segments

    def read(document: Mapping[str, Any]) -> Any:
        value: Any = document
        for segment in segments:
            if type(value) is not dict and not isinstance(value, Mapping):
                return UNDEFINED
            value = value.get(segment, UNDEFINED)
        return value

    return read


def bind(expression: Expression, read: Read) -> Callable[[Any], Any]:
    """The expression as a function of a row whose paths `read` reads."""
    match expression:
        case Literal(value):
            return lambda _: value
        case Path():
            return read(expression)
        case Not(operand):
            inner = bind(operand, read)
            return lambda row: negate(inner(row))
        case All(parts):
            return _bind_join(tuple(bind(part, read) for part in parts), decisive=False)
        case Some(parts):
            return _bind_join(tuple(bind(part, read) for part in parts), decisive=True)
        case Compared(left, comparator, right):
            return _bind_compared(bind(left, read), comparator, right, read)
        case Among(operand, values, negated):
            return _bind_among(bind(operand, read), values, negated)
        case Calculated(first, rest):
            steps = tuple((sign, bind(operand, read)) for sign, operand in rest)
            return _bind_calculated(bind(first, read), steps)
        case Call(function, arguments):
            run = FUNCTIONS[function].run
            inputs = tuple(bind(argument, read) for argument in arguments)
            return lambda row: run(*[value(row) for value in inputs])


def _bind_join(parts: tuple[Callable[[Any], Any], ...], *, decisive: bool) -> Callable[[Any], Any]:
    otherwise = not decisive

    def join(row: Any) -> Any:
        result: Any = otherwise
        for part in parts:
            value = part(row)
            if value is decisive:
                return decisive
            if value is not otherwise:
                result = UNDEFINED
        return result

    return join


def _bind_compared(
    left: Callable[[Any], Any], comparator: str, right: Expression, read: Read
) -> Callable[[Any], Any]:
    types = _EXACT_TYPES.get(kind_of(right.value)) if isinstance(right, Literal) else None
    if isinstance(right, Literal) and types:
        constant, holds = right.value, COMPARATORS[comparator]

        def compare_constant(row: Any) -> Any:
            value = left(row)
            if type(value) in types:
                return holds(value, constant)
            return UNDEFINED if value is UNDEFINED else compare(value, comparator, constant)

        return compare_constant
    other = bind(right, read)
    return lambda row: compare(left(row), comparator, other(row))


def _bind_among(
    operand: Callable[[Any], Any], constants: tuple[Literal, ...], negated: bool
) -> Callable[[Any], Any]:
    """A constant of another kind than the value makes undefined what no other constant makes true."""
    by_kind: dict[str, set[Any]] = {}
    for constant in constants:
        by_kind.setdefault(kind_of(constant.value), set()).add(constant.value)
    otherwise = {kind: len(by_kind) == (kind in by_kind) for kind in PRIMITIVE}

    def among(row: Any) -> Any:
        value = operand(row)
        kind = kind_of(value)
        if kind not in otherwise:
            return UNDEFINED
        if value in by_kind.get(kind, ()):
            return not negated
        return negated if otherwise[kind] else UNDEFINED

    return among


def _bind_calculated(
    first: Callable[[Any], Any], rest: tuple[tuple[str, Callable[[Any], Any]], ...]
) -> Callable[[Any], Any]:
    def run(row: Any) -> Any:
        value = first(row)
        for sign, operand in rest:
            value = calculate(value, sign, operand(row))
        return value

    return run
