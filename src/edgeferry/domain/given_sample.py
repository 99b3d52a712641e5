"""Rows to ask a model that was there before any pipeline, and whether they fit what it takes. Pure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.errors import UsageError

_SHAPE = 'one line of column names, then rows; or JSON: [{"column": 1.5, …}, …]'
_EMPTY = ("", "nan", "NaN")
"""What stands for a missing value in CSV, as the step reads it; in JSON that is null."""
_OTHER_EMPTY = ("na", "n/a", "#n/a", "<na>", "null", "none", "-", "?")
"""What others write for it, in small letters; in a column of texts it may be a text like any other."""


@dataclass(frozen=True)
class Seen:
    """A value and where it stands: in which row, counted from 1, and which line, 0 in JSON."""

    row: int
    line: int
    value: str


@dataclass(frozen=True)
class SampleColumn:
    """One column of the rows."""

    name: str
    text: Seen | None = None
    """Its first text; None when it has none."""
    missing: Seen | None = None
    """Its first missing value; None when it has them all."""
    numbers: bool = True
    """Whether it has a number."""


@dataclass(frozen=True)
class Takes:
    """What a model says of its inputs without being loaded."""

    names: tuple[str, ...] | None = None
    """All columns in its order; None when it does not name them."""
    needed: tuple[str, ...] = ()
    """Those of them that rows must have."""
    count: int | None = None
    """How many columns; None when it does not say."""
    numbers: bool = False
    """Whether it takes nothing but numbers."""
    problem: str = ""
    """Why it can be taken with no rows at all."""
    fix: str = ""


@dataclass(frozen=True)
class Misfit:
    """How rows do not fit a model, and what to do."""

    problem: str
    fix: str
    lacks: bool = False
    """Whether a column is not there."""
    line: int = 1
    """Of the file with the rows, where it shows."""


@dataclass(frozen=True)
class Fit:
    """How rows fit a model."""

    misfits: tuple[Misfit, ...]
    notes: tuple[str, ...] = ()
    """What a person should know, though nothing is wrong."""
    missing: bool = False
    """Whether a number that the model takes is missing in some row."""


def read_sample(file: str, text: str) -> tuple[SampleColumn, ...]:
    """The columns of the rows that the text of a .csv or .json file holds; UsageError when it holds none."""
    if file.lower().endswith(".json"):
        rows, lines = _read_json(file, text)
    elif file.lower().endswith(".csv"):
        rows, lines = _read_csv(file, text)
    else:
        raise UsageError(f"{file} is neither .csv nor .json", fix=f"write {_SHAPE}")
    if not rows:
        raise UsageError(
            f"{file} holds no rows", fix=f"write {_SHAPE}; ten rows or more make good smoke cases"
        )
    return tuple(_look(name, [row[name] for row in rows], lines) for name in rows[0])


def find_fit(sample: str, columns: Sequence[SampleColumn], model: str, takes: Takes, target: str = "") -> Fit:
    """How the rows in the file `sample` fit what `model` takes; its column `target`, if any, is the truth."""
    there = [column.name for column in columns]
    if takes.problem:
        return Fit((Misfit(f"{model} cannot be taken as it is: {takes.problem}", takes.fix),))
    if target and target not in there:
        return Fit((Misfit(f"{sample} has no column {target}", f"--target one of: {', '.join(there)}"),))
    if target and target in (takes.names or ()):
        return Fit((Misfit(f"{target} is a column that {model} takes", "leave --target away"),))
    there = [name for name in there if name != target]
    misfit = _find_named(sample, there, model, takes) or _find_counted(sample, columns, there, model, takes)
    if misfit:
        return Fit((misfit,))
    used = [column for column in columns if column.name in (takes.names or there) and column.name != target]
    misfits = [each for column in used if (each := _find_wrong(sample, column, model, takes))]
    others = [name for name in there if takes.names is not None and name not in takes.names]
    notes = []
    if others:
        notes.append(f"{model} takes {', '.join(takes.names or ())}; passed over: {', '.join(others)}")
    if takes.names is None and takes.count is not None:
        notes.append(f"{model} does not name its columns; taken in this order: {', '.join(there)}")
    gaps = [column for column in used if column.missing is not None and column.text is None]
    if gaps and not misfits:
        named = ", ".join(column.name for column in gaps)
        notes.append(f"{named}: values are missing, so model.yaml says that rows may leave them out")
    return Fit(tuple(misfits), tuple(notes), bool(gaps))


def takes_of_signature(mlmodel: Any) -> Takes:
    """What a model takes by the signature in its file MLmodel, read as YAML."""
    signature = mlmodel.get("signature") if isinstance(mlmodel, dict) else None
    try:
        inputs = json.loads(signature["inputs"]) if isinstance(signature, dict) else []
    except (KeyError, TypeError, ValueError):
        return Takes()
    named = [one for one in inputs if isinstance(one, dict) and "name" in one]
    if not named or len(named) != len(inputs):
        return Takes()
    needed = tuple(str(one["name"]) for one in named if one.get("required", True))
    return Takes(tuple(str(one["name"]) for one in named), needed, len(named))


def _find_named(sample: str, there: Sequence[str], model: str, takes: Takes) -> Misfit | None:
    """What is wrong with the names, where the model has any."""
    lacking = [name for name in takes.needed if name not in there]
    if not lacking:
        return None
    others = [name for name in there if name not in (takes.names or ())]
    fix = f"add to {sample}: {', '.join(lacking)}"
    if others:
        fix += (
            f"; or does {others[0]} stand for {lacking[0]}? Name columns as the model was trained with them"
        )
    return Misfit(f"{sample} lacks {', '.join(lacking)}, which {model} takes", fix, lacks=True)


def _find_counted(
    sample: str, columns: Sequence[SampleColumn], there: Sequence[str], model: str, takes: Takes
) -> Misfit | None:
    """What is wrong with the number of columns, where the model does not name them."""
    if takes.names is not None or takes.count is None or takes.count == len(there):
        return None
    fix = f"leave only those in {sample} that it takes, in its order"
    if len(there) == takes.count + 1:
        texts = [column.name for column in columns if column.text and column.name in there]
        guess = texts[0] if len(texts) == 1 else there[-1]
        fix = f"is {guess} the truth, and no input? Then add --target {guess}; else {fix}"
    problem = f"{model} takes {takes.count} columns and does not name them; {sample} has {len(there)}"
    return Misfit(f"{problem}: {', '.join(there)}", fix, lacks=len(there) < takes.count)


def _find_wrong(sample: str, column: SampleColumn, model: str, takes: Takes) -> Misfit | None:
    """What is wrong with the values of a column that the model takes."""
    if column.text is None:
        return None
    text = column.text.value
    if text.strip().lower() in _OTHER_EMPTY and (takes.numbers or column.numbers):
        problem = f"{column.name} is {text!r}, which is no number"
        return _misfit(sample, column.text, problem, "leave the field empty, in JSON null")
    if takes.numbers:
        fix = f"write it in numbers, as {model} was trained with it"
        if takes.names is None:
            fix += "; or leave out what is no input of it: --target COLUMN"
        problem = f"{column.name} is {text!r}, and {model} takes numbers only"
        return _misfit(sample, column.text, problem, fix)
    if column.missing is not None:
        problem = f"{column.name} holds texts, and none here; a text cannot be missing"
        fix = "write the text that the model was trained with for it, or leave the row out"
        return _misfit(sample, column.missing, problem, fix)
    return None


def _misfit(sample: str, seen: Seen, problem: str, fix: str) -> Misfit:
    where = f"{sample}:{seen.line}" if seen.line else f"{sample}: row {seen.row}"
    return Misfit(f"{where}: {problem}", fix, line=seen.line or 1)


def _look(name: str, values: Sequence[Any], lines: Sequence[int]) -> SampleColumn:
    text = missing = None
    numbers = False
    for row, (value, line) in enumerate(zip(values, lines, strict=True), 1):
        if isinstance(value, float) and math.isnan(value):
            missing = missing or Seen(row, line, "")
        elif isinstance(value, str):
            text = text or Seen(row, line, value)
        else:
            numbers = True
    return SampleColumn(name, text, missing, numbers)


def _read_csv(file: str, text: str) -> tuple[list[Mapping[str, Any]], list[int]]:
    """The rows, and their lines."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = next(reader, [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or not all(name.strip() for name in header):
        problem = f"two columns {twice[0]}" if twice else "a column without a name"
        raise UsageError(f"{file}:1: there is {problem}", fix=f"write {_SHAPE}")
    if header and all(isinstance(_parse(name), float) for name in header):
        raise UsageError(f"{file}:1: the first line holds numbers, not column names", fix=f"write {_SHAPE}")
    rows: list[Mapping[str, Any]] = []
    lines = []
    for record in reader:
        if record and len(record) != len(header):
            raise UsageError(
                f"{file}:{reader.line_num}: {len(record)} values for {len(header)} columns",
                fix=f"write {_SHAPE}",
            )
        if record:
            rows.append(dict(zip(header, map(_parse, record), strict=True)))
            lines.append(reader.line_num)
    return rows, lines


def _parse(field: str) -> float | str:
    """A field of a CSV as the step reads it: a number, as truths are; NaN where it is empty; or a text."""
    if field.strip() in _EMPTY:
        return math.nan
    if field.strip().lower() in ("true", "false"):
        return float(field.strip().lower() == "true")
    try:
        return float(field)
    except ValueError:
        return field


def _read_json(file: str, text: str) -> tuple[list[Mapping[str, Any]], list[int]]:
    """The rows, null as NaN, and no lines."""
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}", fix=f"write {_SHAPE}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row for row in rows):
        raise UsageError(f"{file} is no list of objects", fix=f"write {_SHAPE}")
    for number, row in enumerate(rows, 1):
        if set(row) != set(rows[0]):
            other = sorted(set(row) ^ set(rows[0]))
            raise UsageError(
                f"{file}: row {number} differs in {', '.join(other)}", fix="give each row all columns"
            )
        nested = [name for name, value in row.items() if isinstance(value, list | dict)]
        if nested:
            raise UsageError(
                f"{file}: row {number}: {nested[0]} is neither number nor text", fix=f"write {_SHAPE}"
            )
    plain: list[Mapping[str, Any]] = [
        {name: math.nan if value is None else value for name, value in row.items()} for row in rows
    ]
    return plain, [0] * len(rows)
