"""What columns take: literals in, literals out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgeferry.domain.column import find_reader, parse_value, takes, wants, with_ranges
from edgeferry.domain.model import Column


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        pytest.param("double", 1.5, 1.5, id="a double"),
        pytest.param("double", 2, 2.0, id="a whole number for a double"),
        pytest.param("float", -3.4e38, -3.4e38, id="a number of 32 bits"),
        pytest.param("long", 2, 2.0, id="a whole number"),
        pytest.param("long", 2.0, 2.0, id="a whole number written as a double"),
        pytest.param("long", -(2**63), -(2.0**63), id="the smallest of 64 bits"),
        pytest.param("long", 2**63 - 1, 2.0**63, id="the largest of 64 bits"),
        pytest.param("integer", 2**31 - 1, 2147483647.0, id="the largest of 32 bits"),
        pytest.param("boolean", True, 1.0, id="true"),
        pytest.param("boolean", 0.0, 0.0, id="zero for false"),
        pytest.param("string", "grüße", "grüße", id="a text"),
        pytest.param("binary", "AP8=", "AP8=", id="bytes stay in base64"),
        pytest.param("tensor", 1.5, 1.5, id="an unknown type is a number"),
    ],
)
def test_what_a_column_takes(kind: str, value: Any, read: Any) -> None:
    found = find_reader(Column("x", kind))(value)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        pytest.param("double", None, "a finite number", id="null"),
        pytest.param("double", "1.5", "a finite number", id="a text for a number"),
        pytest.param("double", True, "a finite number", id="true for a number"),
        pytest.param("double", math.inf, "a finite number", id="infinity"),
        pytest.param("double", 10**309, "a finite number", id="too large for a double"),
        pytest.param("float", 3.5e38, "a number of 32 bits", id="too large for 32 bits"),
        pytest.param("long", 1.5, "a whole number", id="a fraction"),
        pytest.param("long", 2**63, "a whole number of 64 bits", id="too large for 64 bits"),
        pytest.param("integer", -(2**31) - 1, "a whole number of 32 bits", id="too small for 32 bits"),
        pytest.param("boolean", 2, "true or false", id="two is no boolean"),
        pytest.param("boolean", [], "true or false", id="a list is no boolean"),
        pytest.param("string", 1, "a text", id="a number for a text"),
        pytest.param("string", "\ud800", "a text of Unicode characters", id="half a pair"),
        pytest.param("string", None, "a text", id="null for a text"),
        pytest.param("binary", "AP8", "base64", id="base64 cut short"),
        pytest.param("binary", "é", "base64", id="no base64"),
    ],
)
def test_what_a_column_does_not_take(kind: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        find_reader(Column("x", kind))(value)
    assert not takes(Column("x", kind), value)


def test_null_is_nan_where_values_may_be_missing_and_nothing_else_changes() -> None:
    column = Column("x", "long", missing=True)
    assert math.isnan(find_reader(column)(None))
    assert find_reader(column)(2) == 2.0
    assert not takes(column, 1.5)
    assert not takes(column, math.nan)
    assert not takes(Column("x", "string", missing=True), None)
    assert wants(column) == "a whole number such as 2, or null"


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        pytest.param(Column("x", "double"), " 1e3 ", 1000.0, id="a number"),
        pytest.param(Column("x", "boolean"), "False", 0.0, id="pandas writes False"),
        pytest.param(Column("x", "string"), " a ", " a ", id="a text stays as it is"),
        pytest.param(Column("x", "binary"), "AP8=", "AP8=", id="bytes stay in base64"),
    ],
)
def test_a_field_of_a_csv(column: Column, text: str, value: Any) -> None:
    assert parse_value(column, text) == value


@pytest.mark.parametrize("text", ["", "nan"])
def test_an_empty_field_is_missing_where_it_may_be(text: str) -> None:
    assert math.isnan(float(parse_value(Column("x", "double", missing=True), text)))
    with pytest.raises(ValueError, match=r"could not convert|finite"):
        parse_value(Column("x", "double"), text)


def test_ranges_are_those_of_the_numbers_that_are_there() -> None:
    columns = [Column("a", "double"), Column("b", "double", missing=True), Column("c", "string")]
    rows = [(1.5, math.nan, "x"), (-2.0, math.nan, "y"), (0.0, math.nan, "z")]
    assert with_ranges(columns, rows) == (
        Column("a", "double", -2.0, 1.5),
        Column("b", "double", missing=True),
        Column("c", "string"),
    )
