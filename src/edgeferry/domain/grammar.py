"""The grammar of IoT Hub's conditions and queries: texts become expressions and clauses.

Follows Microsoft's "IoT Hub query language": keywords and functions in any letter case, `'…'` and `"…"`
texts, `[[…]]` around a member name of any letters, `/* … */` comments, `A NOT B` for `A AND NOT B`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn
from typing import Literal as OneOf

from lark import Lark, Token, Transformer, UnexpectedInput

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
    parts_of,
    walk,
)
from edgeferry.domain.fields import nearest
from edgeferry.domain.function import FUNCTIONS
from edgeferry.domain.notation import KEYWORD, PLAIN_NAME
from edgeferry.domain.value import UNDEFINED
from edgeferry.errors import ConditionError

MAX_LENGTH = 8192
_MAX_DEPTH = 60

_GRAMMAR = (
    r"""
condition: [_FROM collection _WHERE] disjunction
query: _SELECT [_TOP NUMBER] columns _FROM collection [_WHERE disjunction] [grouping]

columns: STAR | column ("," column)*
column: (path | aggregated) [_AS NAME]
aggregated: NAME "(" [path] ")"
collection: NAME ("." NAME)*
grouping: _GROUP _BY path ("," path)*

?disjunction: conjunction
    | conjunction (_OR conjunction)+ -> some
?conjunction: negation
    | negation (_AND negation | inverse)+ -> all
?negation: inverse
    | comparison
inverse: _NOT negation
?comparison: sum
    | sum COMPARATOR sum -> compared
    | sum _IN constants -> among
    | sum (_NIN | _NOT_IN) constants -> not_among
?sum: product
    | product (SIGN product)+ -> calculated
?product: factor
    | factor (FACTOR factor)+ -> calculated
?factor: operand
    | SIGN factor -> signed
?operand: path
    | constant
    | constants -> array
    | call
    | "(" disjunction ")"
call: NAME "(" [disjunction ("," disjunction)*] ")"
constants: "[" [_constant ("," _constant)*] "]"
_constant: constant
    | signed_number
signed_number: SIGN constant
?constant: STRING -> string
    | NUMBER -> number
    | WORD -> word
path: (NAME | QUOTED) ("." (NAME | QUOTED))*

_SELECT.2: /select(?![\w$])/i
_TOP.2: /top(?![\w$])/i
_FROM.2: /from(?![\w$])/i
_WHERE.2: /where(?![\w$])/i
_GROUP.2: /group(?![\w$])/i
_BY.2: /by(?![\w$])/i
_AS.2: /as(?![\w$])/i
_OR.2: /or(?![\w$])/i
_AND.2: /and(?![\w$])/i
_NOT_IN.3: /not(\s|\/\*([^*]|\*(?!\/))*\*\/)+in(?![\w$])/i
_NOT.2: /not(?![\w$])/i
_IN.2: /in(?![\w$])/i
_NIN.2: /nin(?![\w$])/i
WORD.2: /(true|false|null|undefined)(?![\w$])/i
STAR: "*"
SIGN: /[+-]/
FACTOR: /[*%]|\/(?!\*)/
COMPARATOR: "<=" | ">=" | "<>" | "!=" | "=" | "<" | ">"
STRING: /'(?:[^'\\]|''|\\.)*'(?!')/s | /"(?:[^"\\]|\\.)*"/s
NUMBER: /0x[0-9a-f]+(?![\w$.])/i | /\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w$.])/i
QUOTED: /\[\[.+?\]\]/s
COMMENT: /\/\*.*?\*\//s
%ignore /\s+/
%ignore COMMENT
"""
    + f"NAME: /{PLAIN_NAME}/\n"
)


# Members of a twin document that resolve in any letter case and are returned in this one.
MEMBERS = {
    name.lower(): name
    for name in (
        *("deviceId", "moduleId", "etag", "deviceEtag", "status", "statusReason", "statusUpdateTime"),
        *("connectionState", "lastActivityTime", "cloudToDeviceMessageCount", "authenticationType"),
        *("x509Thumbprint", "modelId", "version", "tags", "properties", "capabilities", "deviceScope"),
        *("parentScopes", "configurations"),
    )
}
"""The members of a twin document as they are spelled, by their names in lower case."""
_WORDS = {"true": True, "false": False, "null": None, "undefined": UNDEFINED}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\(u)|\\(.)|''", re.DOTALL)


@dataclass(frozen=True)
class Aggregated:
    """A function over the rows of a group, as written."""

    function: str
    path: Path | None
    column: int


@dataclass(frozen=True)
class Item:
    """One column of a query, as written."""

    value: Path | Aggregated
    alias: str | None


@dataclass(frozen=True)
class Clauses:
    """A query as written; no items for `*`."""

    top: Literal | None
    items: tuple[Item, ...]
    collection: str
    collection_column: int
    where: Expression | None
    group_by: tuple[Path, ...]


@dataclass(frozen=True)
class Filter:
    """A condition as written; `collection` is None where it names none."""

    collection: str | None
    expression: Expression


def parse_filter(text: str) -> Filter:
    """The condition, of at most MAX_LENGTH characters; ConditionError with the column."""
    parsed: Filter = _parse(text, "condition")
    _check_depth(parsed.expression)
    return parsed


def parse_clauses(text: str) -> Clauses:
    """The query, of at most MAX_LENGTH characters; ConditionError with the column."""
    parsed: Clauses = _parse(text, "query")
    _check_depth(parsed.where or Literal(True))
    return parsed


def refuse(problem: str, fix: str, column: int) -> NoReturn:
    """Raises the ConditionError for what stands at the column."""
    raise ConditionError(f"{problem} (column {column})", fix=fix, column=column)


def _parse(text: str, start: OneOf["condition", "query"]) -> Any:
    if len(text) > MAX_LENGTH:
        raise ConditionError(
            f"the {start} is {len(text)} characters long, at most {MAX_LENGTH} are allowed",
            fix="shorten it",
            column=MAX_LENGTH + 1,
        )
    try:
        return _lark().parse(text, start=start)
    except UnexpectedInput as error:
        position = error.pos_in_stream
        at_end = position is None or getattr(error, "token", None) == ""
        raise _explain(text, start, len(text) if at_end else int(position or 0)) from None


@cache
def _lark() -> Lark:
    return Lark(
        _GRAMMAR, start=["condition", "query"], parser="lalr", lexer="contextual", transformer=_Builder()
    )


def _check_depth(expression: Expression) -> None:
    level, depth = [expression], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            columns = (getattr(node, "column", 0) for one in level for node in walk(one))
            refuse(
                f"the condition is nested more than {_MAX_DEPTH} deep",
                "use fewer functions and NOTs",
                next(filter(None, columns), 1),
            )
        level = [part for node in level for part in parts_of(node)]


# --- what the parts of a text mean


class _Builder(Transformer[Token, Any]):
    """Turns each piece of text into what it means as soon as it has been read."""

    def condition(self, children: list[Any]) -> Filter:
        collection, expression = children
        return Filter(collection and collection[0], expression)

    def query(self, children: list[Any]) -> Clauses:
        top, items, (collection, column), where, group_by = children
        return Clauses(top and _number(top), items, collection, column, where, group_by or ())

    def columns(self, children: list[Any]) -> tuple[Item, ...]:
        return tuple(child for child in children if isinstance(child, Item))

    def column(self, children: list[Any]) -> Item:
        value, alias = children
        return Item(value, alias and str(alias))

    def aggregated(self, children: list[Any]) -> Aggregated:
        name, path = children
        return Aggregated(name.lower(), path, _place(name))

    def collection(self, children: list[Token]) -> tuple[str, int]:
        return ".".join(children).lower(), _place(children[0])

    def grouping(self, children: list[Path]) -> tuple[Path, ...]:
        return tuple(children)

    def some(self, children: list[Expression]) -> Expression:
        return Some(tuple(children))

    def all(self, children: list[Expression]) -> Expression:
        return All(tuple(children))

    def inverse(self, children: list[Expression]) -> Expression:
        return Not(children[0])

    def compared(self, children: list[Any]) -> Expression:
        left, comparator, right = children
        return Compared(left, str(comparator), right)

    def among(self, children: list[Any]) -> Expression:
        return Among(children[0], children[1], negated=False)

    def not_among(self, children: list[Any]) -> Expression:
        return Among(children[0], children[1], negated=True)

    def calculated(self, children: list[Any]) -> Expression:
        first, *rest = children
        return Calculated(first, tuple(zip(map(str, rest[::2]), rest[1::2], strict=True)))

    def signed(self, children: list[Any]) -> Expression:
        sign, operand = children
        if isinstance(operand, Literal) and type(operand.value) in (int, float):
            return Literal(-operand.value if sign == "-" else operand.value, column=_place(sign))
        return Calculated(Literal(0), ((str(sign), operand),))

    def signed_number(self, children: list[Any]) -> Expression:
        signed = self.signed(children)
        if not isinstance(signed, Literal):
            refuse("only a number can have a sign in a list", "write it without", _place(children[0]))
        return signed

    def call(self, children: list[Any]) -> Expression:
        name, *arguments = children
        return _call(name, tuple(argument for argument in arguments if argument is not None))

    def constants(self, children: list[Any]) -> tuple[Literal, ...]:
        return tuple(child for child in children if child is not None)

    def array(self, children: list[Any]) -> Expression:
        return Literal(tuple(constant.value for constant in children[0]))

    def string(self, children: list[Token]) -> Literal:
        text = children[0]
        return Literal(_unquote(text), quote=text[0], column=_place(text))

    def number(self, children: list[Token]) -> Literal:
        return _number(children[0])

    def word(self, children: list[Token]) -> Literal:
        return Literal(_WORDS[children[0].lower()], column=_place(children[0]))

    def path(self, children: list[Token]) -> Path:
        first, *rest = (child[2:-2] if child.type == "QUOTED" else str(child) for child in children)
        return Path((MEMBERS.get(first.lower(), first), *rest), _place(children[0]))


def _place(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _number(token: Token) -> Literal:
    digits = token.lower()
    if digits.startswith("0x"):
        value: float = int(digits, 16)
    else:
        value = int(digits) if digits.isdecimal() and len(digits) < 20 else float(digits)
    if abs(value) > 1.7e308:
        refuse("the number is too large", "write one below 1.7e308", _place(token))
    return Literal(value, column=_place(token))


def _call(name: Token, arguments: tuple[Expression, ...]) -> Call:
    key, column = name.lower(), _place(name)
    function = FUNCTIONS.get(key)
    if function is None:
        refuse(f"there is no function {str(name)!r}", nearest(key, FUNCTIONS), column)
    if not function.least <= len(arguments) <= function.most:
        count = str(function.least) if function.least == function.most else f"{function.least} or more"
        refuse(f"{name} takes {count} argument(s), not {len(arguments)}", "write is_defined(tags.x)", column)
    if key == "is_defined" and not isinstance(arguments[0], Path):
        refuse(f"{name} takes a path", f"write {name}(tags.environment)", column)
    return Call(key, arguments, column)


def _unquote(token: Token) -> str:
    def replace(found: re.Match[str]) -> str:
        code, broken, letter = found.groups()
        if broken:
            place = _place(token) + 1 + found.start()
            refuse("\\u must be followed by four hexadecimal digits", "write \\u00e9", place)
        if found[0] == "''":
            return "'" if token[0] == "'" else "''"
        return chr(int(code, 16)) if code else _ESCAPES.get(letter, letter)

    return _ESCAPED.sub(replace, token[1:-1])


# --- what is wrong with a text that cannot be read

_HINTS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), problem, fix)
    for pattern, problem, fix in (
        (r"'(?!(?:[^'\\]|''|\\.)*'(?!'))", "the text that begins there is not closed", "close it with '"),
        (r'"(?!(?:[^"\\]|\\.)*")', "the text that begins there is not closed", 'close it with "'),
        (r"/\*(?!.*?\*/)", "the comment that begins there is not closed", "close it with */"),
        (r"\[\[(?!.+?\]\])", "the name that begins there is not closed", "write [[name]]"),
        (r"(?<==)=", "{found} does not fit there", "write one = to compare"),
        (r"&&?", "{found} does not fit there", "write AND"),
        (r"\|\|?", "{found} does not fit there", "write OR"),
        (r"!(?!=)", "{found} does not fit there", "write NOT"),
        (r"(?<=\.)\d\w*", "{found} does not fit there", "write it as [[{word}]]"),
        (r"[‘’“”«»`]", "{found} is no quotation mark of the language", "write '"),
        (r"like\b", "there is no LIKE", "compare with >= and <, or use STARTS_WITH or CONTAINS"),
        (r"between\b", "there is no BETWEEN", "compare with >= and <="),
        (r"is\b", "there is no IS", "write = null, or is_defined(tags.x)"),
        (r"exists\b", "there is no EXISTS", "write is_defined(tags.x)"),
        (r"order\b", "there is no ORDER BY", "sort the answer"),
        (r"(limit|offset)\b", "{found} does not fit there", "write SELECT TOP 10 …, and page the answer"),
        (r"(join|having|distinct|value|union)\b", "{found} does not fit there", "leave it out"),
        (
            rf"({KEYWORD})(?![\w$])",
            "{found} does not fit there",
            "write it as [[{word}]] if it is a member's name",
        ),
    )
)
_EXAMPLES = {
    "condition": "write it like tags.environment = 'test' AND NOT tags.line IN ['a', 'b']",
    "query": "write it like SELECT deviceId, tags.line AS line FROM devices WHERE tags.environment = 'test'",
}


def _explain(text: str, start: str, position: int) -> ConditionError:
    column, rest = position + 1, text[position:]
    found = repr(rest[:12]) if rest else "the end"
    problem, fix = "{found} does not fit there", _EXAMPLES[start]
    if start == "condition" and re.match(r"\s*select\b", text, re.IGNORECASE):
        fix = "this is a query: write only what follows WHERE"
    if re.search(r"\bin\s*$", text[:position], re.IGNORECASE):
        fix = "write a list of constants in brackets: IN ['a', 'b']"
    for pattern, says, remedy in _HINTS:
        hit = pattern.match(text, position)
        if hit:
            problem, fix = says, remedy.replace("{word}", hit[0])
            break
    problem = problem.replace("{found}", found)
    return ConditionError(f"cannot read the {start} at column {column}: {problem}", fix=fix, column=column)
