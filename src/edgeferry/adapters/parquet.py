"""Captures as an Apache Parquet file, by pyarrow: columns with types, compressed, a row group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import IO, Any

from edgeferry.errors import UsageError
from edgeferry.wire.capture_table import BOOLEAN, STRING, Cell, Table

_GROUP_ROWS = 65_536
_GROUP_BYTES = 32_000_000
_TIME = "at"


class ParquetSheet:
    """A table that is written to `file`, a binary one that need not seek, with a row group at most in memory.
    UsageError where pyarrow is not installed."""

    def __init__(self, table: Table, file: IO[bytes]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UsageError("pyarrow is not installed", fix="pip install 'edgeferry[parquet]'") from error
        self._arrow: Any = pyarrow
        self._schema = pyarrow.schema(_fields(pyarrow, table))
        sink = pyarrow.PythonFile(_Counted(file), mode="w")
        self._writer = pyarrow.parquet.ParquetWriter(sink, self._schema, compression="zstd")
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0

    def add(self, lines: Sequence[Sequence[Cell]]) -> None:
        """More lines, a cell for each name of the table."""
        if not lines:
            return
        time = self._schema.get_field_index(_TIME)
        cells: list[Sequence[Any]] = list(zip(*lines, strict=True))
        cells[time] = [datetime.fromisoformat(str(text)) for text in cells[time]]
        arrays = [
            self._arrow.array(column, type=kind)
            for column, kind in zip(cells, self._schema.types, strict=True)
        ]
        batch = self._arrow.record_batch(arrays, schema=self._schema)
        self._waiting.append(batch)
        self._rows, self._bytes = self._rows + batch.num_rows, self._bytes + batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write()

    def end(self) -> None:
        """The file is whole."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting))
        self._waiting, self._rows, self._bytes = [], 0, 0


class _Counted:
    """A file that knows how much was written to it, where a pipe does not."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Who opened the file closes it."""


def _fields(arrow: Any, table: Table) -> list[Any]:
    ours = {
        "sequence": arrow.int64(),
        "row": arrow.int32(),
        _TIME: arrow.timestamp("us", tz="UTC"),
        "status": arrow.int16(),
        "latency_ms": arrow.float64(),
    }
    kinds = {BOOLEAN: arrow.bool_(), STRING: arrow.string()}
    types = {name: kinds.get(kind, arrow.float64()) for name, kind in table.kinds.items()}
    return [arrow.field(name, ours.get(name) or types[name]) for name in table.names]
