"""The forms of `edgeferry captures`, from batches as a device's pages give them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet as pq
import pytest

from edgeferry.cli import captures
from edgeferry.cli.capture_forms import Destination, Form, open_destination, open_writer
from edgeferry.cli.console import Output, Terminal
from edgeferry.domain.capture import Record
from edgeferry.errors import OutsideError, UsageError
from edgeferry.ports import Services
from edgeferry.workflows.captures import Batch, Fetched, Wanted


def batch(first: int, count: int, device: str = "device-1") -> Batch:
    records = [
        Record(
            sequence=number,
            purpose="user",
            id=f"##vso[{number}]",
            at=f"2026-11-27T20:00:00.{number:06d}Z",
            model="taxi",
            version="3",
            digest="sha256:1",
            status=200,
            latency_ms=0.25,
            inputs=f'[[{number}, "a"], [0.5, null]]',
            output=f"[{number}.5, 1]",
        )
        for number in range(first, first + count)
    ]
    fetched = tuple(Fetched(record, ("distance", "name")) for record in records)
    return Batch(device, fetched, 0, str(first + count - 1), 0, 0)


def write(form: Form, file: Any, batches: list[Batch], *, is_shown: bool = False) -> None:
    writer = open_writer(form, Destination(file, is_shown), batches[:1])
    for each in batches:
        writer.add(each)
    writer.end()


def test_parquet_has_typed_columns_and_a_row_for_each_row() -> None:
    file = io.BytesIO()
    write(Form.PARQUET, file, [batch(1, 2), batch(3, 1, "device-2")])
    table = pq.read_table(io.BytesIO(file.getvalue()))
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    wanted = {"at": "timestamp[us, tz=UTC]", "sequence": "int64", "distance": "double", "name": "string"}
    assert kinds.items() >= {**wanted, "output": "double", "row": "int32", "status": "int16"}.items()
    rows = table.to_pylist()
    found = [(row["sequence"], row["row"], row["distance"], row["name"], row["output"]) for row in rows]
    assert found[:3] == [(1, 1, 1.0, "a", 1.5), (1, 2, 0.5, None, 1.0), (2, 1, 2.0, "a", 2.5)]
    assert rows[0]["at"] == datetime(2026, 11, 27, 20, 0, 0, 1, UTC)
    assert rows[-1]["device"] == "device-2"


def test_parquet_goes_through_a_pipe_and_may_be_empty() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as file:
        write(Form.PARQUET, file, [Batch("device-1", (), 0, "0", 0, 0)])
    with open(reading, "rb") as file:
        assert pq.read_table(io.BytesIO(file.read())).num_rows == 0


def test_csv_has_the_columns_by_name() -> None:
    file = io.BytesIO()
    write(Form.CSV, file, [batch(1, 1)])
    rows = list(csv.DictReader(io.StringIO(file.getvalue().decode())))
    found = [(row["row"], row["distance"], row["name"], row["output"], row["inputs_json"]) for row in rows]
    assert found == [("1", "1", "a", "1.5", ""), ("2", "0.5", "", "1", "")]
    assert rows[0]["id"] == "##vso[1]"


def test_json_is_one_list_with_what_was_stored() -> None:
    file = io.BytesIO()
    write(Form.JSON, file, [batch(1, 2)])
    first, second = json.loads(file.getvalue())
    assert (first["inputs"], second["output"]) == ([[1, "a"], [0.5, None]], [2.5, 1])
    assert first["columns"] == ["distance", "name"]
    empty = io.BytesIO()
    write(Form.JSON, empty, [Batch("device-1", (), 0, "0", 0, 0)])
    assert json.loads(empty.getvalue()) == []


@pytest.mark.parametrize("form", [Form.JSON, Form.CSV])
def test_no_order_to_a_pipelines_agent_is_shown(form: Form) -> None:
    file = io.BytesIO()
    write(form, file, [batch(1, 1)], is_shown=True)
    assert b"##vso[" not in file.getvalue()


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "week.parquet"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with open_destination(path, Form.PARQUET) as destination:
            open_writer(Form.PARQUET, destination, []).add(batch(1, 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [each.name for each in tmp_path.iterdir()] == ["week.parquet"]
    assert path.read_bytes() == b"before"
    with open_destination(path, Form.PARQUET) as destination:
        write(Form.PARQUET, destination.file, [batch(1, 5)])
    assert pq.read_table(path).num_rows == 10
    with (
        pytest.raises(UsageError, match=r"no/x\.csv cannot be written"),
        open_destination(tmp_path / "no" / "x.csv", Form.CSV),
    ):
        pass


def test_memory_holds_a_row_group_and_no_more() -> None:
    file = io.BytesIO()
    many = batch(1, 1000)
    before = pyarrow.total_allocated_bytes()
    writer = open_writer(Form.PARQUET, Destination(file, False), [many])
    most = 0
    for _ in range(70):
        writer.add(many)
        most = max(most, pyarrow.total_allocated_bytes() - before)
    writer.end()
    assert most < 40_000_000
    assert pq.ParquetFile(io.BytesIO(file.getvalue())).num_row_groups == 3


def test_a_device_that_stops_amid_its_records_keeps_none_back_and_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def streamed(services: Any, name: str, model: str, wanted: Wanted) -> Iterator[Batch]:
        yield batch(1, 2, name)
        if name == "device-1":
            raise OutsideError("device-1 does not answer", fix="look at it")
        yield batch(3, 1, name)

    monkeypatch.setattr(captures, "stream_captures", streamed)
    names, file, services = ["device-1", "device-2"], tmp_path / "all.csv", cast(Services, None)
    terminal = Terminal(Output.TABLE)
    (problem,) = captures._give_out(services, names, "taxi", Wanted(), Form.CSV, file, terminal)
    assert (problem.exit_code, problem.problem) == (3, "device-1 does not answer")
    assert problem.fix == "look at it; then go on with --device device-1 --after 2"
    with file.open(newline="") as lines:
        kept = [(row["device"], row["sequence"], row["row"]) for row in csv.DictReader(lines)]
    wanted = [("device-1", 2), ("device-2", 3)]
    assert kept == [(name, str(n), r) for name, most in wanted for n in range(1, most + 1) for r in "12"]
    assert f"5 records in {file}" in capsys.readouterr().err
