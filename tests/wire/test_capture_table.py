"""Captures as lines of a table, of which nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeferry.domain.capture import Record
from edgeferry.wire.capture_table import Table, choose_table, tabulate

NAMES = ("distance", "name")
TABLE = Table({"distance": "double", "name": "string"})


def record(inputs: Any, output: Any, status: int = 200) -> Record:
    at = "2026-11-27T20:00:00.000001Z"
    said = json.dumps(inputs), json.dumps(output)
    return Record(7, "user", "a", at, "taxi", "3", "sha256:1", status, 0.5, *said)


def cells(inputs: Any, output: Any, table: Table = TABLE, names: tuple[str, ...] = NAMES) -> list[Any]:
    """(row, the columns, output, output_json, inputs_json) of each line."""
    lines = [
        dict(zip(table.names, line, strict=True))
        for line in tabulate("device-1", record(inputs, output), names, table)
    ]
    assert all((line["device"], line["sequence"], line["version"]) == ("device-1", 7, "3") for line in lines)
    wanted = ("row", *table.columns, "output", "output_json", "inputs_json")
    return [tuple(line[name] for name in wanted) for line in lines]


@pytest.mark.parametrize(
    ("inputs", "output", "lines"),
    [
        pytest.param([[1.5, "a"]], [9], [(1, 1.5, "a", 9, None, None)], id="one row"),
        pytest.param(
            [[1, "a"], [2, None]],
            [9, 8.5],
            [(1, 1, "a", 9, None, None), (2, 2, None, 8.5, None, None)],
            id="two rows, and a missing value",
        ),
        pytest.param(
            {"data": [{"name": "a"}]}, {"result": [9]}, [(1, None, "a", 9, None, None)], id="a script's"
        ),
        pytest.param([[1, "a"]], None, [(1, 1, "a", None, None, None)], id="redacted output"),
        pytest.param([[1, "a"]], {"error": 1}, [(1, 1, "a", None, '{"error": 1}', None)], id="failure"),
        pytest.param([[1, "a"]], ["x"], [(1, 1, "a", None, '"x"', None)], id="another kind of answer"),
        pytest.param(
            [[1, "a"], [2, "b"]],
            [9],
            [(None, None, None, None, "[9]", '[[1, "a"], [2, "b"]]')],
            id="too few answers",
        ),
        pytest.param(
            [["1", "a"]], [9], [(None, None, None, None, "[9]", '[["1", "a"]]')], id="another kind of value"
        ),
        pytest.param(
            [[2**53 + 1, "a"]],
            [9],
            [(None, None, None, None, "[9]", '[[9007199254740993, "a"]]')],
            id="no double holds it",
        ),
        pytest.param("text", [9], [(None, None, None, None, "[9]", '"text"')], id="no rows"),
        pytest.param([[1]], [9], [(None, None, None, None, "[9]", "[[1]]")], id="another length"),
    ],
)
def test_a_line_for_each_row_or_the_record_as_it_is(inputs: Any, output: Any, lines: list[Any]) -> None:
    assert cells(inputs, output) == lines


def test_without_names_a_record_is_one_line() -> None:
    assert cells([[1, "a"]], [9], names=()) == [(None, None, None, None, "[9]", '[[1, "a"]]')]


def test_columns_have_the_kind_of_what_was_seen() -> None:
    samples = [
        (record([[1, None, True, 1]], ["x"]), ("number", "unseen", "flag", "mixed")),
        (record([[2.5, None, False, "a"]], ["y"]), ("number", "unseen", "flag", "mixed")),
        (record([["b"]], ["z"]), ("later",)),
    ]
    wanted = {"number": "double", "unseen": "double", "flag": "boolean", "later": "string"}
    assert choose_table(samples) == Table(wanted, "string")


def test_a_column_with_one_of_our_names_gets_another() -> None:
    table = Table({"status": "double"})
    assert "input.status" in table.names
    assert len(set(table.names)) == len(table.names)
