"""Which smoke cases a model version gets: those made from its held-out rows, and those of `smoke/checks.yml`.
Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypedDict

from edgeferry.domain.column import Value
from edgeferry.domain.smoke import (
    BetweenCase,
    Case,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    IncreasingCase,
    MemoryCase,
    RefusedCase,
    Row,
    SameCase,
)
from edgeferry.errors import DefinitionError

GROWTH_MB = 16.0
"""How much a server may grow while a memory case asks it: it fills its caches, and others ask it
meanwhile."""
MOST_REPEATS = 10_000
_TOGETHER_REPEATS = 3
_READ_BY_US = ("onnx", "library", "pyfunc")
"""Runtimes that are handed rows, which our server has read and checked."""
_MANY_ROWS = 200
_MANY_VALUES = 4000
"""Bounds of the one request that asks many held-out rows: some 60 KiB of JSON at most."""

_KINDS: Mapping[str, tuple[str, ...]] = {
    "equal": ("data", "expected"),
    "refused": ("data", "body"),
    "increasing": ("column", "values"),
    "decreasing": ("column", "values"),
    "between": ("low", "high", "data", "column", "values"),
    "changes": ("column", "values"),
    "same": ("data", "requests"),
    "memory": ("data", "growth_mb", "most_mb"),
}
KINDS = tuple(_KINDS)
_ALWAYS = ("id", "repeats", "latency_ms")


def make_cases(
    rows: Sequence[Sequence[Any]],
    predictions: Sequence[Value],
    columns: Sequence[str],
    count: int,
    runtime: str,
    latency_ms: float,
) -> tuple[Case, ...]:
    """The cases that need nobody to write them: up to `count` held-out rows, each alone, together, backwards
    and by the columns' names; many held-out rows at once; questions to refuse; and the memory that many
    answers take. Rows asked together may take as long as one after the other.

    A `score.py` has no way to refuse, and reads bodies itself, as a server of one's own does: neither is
    asked by name, and only the latter must refuse a row of the wrong width.
    """
    alone = choose_cases(rows, predictions, count)
    if not alone:
        return ()
    chosen = tuple(case.rows[0] for case in alone)
    expected = tuple(case.expected[0] for case in alone)
    cases: list[Case] = [*alone]
    limit = latency_ms * len(chosen)
    if len(chosen) > 1:
        again = _TOGETHER_REPEATS
        cases.append(EqualCase("held-out-together", chosen, expected, repeats=again, latency_ms=limit))
        cases.append(EqualCase("held-out-backwards", chosen[::-1], expected[::-1], latency_ms=limit))
    many = _choose_many(rows, predictions)
    if len(many) > len(chosen):
        asked, answers = tuple(_plain(rows[index]) for index in many), (predictions[index] for index in many)
        limit_of_many = latency_ms * len(many)
        cases.append(EqualCase("held-out-many", asked, tuple(answers), latency_ms=limit_of_many))
    if runtime in _READ_BY_US:
        names = (*columns[1:], columns[0])
        turned = tuple((*row[1:], row[0]) for row in chosen)
        cases.append(EqualCase("held-out-by-name", turned, expected, tuple(names), latency_ms=limit))
        numbers = [place for place, value in enumerate(chosen[0]) if _is_number(value)]
        if numbers:
            wrong = (*chosen[0][: numbers[0]], "a text", *chosen[0][numbers[0] + 1 :])
            cases.append(RefusedCase("refused-a-text", {"data": [list(wrong)]}))
    if runtime != "score":
        cases.append(RefusedCase("refused-one-value-too-many", {"data": [[*chosen[0], 1.0]]}))
    cases.append(MemoryCase("held-out-memory", chosen[:1], int(GROWTH_MB * 1_000_000)))
    return tuple(cases)


def require_memory(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The same cases for a server that tells its memory: unmeasured, it is no memory that holds."""
    return tuple(replace(case, measured=True) if isinstance(case, MemoryCase) else case for case in cases)


def choose_cases(
    rows: Sequence[Sequence[Any]], predictions: Sequence[Value], count: int
) -> tuple[EqualCase, ...]:
    """Up to `count` held-out rows as cases, spread evenly over the range of predictions, both ends included;
    of texts, over all of them in their order.

    A missing value (NaN) is asked as null. Rows with an infinite value, or a prediction that is not finite,
    are passed over: JSON cannot carry them.
    """
    usable = _find_usable(rows, predictions)
    ranked = sorted(usable, key=lambda index: (predictions[index], index))
    count = min(count, len(ranked))
    if count <= 0:
        return ()
    last = len(ranked) - 1
    places = [round(step * last / (count - 1)) for step in range(count)] if count > 1 else [last // 2]
    chosen = sorted(ranked[place] for place in places)
    return tuple(
        EqualCase(
            id=f"held-out-{index}",
            rows=(_plain(rows[index]),),
            expected=(predictions[index],),
        )
        for index in chosen
    )


def _choose_many(rows: Sequence[Sequence[Any]], predictions: Sequence[Value]) -> list[int]:
    """Places of rows that a fault in one corner would show in: those that hold the smallest and the largest
    value of each column, then others, spread evenly."""
    usable = _find_usable(rows, predictions)
    if not usable:
        return []
    room = min(_MANY_ROWS, _MANY_VALUES // max(1, len(rows[0])), len(usable))
    ends: dict[int, None] = {}
    for column in range(len(rows[0])):
        ranked = [index for index in usable if _is_number(rows[index][column])]
        if ranked:
            for choose in (min, max):
                ends.setdefault(choose(ranked, key=lambda index: rows[index][column]))
    others = [index for index in usable if index not in ends]
    free = max(0, room - len(ends))
    spread = [others[step * len(others) // free] for step in range(min(free, len(others)))] if free else []
    return sorted([*list(ends)[:room], *spread])


def _find_usable(rows: Sequence[Sequence[Any]], predictions: Sequence[Value]) -> list[int]:
    """Places of rows that JSON can say, missing values as null, as it can their predictions."""
    return [
        index
        for index, prediction in enumerate(predictions)
        if (isinstance(prediction, str) or math.isfinite(prediction))
        and all(_is_said(value) for value in rows[index])
    ]


def _is_said(value: Any) -> bool:
    """Whether JSON can say it: a text, a finite number, or none where it is missing."""
    return isinstance(value, str) or not math.isinf(value)


def _plain(row: Sequence[Any]) -> Row:
    return tuple(_plain_value(value) for value in row)


def _plain_value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else float(value)


def parse_checks(
    checks: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    base_row: Sequence[Any],
    taken: Collection[str] = (),
) -> tuple[Case, ...]:
    """The cases that a model folder's `smoke/checks.yml` declares (docs/smoke.md).

    A `column` with `values` varies that column of `base_row` (a held-out row). `taken` are ids of other
    cases. DefinitionError with the key, in the terms of that file.
    """
    row = _plain(base_row)
    cases = tuple(
        _parse_check(_Check(index, check, tuple(columns), row)) for index, check in enumerate(checks)
    )
    known = set(taken)
    for index, case in enumerate(cases):
        if case.id in known:
            raise _wrong(index, (), f"the id {case.id!r} is used twice", "give each check its own id")
        known.add(case.id)
    return cases


def find_check_faults(checks: Sequence[Mapping[str, object]]) -> list[DefinitionError]:
    """What is wrong with the checks whatever the model's columns are, at most one fault a check."""
    faults: list[DefinitionError] = []
    known: set[str] = set()
    for index, check in enumerate(checks):
        try:
            case = _parse_check(_Check(index, check, (), ()))
            if case.id in known:
                raise _wrong(index, (), f"the id {case.id!r} is used twice", "give each check its own id")
            known.add(case.id)
        except DefinitionError as fault:
            faults.append(fault)
    return faults


class _Options(TypedDict):
    repeats: int
    latency_ms: float | None


class _Check:
    """One check as it stands in the file, read key by key; without columns, whatever needs them holds."""

    def __init__(self, index: int, check: object, columns: tuple[str, ...], base_row: Row) -> None:
        self.index, self.columns, self.base_row = index, columns, base_row
        shapes = f"write one of {', '.join(KINDS)} with an id, as in `- increasing: {{id, column, values}}`"
        if not isinstance(check, Mapping) or len(check) != 1:
            raise _wrong(index, (), "is not one mapping with one kind", shapes)
        kind, body = next(iter(check.items()))
        if kind not in _KINDS or not isinstance(body, Mapping):
            raise _wrong(index, (), f"{kind!r} is not a kind of check", shapes)
        self.kind: str = kind
        self.body: Mapping[str, Any] = body
        for key in body:
            if key not in (*_ALWAYS, *_KINDS[kind]):
                fix = f"{kind} takes: {', '.join((*_KINDS[kind], *_ALWAYS))}"
                raise self.wrong(str(key), f"{key!r} is not a key of {kind}", fix)

    def wrong(self, key: str, problem: str, fix: str) -> DefinitionError:
        return _wrong(self.index, (self.kind, key) if key else (self.kind,), problem, fix)

    def id(self) -> str:
        found = self.body.get("id")
        if not isinstance(found, str) or not found:
            raise self.wrong("id", "has no id", "add `id: some-name`")
        return found

    def options(self, repeats: int = 1) -> _Options:
        said = self.body.get("repeats", repeats)
        if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= MOST_REPEATS:
            fix = f"write a whole number from 1 to {MOST_REPEATS}"
            raise self.wrong("repeats", "repeats is not a count", fix)
        limit = self.number("latency_ms", 0.0)
        if limit < 0 or ("latency_ms" in self.body and not limit):
            raise self.wrong("latency_ms", "latency_ms is no time", "write milliseconds, more than 0")
        return {"repeats": said, "latency_ms": limit or None}

    def number(self, key: str, default: float | None = None) -> float:
        found = self.body.get(key, default)
        if not _is_number(found):
            raise self.wrong(key, f"{key} is not a number", f"write `{key}: 1.5`")
        return float(found)

    def rows(self) -> tuple[Row, ...]:
        """The rows in `data`."""
        data = self.body.get("data")
        if not isinstance(data, list) or not data:
            raise self.wrong("data", "data is not a list of rows", "write `data: [[1.5, 2]]`, one list a row")
        for number, row in enumerate(data, start=1):
            if not isinstance(row, list) or (self.columns and len(row) != len(self.columns)):
                fix = f"give one number for each of: {', '.join(self.columns)}"
                raise self.wrong(
                    "data", f"row {number} is not a row of the model's {len(self.columns)} columns", fix
                )
            if not all(isinstance(value, str) or _is_number(value) for value in row):
                problem = f"row {number} has a value that is neither number nor text"
                raise self.wrong("data", problem, "write numbers, and texts where the column is one")
        return tuple(map(_plain, data))

    def varied(self, order: Callable[[float, float], bool], problem: str, fix: str) -> tuple[Row, ...]:
        """The held-out row with `column` at each of `values`, each of which stands so to the one before
        it."""
        column, values = self.body.get("column"), self.body.get("values")
        if not isinstance(column, str) or (self.columns and column not in self.columns):
            fixed = f"use one of: {', '.join(self.columns)}"
            raise self.wrong("column", f"the model has no column {column!r}", fixed)
        if (
            not isinstance(values, list)
            or len(values) < 2
            or not all(map(_is_number, values))
            or not all(order(before, after) for before, after in pairwise(values))
        ):
            raise self.wrong("values", problem, fix)
        place = self.columns.index(column) if self.columns else 0
        return tuple((*self.base_row[:place], float(value), *self.base_row[place + 1 :]) for value in values)

    def rising(self) -> tuple[Row, ...]:
        return self.varied(
            lambda before, after: before < after,
            "values are not rising numbers",
            "list at least two numbers, smallest first",
        )

    def different(self) -> tuple[Row, ...]:
        return self.varied(
            lambda before, after: before != after,
            "values are not different numbers",
            "list at least two numbers, each another than the one before",
        )


def _parse_check(check: _Check) -> Case:
    match check.kind:
        case "equal":
            return _parse_equal(check)
        case "refused":
            return _parse_refused(check)
        case "increasing":
            return IncreasingCase(check.id(), check.rising(), **check.options())
        case "decreasing":
            return DecreasingCase(check.id(), check.rising(), **check.options())
        case "changes":
            return ChangesCase(check.id(), check.different(), **check.options())
        case "between":
            return _parse_between(check)
        case "same":
            return _parse_same(check)
    return _parse_memory(check)


def _parse_equal(check: _Check) -> Case:
    id_, rows, expected = check.id(), check.rows(), check.body.get("expected")
    if (
        not isinstance(expected, list)
        or len(expected) != len(rows)
        or not (all(map(_is_number, expected)) or all(isinstance(value, str) for value in expected))
    ):
        problem, fix = "expected is not one number or one text a row", f"list {len(rows)} of them"
        raise check.wrong("expected", problem, fix)
    return EqualCase(id_, rows, _plain(expected), **check.options())


def _parse_refused(check: _Check) -> Case:
    id_, body = check.id(), check.body
    if ("data" in body) == ("body" in body):
        raise check.wrong("", "needs either `data` or `body`", "give the request to be refused")
    return RefusedCase(id_, {"data": body["data"]} if "data" in body else body["body"], **check.options())


def _parse_between(check: _Check) -> Case:
    id_, body = check.id(), check.body
    low, high = check.number("low"), check.number("high")
    if low > high:
        raise check.wrong("high", f"high {high:g} is below low {low:g}", "write the smaller one as low")
    if ("data" in body) == ("column" in body):
        raise check.wrong("", "needs either `data`, or `column` and `values`", "say which rows are asked")
    rows = check.rows() if "data" in body else check.different()
    return BetweenCase(id_, rows, low, high, **check.options())


def _parse_same(check: _Check) -> Case:
    id_, body = check.id(), check.body
    if ("data" in body) == ("requests" in body):
        raise check.wrong(
            "", "needs either `data` or `requests`", "give rows, or two requests that mean the same"
        )
    if "requests" in body:
        requests = body["requests"]
        if not isinstance(requests, list) or len(requests) < 2:
            fix = "list at least two request bodies"
            raise check.wrong("requests", "requests are not two or more", fix)
        return SameCase(id_, tuple((request,) for request in requests), **check.options())
    rows = check.rows()
    together = ({"data": [list(row) for row in rows]},)
    alone = tuple({"data": [list(row)]} for row in rows)
    named = (
        {"data": [dict(zip(check.columns[::-1], row[::-1], strict=bool(check.columns))) for row in rows]},
    )
    return SameCase(id_, (together, alone, named, together), **check.options())


def _parse_memory(check: _Check) -> Case:
    id_ = check.id()
    rows = check.rows() if "data" in check.body else (check.base_row,)
    growth, most = check.number("growth_mb", GROWTH_MB), check.number("most_mb", 0.0)
    for key, size in (("growth_mb", growth), ("most_mb", most)):
        if size < 0:
            raise check.wrong(key, f"{key} is below 0", "write megabytes")
    options = check.options(repeats=100)
    return MemoryCase(id_, rows, int(growth * 1_000_000), int(most * 1_000_000), **options)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(index: int, key: tuple[str, ...], problem: str, fix: str) -> DefinitionError:
    return DefinitionError(f"smoke/checks.yml, check {index + 1}: {problem}", fix=fix, key=(index, *key))
