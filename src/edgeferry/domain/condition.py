"""Which devices: IoT Hub's expressions over twins, as target conditions and as queries.

Follows Microsoft's "IoT Hub query language" for device and module twins. Logic is three-valued: a missing
path is undefined; comparing it, or values of different types, is undefined; only `true` selects. So
`tags.env != 'prod'` does not select a device without that tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, NoReturn

from lark import Lark, Token, UnexpectedInput

from edgeferry.errors import ConditionError

Json = dict[str, Any]

MAX_LENGTH = 8192
_MAX_DEPTH = 60

_GRAMMAR = r"""
condition: disjunction
query: SELECT columns FROM collection [WHERE disjunction] [GROUP BY path ("," path)*]

?columns: STAR -> everything
    | column ("," column)* -> columns
column: path [AS NAME]
    | aggregate [AS NAME]
aggregate: NAME "(" [path] ")"
collection: NAME ("." NAME)?

?disjunction: conjunction
    | conjunction (OR conjunction)+ -> some
?conjunction: negation
    | negation (AND negation | not_operand)+ -> all
not_operand: NOT negation -> negated
?negation: NOT negation -> negated
    | comparison
?comparison: operand
    | operand COMPARATOR operand -> compared
    | operand IN constants -> among
    | operand (NIN | NOT_IN) constants -> not_among
?operand: path
    | constant
    | constants
    | call
    | "(" disjunction ")"
call: NAME "(" [disjunction ("," disjunction)*] ")"
constants: "[" [constant ("," constant)*] "]"
constant: STRING -> string
    | NUMBER -> number
    | TRUE -> true
    | FALSE -> false
    | NULL -> null
    | UNDEFINED -> undefined
path: segment ("." segment)*
segment: NAME | QUOTED

SELECT.2: /select\b/i
FROM.2: /from\b/i
WHERE.2: /where\b/i
GROUP.2: /group\b/i
BY.2: /by\b/i
AS.2: /as\b/i
OR.2: /or\b/i
AND.2: /and\b/i
NOT_IN.3: /not\s+in\b/i
NOT.2: /not\b/i
IN.2: /in\b/i
NIN.2: /nin\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
NULL.2: /null\b/i
UNDEFINED.2: /undefined\b/i
STAR: "*"
COMPARATOR: "<=" | ">=" | "<>" | "!=" | "=" | "<" | ">"
STRING: /'(?:[^'\\]|''|\\.)*'/s | /"(?:[^"\\]|\\.)*"/s
NUMBER: /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/
NAME: /[A-Za-z_$][A-Za-z0-9_$]*/
QUOTED: /\[\[.+?\]\]/s
COMMENT: /\/\*.*?\*\//s
%ignore /\s+/
%ignore COMMENT
"""

# Members of a twin document that resolve in any letter case and are returned in this one.
_MEMBERS = (
    *("deviceId", "moduleId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime"),
    *("connectionState", "lastActivityTime", "cloudToDeviceMessageCount", "authenticationType"),
    *("x509Thumbprint", "modelId", "version", "tags", "properties", "capabilities", "deviceScope"),
    *("parentScopes", "configurations"),
)


class Undefined(Enum):
    """The value of a path that is not there, and of every comparison with it."""

    UNDEFINED = "undefined"


_UNDEFINED = Undefined.UNDEFINED


@dataclass(frozen=True)
class Path:
    """Members to follow from the top of a twin document."""

    segments: tuple[str, ...]


@dataclass(frozen=True)
class Literal:
    """A constant."""

    value: Any


@dataclass(frozen=True)
class Not:
    operand: Expression


@dataclass(frozen=True)
class All:
    """AND over its parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Some:
    """OR over its parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Compared:
    left: Expression
    comparator: str
    right: Expression


@dataclass(frozen=True)
class Among:
    """IN, or NIN when `negated`."""

    operand: Expression
    values: tuple[Any, ...]
    negated: bool


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]


Expression = Path | Literal | Not | All | Some | Compared | Among | Call


@dataclass(frozen=True)
class Condition:
    """A parsed target condition, or the WHERE of a query."""

    text: str
    expression: Expression


@dataclass(frozen=True)
class Column:
    """One column of a query's answer."""

    path: Path
    name: str


@dataclass(frozen=True)
class Query:
    """A parsed query; no columns means the whole twin."""

    columns: tuple[Column, ...]
    collection: str
    """`devices` or `devices.modules`."""
    condition: Condition


def parse_condition(text: str) -> Condition:
    """The condition; `*` selects every device, an empty text none. ConditionError with the column."""
    if text.strip() in ("", "*"):
        return Condition(text, Literal(text.strip() == "*"))
    expression: Expression = _parse(text, "condition")
    return Condition(text, expression)


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


def parse_query(text: str) -> Query:
    """The query `SELECT … FROM devices|devices.modules [WHERE …]`; ConditionError with the column."""
    query: Query = _parse(text, "query")
    return query


def matches(condition: Condition, document: Mapping[str, Any]) -> bool:
    """Whether the twin document is selected: only when the condition is `true` of it."""
    return _value(condition.expression, document) is True


def project(query: Query, document: Mapping[str, Any]) -> Json:
    """The query's row for a document it selects: the whole twin, or its columns that are defined."""
    if not query.columns:
        return dict(document)
    values = ((column.name, _value(column.path, document)) for column in query.columns)
    return {name: value for name, value in values if value is not _UNDEFINED}


# --- values


def _value(expression: Expression, document: Mapping[str, Any]) -> Any:
    match expression:
        case Literal(value):
            return value
        case Path(segments):
            return _follow(document, segments)
        case Not(operand):
            value = _value(operand, document)
            return not value if isinstance(value, bool) else _UNDEFINED
        case All(parts):
            return _join(parts, document, decisive=False)
        case Some(parts):
            return _join(parts, document, decisive=True)
        case Compared(left, comparator, right):
            return _compare(_value(left, document), comparator, _value(right, document))
        case Among(operand, values, negated):
            value = _value(operand, document)
            if not _is_primitive(value):
                return _UNDEFINED
            return any(_compare(value, "=", one) is True for one in values) is not negated
        case Call(function, arguments):
            return _call(function, [_value(argument, document) for argument in arguments])


def _follow(document: Mapping[str, Any], segments: tuple[str, ...]) -> Any:
    value: Any = document
    for index, segment in enumerate(segments):
        if not isinstance(value, Mapping):
            return _UNDEFINED
        name = _canonical(segment) if index == 0 else segment
        if name not in value:
            return _UNDEFINED
        value = value[name]
    return value


def _canonical(name: str) -> str:
    lower = name.lower()
    return next((member for member in _MEMBERS if member.lower() == lower), name)


def _join(parts: Iterable[Expression], document: Mapping[str, Any], decisive: bool) -> Any:
    result: Any = not decisive
    for part in parts:
        value = _value(part, document)
        if value is decisive:
            return decisive
        if not isinstance(value, bool):
            result = _UNDEFINED
    return result


def _is_primitive(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _compare(left: Any, comparator: str, right: Any) -> Any:
    if not _is_primitive(left) or not _is_primitive(right) or _kind(left) != _kind(right):
        return _UNDEFINED
    match comparator:
        case "=":
            return left == right
        case "!=" | "<>":
            return left != right
    if left is None:
        return _UNDEFINED
    match comparator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
    return left >= right


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _call(function: str, values: list[Any]) -> Any:
    if function == "is_defined":
        return values[0] is not _UNDEFINED
    if not isinstance(values[0], list) or not _is_primitive(values[1]):
        return _UNDEFINED
    return any(_compare(one, "=", values[1]) is True for one in values[0])


_ARGUMENTS = {"is_defined": 1, "array_contains": 2}


# --- texts


def _parse(text: str, start: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise ConditionError(
            f"the {start} is {len(text)} characters long, at most {MAX_LENGTH} are allowed",
            fix="shorten it",
            column=MAX_LENGTH + 1,
        )
    try:
        built = _build(_lark().parse(text, start=start), text)
        _check_depth(built.condition.expression if isinstance(built, Query) else built)
        return built
    except UnexpectedInput as error:
        position = error.pos_in_stream
        at_end = position is None or position >= len(text) or getattr(error, "token", None) == ""
        column = len(text) + 1 if at_end else int(position or 0) + 1
        found = "the end" if at_end else repr(text[column - 1 :][:12])
        raise ConditionError(
            f"cannot read the {start} at column {column}: {found} does not fit there",
            fix="write it like tags.environment = 'test' AND NOT tags.line IN ['a', 'b']",
            column=column,
        ) from None
    except RecursionError:
        _refuse("the condition is nested too deeply", "use fewer parentheses", 1)


@cache
def _lark() -> Lark:
    return Lark(
        _GRAMMAR, start=["condition", "query"], parser="lalr", lexer="contextual", propagate_positions=True
    )


def _refuse(problem: str, fix: str, column: int) -> NoReturn:
    raise ConditionError(f"{problem} (column {column})", fix=fix, column=column)


def _check_depth(expression: Expression) -> None:
    level, depth = [expression], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            _refuse(
                f"the condition is nested more than {_MAX_DEPTH} deep", "use fewer parentheses and NOTs", 1
            )
        level = [part for node in level for part in _parts(node)]


def _parts(node: Expression) -> tuple[Expression, ...]:
    match node:
        case Not(operand) | Among(operand=operand):
            return (operand,)
        case All(parts) | Some(parts) | Call(arguments=parts):
            return parts
        case Compared(left, _, right):
            return (left, right)
    return ()


def _build(tree: Any, text: str) -> Any:
    """What one node of the parse tree means: an expression, a query or a part of either."""
    if isinstance(tree, Token):
        return tree
    children = [_build(child, text) for child in tree.children if child is not None]
    column = 1 if tree.meta.empty else tree.meta.start_pos + 1
    match tree.data:
        case "condition":
            return children[0]
        case "query":
            return _build_query(children, text)
        case "everything":
            return ()
        case "columns":
            return tuple(child for child in children if isinstance(child, Column))
        case "column":
            path, *alias = children
            name = path.segments[-1] if len(path.segments) > 1 else _canonical(path.segments[0])
            return Column(path, str(alias[-1]) if alias else name)
        case "aggregate":
            _refuse(
                f"{str(children[0]).upper()}() is not supported: queries here have no aggregates",
                "select the devices and count them yourself",
                column,
            )
        case "collection":
            name = ".".join(children).lower()
            if name not in ("devices", "devices.modules"):
                _refuse(f"there is no collection {name!r}", "use FROM devices or devices.modules", column)
            return name
        case "some":
            return Some(_operands(children))
        case "all":
            return All(_operands(children))
        case "negated":
            return Not(children[-1])
        case "compared":
            return Compared(children[0], str(children[1]), children[2])
        case "among" | "not_among":
            return Among(children[0], tuple(children[-1].value), negated=tree.data == "not_among")
        case "call":
            return _build_call(str(children[0]).lower(), tuple(children[1:]), column)
        case "constants":
            return Literal([child.value for child in children])
        case "string":
            return Literal(_unquote(str(children[0]), column))
        case "number":
            digits = str(children[0])
            return Literal(
                int(digits) if digits.lstrip("-").isdigit() and len(digits) < 20 else float(digits)
            )
        case "path":
            return Path(tuple(children))
        case "segment":
            return str(children[0])[2:-2] if children[0].type == "QUOTED" else str(children[0])
    return Literal({"true": True, "false": False, "undefined": _UNDEFINED}.get(tree.data))


def _build_query(children: list[Any], text: str) -> Query:
    tokens = {child.type: child for child in children if isinstance(child, Token)}
    if "GROUP" in tokens:
        column = (tokens["GROUP"].start_pos or 0) + 1
        _refuse("GROUP BY is not supported", "select the devices and count them yourself", column)
    columns, collection = children[1], children[3]
    if isinstance(columns, Column):
        columns = (columns,)
    where = children[5] if "WHERE" in tokens else Literal(True)
    return Query(columns, collection, Condition(text, where))


def _build_call(function: str, arguments: tuple[Expression, ...], column: int) -> Expression:
    if function not in _ARGUMENTS:
        _refuse(f"there is no function {function!r}", f"use {' or '.join(_ARGUMENTS)}", column)
    if len(arguments) != _ARGUMENTS[function]:
        _refuse(f"{function} takes {_ARGUMENTS[function]} argument(s)", "write is_defined(path)", column)
    if function == "is_defined" and not isinstance(arguments[0], Path):
        _refuse("is_defined takes a path", "write is_defined(tags.environment)", column)
    return Call(function, arguments)


def _operands(children: list[Any]) -> tuple[Expression, ...]:
    return tuple(child for child in children if not isinstance(child, Token))


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def _unquote(text: str, column: int) -> str:
    quote, inner = text[0], text[1:-1]
    letters: list[str] = []
    index = 0
    while index < len(inner):
        letter = inner[index]
        if letter == quote:  # only a doubled single quote gets past the grammar
            index += 1
        elif letter == "\\":
            index += 1
            letter = inner[index]
            if letter == "u":
                digits = inner[index + 1 : index + 5]
                if len(digits) != 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                    _refuse("\\u must be followed by four hexadecimal digits", "write \\u00e9", column)
                letter = chr(int(digits, 16))
                index += 4
            else:
                letter = _ESCAPES.get(letter, letter)
        letters.append(letter)
        index += 1
    return "".join(letters)
