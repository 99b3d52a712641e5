"""The forms in which captures are given out, batch by batch: any number of them takes the same memory. And
where they go: stdout, or a file that is there only once it is whole."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol

from edgeferry.cli.console import disarm, disarm_json
from edgeferry.cli.progress import PROGRESS
from edgeferry.errors import UsageError
from edgeferry.ports import Sheet
from edgeferry.wire.capture_table import Table, choose_table, tabulate
from edgeferry.wiring import open_parquet
from edgeferry.workflows.captures import Batch


class Form(StrEnum):
    """How captures are given out."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class Writer(Protocol):
    """What takes batches in one form."""

    def add(self, batch: Batch) -> None:
        """The batch's records are part of it."""

    def end(self) -> None:
        """It is whole."""


@dataclass(frozen=True)
class Destination:
    """Where a form goes."""

    file: IO[bytes]
    is_shown: bool
    """It may end in the log of a pipeline's step, rather than in a file."""


@contextmanager
def open_destination(to: Path | None, form: Form) -> Iterator[Destination]:
    """Stdout, or with `to` a file beside it that is renamed when the block ends well, and is gone when not.

    UsageError for a form that a terminal does not take, and for a file that cannot be written.
    """
    if to is None:
        if form is Form.PARQUET and sys.stdout.isatty():
            raise UsageError("parquet is no text", fix="name a file with --to, or pipe it into a program")
        with _stdout() as destination:
            yield destination
        return
    draft = ""
    try:
        handle, draft = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
        with os.fdopen(handle, "wb") as file:
            yield Destination(file, is_shown=False)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, to)
        draft = ""
    except OSError as error:
        problem = f"{to} cannot be written: {error.strerror or error}"
        raise UsageError(problem, fix="name a file in a folder that you may write to") from error
    finally:
        if draft:
            Path(draft).unlink(missing_ok=True)


def open_writer(form: Form, destination: Destination, first: Sequence[Batch]) -> Writer:
    """What writes records in that form; the columns of tables are chosen from the `first` batches."""
    if form is Form.JSON:
        return _Json(destination)
    table = choose_table((each.record, each.columns) for batch in first for each in batch.fetched)
    if form is Form.PARQUET:
        return _Lines(open_parquet(table, destination.file), table)
    return _Lines(_Csv(table.names, destination), table)


def print_csv(names: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """A table that is known whole, on stdout."""
    with _stdout() as destination:
        _Csv(names, destination).add(lines)


@contextmanager
def _stdout() -> Iterator[Destination]:
    """At a terminal, nothing else is shown there meanwhile."""
    with PROGRESS.quiet() if sys.stdout.isatty() else nullcontext():
        yield Destination(sys.stdout.buffer, is_shown=True)
        sys.stdout.buffer.flush()


class _Lines:
    """Records as lines of a table."""

    def __init__(self, sheet: Sheet, table: Table) -> None:
        self._sheet = sheet
        self._table = table

    def add(self, batch: Batch) -> None:
        self._sheet.add(
            [
                line
                for each in batch.fetched
                for line in tabulate(batch.device, each.record, each.columns, self._table)
            ]
        )

    def end(self) -> None:
        self._sheet.end()


class _Csv:
    """CSV in UTF-8 (RFC 4180, with line feeds): empty cells for what is not there, numbers as in JSON."""

    def __init__(self, names: Sequence[str], destination: Destination) -> None:
        self._destination = destination
        self._writer = csv.writer(self, lineterminator="\n")
        self._writer.writerow(names)

    def add(self, lines: Sequence[Sequence[object]]) -> None:
        self._writer.writerows(
            ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in line]
            for line in lines
        )

    def write(self, text: str) -> None:
        shown = disarm(text) if self._destination.is_shown else text
        self._destination.file.write(shown.encode())

    def end(self) -> None:
        pass


class _Json:
    """A JSON list, a record a line; inputs and output exactly as they were stored."""

    def __init__(self, destination: Destination) -> None:
        self._file = destination.file
        self._between = b"[\n"

    def add(self, batch: Batch) -> None:
        for each in batch.fetched:
            record = each.record
            head = {
                "device": batch.device,
                "model": record.model,
                "sequence": record.sequence,
                "at": record.at,
                "purpose": record.purpose,
                "id": record.id,
                "version": record.version,
                "digest": record.digest,
                "status": record.status,
                "latency_ms": record.latency_ms,
                "columns": each.columns or None,
            }
            text = f'{json.dumps(head)[:-1]}, "inputs": {record.inputs}, "output": {record.output}}}'
            self._file.write(self._between + disarm_json(text).encode())
            self._between = b",\n"

    def end(self) -> None:
        self._file.write(b"[]\n" if self._between == b"[\n" else b"\n]\n")
