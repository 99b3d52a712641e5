"""Comparing answers with the pipeline's own: literals in, literals out."""

from __future__ import annotations

import math

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.verification import Comparison, choose_rows, compare, shorten

EXACT = Tolerance(1e-9, 0.0)


def test_answers_within_the_tolerance_are_no_problem_and_are_measured() -> None:
    found = compare([1, 2], [10.0, 4.000000001], [10.0, 4.0], EXACT, "in a batch")
    assert found.problems == ()
    assert found.worst_absolute == pytest.approx(1e-9, rel=1e-3)
    assert found.worst_relative == pytest.approx(2.5e-10, rel=1e-3)


def test_a_wrong_answer_is_named_with_row_both_values_and_difference() -> None:
    found = compare([7, 8], [10.0, 4.5], [10.0, 4.0], EXACT, "in a batch")
    assert found.problems == ("row 8: expected 4.0, answered 4.5, difference 0.5 (in a batch)",)
    assert (found.worst_relative, found.worst_absolute) == (0.125, 0.5)


def test_an_expected_zero_is_compared_absolutely() -> None:
    assert compare([1], [1e-6], [0.0], Tolerance(1e-9, 1e-5), "singly").problems == ()
    assert compare([1], [1e-4], [0.0], Tolerance(1e-9, 1e-5), "singly").problems != ()


@pytest.mark.parametrize("answers", [[1.0], [1.0, 2.0, 3.0], []])
def test_another_number_of_answers_is_one_problem(answers: list[float]) -> None:
    problem = f"rows 3 to 4: {len(answers)} answers to 2 rows (in a batch)"
    assert compare([3, 4], answers, [1.0, 2.0], EXACT, "in a batch") == Comparison((problem,), 0.0, 0.0)


def test_a_text_is_right_or_wrong() -> None:
    found = compare([1, 2], ["fine", "worn"], ["fine", "fine"], Tolerance(1.0, 1.0), "alone")
    assert found.problems == ("row 2: expected 'fine', answered 'worn' (alone)",)
    assert compare([1], ["1.0"], [1.0], Tolerance(1.0, 1.0), "alone").problems


def test_a_nan_never_counts_as_equal() -> None:
    assert compare([1], [math.nan], [1.0], EXACT, "singly").problems


def test_many_problems_are_shortened_and_the_rest_is_counted() -> None:
    problems = [f"row {number}" for number in range(1, 31)]
    assert shorten(problems[:20]) == tuple(problems[:20])
    assert shorten(problems) == (*problems[:19], "and 11 more")


@pytest.mark.parametrize(
    ("count", "most", "rows"),
    [
        pytest.param(3, 5, (0, 1, 2), id="few rows are all asked"),
        pytest.param(10, 4, (0, 3, 6, 9), id="spread from first to last"),
        pytest.param(9, 1, (0,), id="one"),
        pytest.param(0, 5, (), id="none"),
    ],
)
def test_rows_to_ask_singly_are_spread_evenly(count: int, most: int, rows: tuple[int, ...]) -> None:
    assert choose_rows(count, most) == rows
