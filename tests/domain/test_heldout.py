"""The held-out file: literals in, literals out."""

from __future__ import annotations

import pytest

from edgeferry.domain.heldout import HeldOut, parse_held_out
from edgeferry.domain.model import Column
from edgeferry.errors import DefinitionError

COLUMNS = [Column("distance", "double"), Column("hour", "long")]


def read(text: str) -> HeldOut:
    return parse_held_out(text, COLUMNS, "predicted", "predictions.csv")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("distance,hour,predicted\n1.5,7,12.25\n-2e-3,8,0\n", id="in order"),
        pytest.param("predicted,fare,hour,distance\n12.25,9,7,1.5\n0,9,8,-0.002\n", id="in another order"),
        pytest.param("\ufeffdistance,hour,predicted\r\n1.5,7,12.25\r\n\r\n-0.002,8,0\r\n", id="from Windows"),
    ],
)
def test_rows_come_in_the_order_of_the_models_columns(text: str) -> None:
    assert read(text) == HeldOut(rows=((1.5, 7.0), (-0.002, 8.0)), predictions=(12.25, 0.0))


def test_answers_that_are_texts_stay_as_they_are() -> None:
    text = "distance,hour,predicted\n1,2,07\n1,3,worn out\n"
    assert parse_held_out(text, COLUMNS, "predicted", "p.csv", "string").predictions == ("07", "worn out")


def test_doubles_survive_to_the_last_digit() -> None:
    value = 0.1 + 0.2
    assert read(f"distance,hour,predicted\n{value!r},1,2\n").rows[0][0] == value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("distance,predicted\n1,2\n", 1, "no column hour", id="column missing"),
        pytest.param("distance,hour\n1,2\n", 1, "no column predicted", id="prediction missing"),
        pytest.param("hour,distance,hour,predicted\n", 1, "more than one column hour", id="column twice"),
        pytest.param("distance,hour,predicted\n1,2,3\n1,,3\n", 3, "column hour is ''", id="empty value"),
        pytest.param("distance,hour,predicted\n1,x,3\n", 2, "column hour is 'x'", id="word"),
        pytest.param("distance,hour,predicted\n1,2,nan\n", 2, "column predicted is 'nan'", id="NaN"),
        pytest.param("distance,hour,predicted\n1,2\n", 2, "column predicted is missing", id="short line"),
        pytest.param("distance,hour,predicted\n", 1, "no rows", id="header only"),
        pytest.param("", 1, "no column distance", id="empty file"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DefinitionError, match=words) as caught:
        read(text)
    assert (caught.value.file, caught.value.line) == ("predictions.csv", line)
    assert caught.value.fix
