"""Captures as a table: a line for each row that a model was asked, its columns by name, its answer beside it.

    device model version digest sequence row at purpose id status latency_ms
    COLUMN … output output_json inputs_json

The columns have one kind each, chosen from what comes first. Nothing is lost for that: an answer of another
kind stands in `output_json`, as JSON; and where inputs are no rows of these columns, or a value is of another
kind, the whole record is one line, `row` and its columns are empty, and `inputs_json` holds what was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.capture import Record

DOUBLE = "double"
STRING = "string"
BOOLEAN = "boolean"

BEFORE = (
    *("device", "model", "version", "digest", "sequence", "row", "at", "purpose", "id"),
    *("status", "latency_ms"),
)
"""What a line begins with; `row` counts from 1."""
OUTPUT = "output"
AFTER = (OUTPUT, "output_json", "inputs_json")

Cell = None | bool | int | float | str


@dataclass(frozen=True)
class Table:
    """A table's shape: the model's columns in their order, with their kinds, and its answers' kind."""

    columns: Mapping[str, str]
    output: str = DOUBLE

    @property
    def names(self) -> tuple[str, ...]:
        """What stands above a line's cells. A model's column with the name of one of ours is `input.NAME`."""
        return tuple(self.kinds)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each name; our own numbers and times count as text here."""
        ours = {*BEFORE, *AFTER}
        columns = {f"input.{name}" if name in ours else name: kind for name, kind in self.columns.items()}
        return {
            **dict.fromkeys(BEFORE, STRING),
            **columns,
            **dict.fromkeys(AFTER, STRING),
            OUTPUT: self.output,
        }


def choose_table(samples: Iterable[tuple[Record, Sequence[str]]]) -> Table:
    """The table for records like these, each with the names of its model's columns (none: unknown).

    A column of which nothing was seen is taken for numbers; one of values of several kinds is left out.
    """
    seen: dict[str, set[str]] = {}
    answered: set[str] = set()
    for record, names in samples:
        for name in names:
            seen.setdefault(name, set())
        rows, answers = _read(record, names)
        for row in rows:
            for name, value in row.items():
                seen[name].update(_kind(value))
        for answer in answers:
            answered.update(_kind(answer))
    kinds = {name: _only(kinds) for name, kinds in seen.items()}
    return Table({name: kind for name, kind in kinds.items() if kind}, _only(answered) or DOUBLE)


def tabulate(device: str, record: Record, names: Sequence[str], table: Table) -> Iterator[tuple[Cell, ...]]:
    """The record's lines, a cell for each of the table's names."""

    def line(
        row: int | None, cells: Iterable[Cell], output: Cell, output_json: str | None, inputs_json: str | None
    ) -> tuple[Cell, ...]:
        before = (
            *(device, record.model, record.version, record.digest, record.sequence, row, record.at),
            *(record.purpose, record.id, record.status, record.latency_ms),
        )
        return (*before, *cells, output, output_json, inputs_json)

    rows, answers = _read(record, names)
    if not rows or not all(_fits(row, table) for row in rows):
        yield line(None, [None] * len(table.columns), None, record.output, record.inputs)
        return
    for number, row in enumerate(rows, start=1):
        cells = [row.get(name) for name in table.columns]
        if not answers:
            yield line(number, cells, None, record.output, None)
        elif _kind(answers[number - 1]) <= {table.output}:
            yield line(number, cells, answers[number - 1], None, None)
        else:
            yield line(number, cells, None, json.dumps(answers[number - 1]), None)


def _read(record: Record, names: Sequence[str]) -> tuple[list[dict[str, Any]], list[Any]]:
    """The rows by column and the answer to each, no answers when the only row has none of its own; nothing
    when it is no such record."""
    if not names:
        return [], []
    inputs, output = json.loads(record.inputs), json.loads(record.output)
    if isinstance(inputs, dict) and set(inputs) == {"data"}:
        inputs = inputs["data"]
    if isinstance(output, dict) and len(output) == 1 and set(output) <= {"result", "predictions"}:
        (output,) = output.values()
    if not isinstance(inputs, list):
        return [], []
    if output is None:
        output = [None] * len(inputs)  # redacted
    if not isinstance(output, list) or len(output) != len(inputs):
        if len(inputs) != 1:
            return [], []
        output = []
    rows = []
    for row in inputs:
        if isinstance(row, list) and len(row) == len(names):
            rows.append(dict(zip(names, row, strict=True)))
        elif isinstance(row, dict) and set(row) <= set(names):
            rows.append(row)
        else:
            return [], []
    return rows, output


def _fits(row: Mapping[str, Any], table: Table) -> bool:
    return all(name in table.columns and _kind(value) <= {table.columns[name]} for name, value in row.items())


def _kind(value: Any) -> set[str]:
    """The kind of a value; none for null, another than all kinds for what is no cell."""
    if value is None:
        return set()
    if isinstance(value, bool):
        return {BOOLEAN}
    if isinstance(value, float):
        return {DOUBLE}
    if isinstance(value, int):
        return {DOUBLE if abs(value) <= 2**53 else "a larger number than a double holds exactly"}
    return {STRING if isinstance(value, str) else "a list or an object"}


def _only(kinds: set[str]) -> str:
    """The one kind, DOUBLE for none seen, "" for several or for what is no cell."""
    if not kinds:
        return DOUBLE
    (kind, *others) = kinds
    return kind if not others and kind in (DOUBLE, STRING, BOOLEAN) else ""
