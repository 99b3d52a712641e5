"""Which twins a condition selects, without reading them: the values of each path stand side by side.

A column holds one small number per identity, the place of its value among the path's distinct values; a
comparison is made once per distinct value. Truth is kept as two masks, one byte per row: where an expression
is true and where it is false; where it is neither it is undefined.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from edgeferry.domain.expression import (
    All,
    Expression,
    Not,
    Path,
    Some,
    bind,
    evaluate,
    find_paths,
    follow,
)
from edgeferry.domain.value import UNDEFINED

Key = tuple[str, str]
"""Device and module, "" for a device itself."""
Document = Mapping[str, Any]

_MAX_COLUMNS = 256
_MAX_TAG_COLUMNS = 128
_BYTE = 256
_SPARE = 1024


class Column:
    """The values of one path by row."""

    def __init__(self, rows: int) -> None:
        self.values: list[Any] = [UNDEFINED]
        self._places: dict[Any, int] = {_name(UNDEFINED): 0}
        self.codes: bytearray | array[int] = bytearray(rows)

    def put(self, row: int, value: Any) -> None:
        """The row has this value."""
        name = _name(value)
        place = self._places.get(name)
        if place is None:
            if len(self.values) > 2 * len(self.codes) + _SPARE:
                self._forget_unused()
            place = self._places[name] = len(self.values)
            self.values.append(value)
            if place == _BYTE and isinstance(self.codes, bytearray):
                self.codes = array("I", list(self.codes))
        self.codes[row] = place

    def mask(self, truth: bytes) -> bytes:
        """Per row, the byte that `truth` has for its value."""
        if isinstance(self.codes, bytearray):
            return bytes(self.codes.translate(truth.ljust(_BYTE, b"\0")))
        return bytes(map(truth.__getitem__, self.codes))

    def _forget_unused(self) -> None:
        """Values that no row has any more, as counters leave them behind, are dropped."""
        old, codes = self.values, self.codes
        self.__init__(len(codes))  # type: ignore[misc]
        for row, code in enumerate(codes):
            self.put(row, old[code])


@dataclass(frozen=True)
class Truth:
    """Where an expression is true, and where false."""

    true: bytes
    false: bytes


class Index:
    """The identities of one collection. `scan` yields (key, document) of all, for a column made late;
    `live` gives the values that change without a write, e.g. whether one is connected."""

    def __init__(
        self,
        scan: Callable[[Path], Iterable[tuple[Key, Any]]],
        live: Callable[[Path], Callable[[Key], Any] | None],
        *,
        all_tags: bool,
    ) -> None:
        self._scan = scan
        self._live = live
        self._all_tags = all_tags
        """Whether each path of tags that is anywhere has a column."""
        self._rows: dict[Key, int] = {}
        self._keys: list[Key | None] = []
        self._free: list[int] = []
        self._there = bytearray()
        self._columns: OrderedDict[Path, Column] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    # keeping it true

    def put(self, key: Key, document: Document) -> None:
        """The identity is, or is changed, as its twin's document says."""
        row = self._rows.get(key)
        if row is None:
            row = self._take_row(key)
        if self._all_tags:
            self._add_tag_columns(document.get("tags", {}))
        for path, column in self._columns.items():
            column.put(row, follow(document, path))

    def remove(self, key: Key) -> None:
        """The identity is gone."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        self._keys[row] = None
        self._there[row] = 0
        self._free.append(row)
        for column in self._columns.values():
            column.put(row, UNDEFINED)

    def _take_row(self, key: Key) -> int:
        if self._free:
            row = self._free.pop()
            self._keys[row] = key
        else:
            row = len(self._keys)
            self._keys.append(key)
            self._there.append(0)
            for column in self._columns.values():
                column.codes.append(0)
        self._there[row] = 1
        self._rows[key] = row
        return row

    def _add_tag_columns(self, tags: Mapping[str, Any]) -> None:
        for path in _tag_paths(tags, ("tags",)):
            if path not in self._columns:
                if len(self._columns) >= _MAX_TAG_COLUMNS:
                    self._all_tags = False
                    return
                self._columns[path] = Column(len(self._keys))

    # asking it

    def select(self, expression: Expression) -> bytes:
        """The mask of the rows of which the expression is true."""
        return _both(self._truth(expression, bytes(self._there)).true, bytes(self._there))

    def both(self, one: bytes, other: bytes) -> bytes:
        """The mask of the rows that both have."""
        return _both(one, other)

    def keys(self, mask: bytes, after: Key | None, limit: int) -> Sequence[Key]:
        """The first `limit` keys of the mask's rows that come after `after`, in order."""
        chosen: Iterator[Key] = compress(self._keys, mask)  # type: ignore[arg-type]  # a free row is in no mask
        return heapq.nsmallest(limit, chosen if after is None else (key for key in chosen if key > after))

    def values(self, mask: bytes, paths: Sequence[Path]) -> Iterator[tuple[Any, ...]]:
        """Of each row of the mask, in no order, its values at the paths."""
        rows = list(compress(range(len(mask)), mask))
        if not paths:
            return iter([()] * len(rows))
        return zip(*(map(self._read(path), rows) for path in paths), strict=True)

    def all_keys(self, mask: bytes) -> Sequence[Key]:
        """The keys of the mask's rows, in no order."""
        return list(compress(self._keys, mask))  # type: ignore[arg-type]

    def _truth(self, expression: Expression, among: bytes) -> Truth:
        """Right for the rows of `among`."""
        match expression:
            case Not(operand):
                inner = self._truth(operand, among)
                return Truth(inner.false, inner.true)
            case All(parts):
                true, false = among, bytes(len(among))
                for part in sorted(parts, key=self._cost):
                    one = self._truth(part, _without(among, false))
                    true, false = _both(true, one.true), _either(false, one.false)
                return Truth(true, false)
            case Some(parts):
                true, false = bytes(len(among)), among
                for part in sorted(parts, key=self._cost):
                    one = self._truth(part, _without(among, true))
                    true, false = _either(true, one.true), _both(false, one.false)
                return Truth(true, false)
        return self._leaf(expression, among)

    def _cost(self, expression: Expression) -> int:
        """How much there is to judge: what is quick comes first and leaves fewer rows to the rest."""
        known = (self._columns.get(path) for path in find_paths(expression))
        return sum(len(self._keys) if column is None else len(column.values) for column in known)

    def _leaf(self, expression: Expression, among: bytes) -> Truth:
        paths = sorted(find_paths(expression), key=lambda path: path.segments)
        if not paths:
            value = evaluate(expression, _no_path)
            nothing = bytes(len(among))
            return Truth(among if value is True else nothing, among if value is False else nothing)
        if any(self._live(path) for path in paths):
            return self._row_by_row(expression, among)
        columns = [self._column(path) for path in paths]
        if len(columns) == 1:
            [path], [column] = paths, columns
            if len(column.values) > among.count(1):
                return self._row_by_row(expression, among)
            values = [evaluate(expression, {path: value}.__getitem__) for value in column.values]
            return Truth(
                column.mask(bytes(value is True for value in values)),
                column.mask(bytes(value is False for value in values)),
            )
        known: dict[tuple[int, ...], Any] = {}
        true, false = bytearray(len(among)), bytearray(len(among))
        rows = zip(
            compress(range(len(among)), among), *(compress(c.codes, among) for c in columns), strict=True
        )
        for row, *codes in rows:
            combined = tuple(codes)
            if combined not in known:
                found = {p: c.values[code] for p, c, code in zip(paths, columns, codes, strict=True)}
                known[combined] = evaluate(expression, found.__getitem__)
            if known[combined] is True:
                true[row] = 1
            elif known[combined] is False:
                false[row] = 1
        return Truth(bytes(true), bytes(false))

    def _row_by_row(self, expression: Expression, among: bytes) -> Truth:
        """For values that nobody keeps in columns, or that are another one in each row."""
        judge = bind(expression, self._read)
        true, false = bytearray(len(among)), bytearray(len(among))
        for row in compress(range(len(among)), among):
            value = judge(row)
            if value is True:
                true[row] = 1
            elif value is False:
                false[row] = 1
        return Truth(bytes(true), bytes(false))

    def _read(self, path: Path) -> Callable[[int], Any]:
        live, keys = self._live(path), self._keys
        if live is not None:
            return lambda row: live(keys[row])  # type: ignore[arg-type]  # a free row is never asked
        column = self._column(path)
        values, codes = column.values, column.codes
        return lambda row: values[codes[row]]

    def _column(self, path: Path) -> Column:
        known = self._columns.get(path)
        if known is not None:
            self._columns.move_to_end(path)
            return known
        column = Column(len(self._keys))
        if not (self._all_tags and path.segments[0] == "tags"):
            for key, value in self._scan(path):
                column.put(self._rows[key], value)
        while len(self._columns) >= _MAX_COLUMNS:
            dropped, _ = self._columns.popitem(last=False)
            self._all_tags = self._all_tags and dropped.segments[0] != "tags"
        self._columns[path] = column
        return column


def _tag_paths(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Path]:
    yield Path(path)
    for name, member in value.items():
        below = (*path, name)
        if isinstance(member, dict):
            yield from _tag_paths(member, below)
        else:
            yield Path(below)


def _name(value: Any) -> Any:
    """What tells a value from the path's others: `true` is not 1, and 1 is not 1.0."""
    if isinstance(value, list | dict):
        return type(value), json.dumps(value, sort_keys=True)
    return type(value), value


def _no_path(path: Path) -> Any:
    raise KeyError(path)


def _both(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") & int.from_bytes(other, "little")).to_bytes(len(one), "little")


def _either(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


def _without(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") & ~int.from_bytes(other, "little")).to_bytes(len(one), "little")
