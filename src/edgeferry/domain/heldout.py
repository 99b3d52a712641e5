"""The held-out rows of a pipeline and its own predictions for them. Pure; the text is RFC 4180 CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.column import Value, parse_value, wants
from edgeferry.domain.model import Column
from edgeferry.errors import DefinitionError

Row = tuple[Any, ...]
"""Values of a row: each a `Value`."""


@dataclass(frozen=True)
class HeldOut:
    """Rows the model was not trained on, in the order of its columns, and the pipeline's predictions."""

    rows: tuple[Row, ...]
    predictions: tuple[Value, ...]
    """Numbers, or texts of a model that answers with those."""


def parse_held_out(
    text: str, columns: Sequence[Column], prediction_column: str, file: str, answers: str = "double"
) -> HeldOut:
    """The rows and predictions, of the column type `answers`, in the CSV `text`; other columns are passed
    over. Bytes are in base64.

    DefinitionError naming `file` and the column that is missing, or the line whose value is not of its
    column's type, or whose prediction is no finite number, or a file without rows.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = next(reader, [])
    sought = [*columns, Column(prediction_column, answers)]
    wanted = [column.name for column in sought]
    for name in wanted:
        if header.count(name) != 1:
            found = "no column" if name not in header else "more than one column"
            raise DefinitionError(
                f"the held-out file has {found} {name}",
                fix=f"write the columns {', '.join(wanted)}",
                file=file,
                line=1,
            )
    places = [header.index(name) for name in wanted]
    rows: list[Row] = []
    predictions: list[Value] = []
    for record in reader:
        if not record:
            continue
        *row, prediction = (
            _read(record, place, column, file, reader.line_num)
            for place, column in zip(places, sought, strict=True)
        )
        rows.append(tuple(row))
        predictions.append(prediction)
    if not rows:
        raise DefinitionError(
            "the held-out file has no rows", fix="let the pipeline write its test rows", file=file, line=1
        )
    return HeldOut(tuple(rows), tuple(predictions))


def _read(record: list[str], place: int, column: Column, file: str, line: int) -> Value:
    try:
        return parse_value(column, record[place])
    except (IndexError, ValueError) as error:
        shown = repr(record[place]) if place < len(record) else "missing"
        fix = f"the model's signature wants {wants(column)}; leave rows out that a request cannot carry"
        if not column.missing and shown in ("''", "'nan'", "'NaN'"):
            fix += ", or write `missing: allow` in model.yaml if the model takes missing values"
        raise DefinitionError(
            f"column {column.name} is {shown}, not of type {column.type}", fix=fix, file=file, line=line
        ) from error
