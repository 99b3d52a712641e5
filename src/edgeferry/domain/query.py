"""Queries over twins: `SELECT … FROM devices|devices.modules [WHERE …] [GROUP BY …]` and their answers.

Follows Microsoft's "IoT Hub query language". It does not say what aggregates make of values that are missing
or of several types; there this follows the sister dialect, "Query language in Azure Cosmos DB for NoSQL":

- What is not there is passed over. COUNT() counts rows, COUNT(path) those that have the path.
- AVG and SUM are undefined when any value is no number; MIN and MAX order null < false < true < numbers <
  texts, and are undefined when any value is a list or an object. Over no values all four are undefined.
- An undefined column is left out of its row. Rows without the path to group by are one group.
- Without GROUP BY the rows are one group, even when there are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from edgeferry.domain.condition import Condition
from edgeferry.domain.expression import Literal, Path, Read, find_paths, follow, read_document
from edgeferry.domain.fields import nearest
from edgeferry.domain.grammar import Aggregated, Clauses, Item, parse_clauses, refuse
from edgeferry.domain.value import PRIMITIVE, UNDEFINED, as_number, kind_of

Json = dict[str, Any]

_COLLECTIONS = ("devices", "devices.modules")
_ORDER = {"null": 0, "boolean": 1, "number": 2, "string": 3}


@dataclass(frozen=True)
class Aggregate:
    """A function over the rows of a group, a key of AGGREGATES; what it takes of each, None for COUNT()."""

    function: str
    path: Path | None


@dataclass(frozen=True)
class Column:
    """One column of a query's answer."""

    value: Path | Aggregate
    name: str


@dataclass(frozen=True)
class Query:
    """A parsed query; no columns means the whole twin."""

    columns: tuple[Column, ...]
    collection: str
    """`devices` or `devices.modules`."""
    condition: Condition
    group_by: tuple[Path, ...] = ()
    top: int | None = None
    """How many rows the answer has at most."""

    @property
    def is_aggregate(self) -> bool:
        """Whether a row of the answer stands for a group rather than for one twin."""
        return bool(self.group_by) or any(isinstance(one.value, Aggregate) for one in self.columns)


@lru_cache(maxsize=1024)
def parse_query(text: str) -> Query:
    """The query; ConditionError with the column."""
    clauses = parse_clauses(text)
    if clauses.collection not in _COLLECTIONS:
        _refuse_collection(clauses)
    where = Literal(True) if clauses.where is None else clauses.where
    columns = tuple(_build_column(item) for item in clauses.items)
    query = Query(columns, clauses.collection, Condition(text, where), clauses.group_by, _top(clauses))
    if query.is_aggregate:
        _check_grouping(query)
    _check_names(clauses.items, columns)
    return query


def find_query_paths(query: Query) -> frozenset[Path]:
    """The paths that its condition, columns and groups need; `SELECT *` needs the whole twin besides."""
    values = (one.value.path if isinstance(one.value, Aggregate) else one.value for one in query.columns)
    return find_paths(query.condition.expression) | {path for path in values if path} | set(query.group_by)


def project(query: Query, document: Mapping[str, Any]) -> Json:
    """The row of a query that is no aggregate for a document it selects: the whole twin, or its columns that
    are defined."""
    if not query.columns:
        return dict(document)
    values = (
        (column.name, follow(document, column.value))
        for column in query.columns
        if isinstance(column.value, Path)
    )
    return {name: value for name, value in values if value is not UNDEFINED}


def aggregate(query: Query, rows: Iterable[Any], read: Read = read_document) -> list[Json]:
    """The answer of an aggregate query to the rows that its condition selects, at most `top` groups in the
    order of their first rows; `read` reads a path of a row, by default of a twin document."""
    keys = tuple(read(path) for path in query.group_by)
    groups: dict[tuple[Any, ...], list[Any]] = {} if keys else {(): []}
    for row in rows:
        groups.setdefault(tuple(_group_key(key(row)) for key in keys), []).append(row)
    columns = tuple((one.name, _bind_column(one, read)) for one in query.columns)
    chosen = list(groups.values())[: query.top]
    answers = ({name: value(group) for name, value in columns} for group in chosen)
    return [{name: value for name, value in each.items() if value is not UNDEFINED} for each in answers]


# --- values of groups


def _bind_column(column: Column, read: Read) -> Callable[[Sequence[Any]], Any]:
    match column.value:
        case Aggregate(_, None):
            return len
        case Aggregate(function, Path() as path):
            return partial(_aggregate, AGGREGATES[function], read(path))
        case Path() as path:
            first = read(path)
            return lambda rows: first(rows[0])
    raise AssertionError(column.value)


def _aggregate(run: Callable[[list[Any]], Any], value: Callable[[Any], Any], rows: Sequence[Any]) -> Any:
    return run([each for each in map(value, rows) if each is not UNDEFINED])


def _group_key(value: Any) -> Any:
    """Equal for values that are of one group."""
    kind = kind_of(value)
    return (kind, value if kind in PRIMITIVE or kind == "undefined" else json.dumps(value, sort_keys=True))


def _sum(values: list[Any]) -> Any:
    if not values or any(kind_of(value) != "number" for value in values):
        return UNDEFINED
    try:
        return as_number(sum(values))
    except OverflowError:
        return UNDEFINED


def _average(values: list[Any]) -> Any:
    total = _sum(values)
    return UNDEFINED if total is UNDEFINED else as_number(total / len(values))


def _extreme(pick: Callable[..., Any], values: list[Any]) -> Any:
    if not values or any(kind_of(value) not in PRIMITIVE for value in values):
        return UNDEFINED
    return pick(values, key=lambda value: (_ORDER[kind_of(value)], value if value is not None else 0))


AGGREGATES: Mapping[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "avg": _average,
    "sum": _sum,
    "min": partial(_extreme, min),
    "max": partial(_extreme, max),
}
"""What each makes of the values that are there."""


# --- what a query must keep to


def _build_column(item: Item) -> Column:
    match item.value:
        case Path(segments) as path:
            return Column(path, item.alias or segments[-1])
        case Aggregated(function, path, column):
            if function not in AGGREGATES:
                refuse(f"there is no aggregate {function.upper()}()", nearest(function, AGGREGATES), column)
            if path is None and function != "count":
                refuse(f"{function.upper()}() takes a path", f"write {function.upper()}(tags.x)", column)
            return Column(Aggregate(function, path), item.alias or function)
    raise AssertionError(item.value)


def _refuse_collection(clauses: Clauses) -> None:
    name, column = clauses.collection, clauses.collection_column
    if name == "devices.jobs":
        refuse("jobs cannot be queried: this hub has none", "use FROM devices or devices.modules", column)
    refuse(f"there is no collection {name!r}", "use FROM devices or devices.modules", column)


def _top(clauses: Clauses) -> int | None:
    if clauses.top is None:
        return None
    value: Any = clauses.top.value
    if not isinstance(value, int) or not 1 <= value < 10**9:
        refuse(f"TOP {value} is no number of rows", "write a whole number from 1", clauses.top.column)
    return value


def _check_grouping(query: Query) -> None:
    if not query.columns:
        column = query.group_by[0].column
        refuse("SELECT * cannot be grouped", "name the columns: SELECT tags.x, COUNT() AS n …", column)
    for one in query.columns:
        if isinstance(one.value, Path) and one.value not in query.group_by:
            name = ".".join(one.value.segments)
            fix = f"add GROUP BY {name}, or take the column away"
            refuse(f"{name} has many values in a group", fix, one.value.column)


def _check_names(items: Sequence[Item], columns: Sequence[Column]) -> None:
    names: set[str] = set()
    for item, column in zip(items, columns, strict=True):
        if column.name in names:
            fix = f"give one another name: AS {column.name}2"
            refuse(f"two columns are called {column.name!r}", fix, item.value.column)
        names.add(column.name)
