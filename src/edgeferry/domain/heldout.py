"""The held-out rows of a pipeline and its own predictions for them. Pure; the text is RFC 4180 CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.errors import DefinitionError

Row = tuple[float, ...]


@dataclass(frozen=True)
class HeldOut:
    """Rows the model was not trained on, in the order of its columns, and the pipeline's predictions."""

    rows: tuple[Row, ...]
    predictions: tuple[float, ...]


def parse_held_out(text: str, columns: Sequence[str], prediction_column: str, file: str) -> HeldOut:
    """The rows and predictions in the CSV `text`; other columns are passed over.

    DefinitionError naming `file` and the column that is missing, or the line whose value is no finite
    number, or a file without rows.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = next(reader, [])
    wanted = [*columns, prediction_column]
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
    rows, predictions = [], []
    for record in reader:
        if not record:
            continue
        values = [_number(record, place, header, file, reader.line_num) for place in places]
        rows.append(tuple(values[:-1]))
        predictions.append(values[-1])
    if not rows:
        raise DefinitionError(
            "the held-out file has no rows", fix="let the pipeline write its test rows", file=file, line=1
        )
    return HeldOut(tuple(rows), tuple(predictions))


def _number(record: list[str], place: int, header: list[str], file: str, line: int) -> float:
    try:
        value = float(record[place])
    except (IndexError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        shown = repr(record[place]) if place < len(record) else "missing"
        raise DefinitionError(
            f"column {header[place]} is {shown}, no finite number",
            fix="leave such rows out of the held-out file: a request to the model cannot carry them",
            file=file,
            line=line,
        )
    return value
