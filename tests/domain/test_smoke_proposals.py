"""What a model's own answers propose."""

from __future__ import annotations

import pytest
import yaml

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke_checks import parse_checks
from edgeferry.domain.smoke_proposals import plan_probes, propose, spread
from edgeferry.wire.checks import render_checks

ROWS = tuple((float(n), float(n % 3), 4.0, float(n % 2)) for n in range(30))
COLUMNS = ("distance", "hour of day", "constant", "night")
TIGHT = Tolerance(1e-9, 0.0)


def test_each_column_with_two_values_is_varied_alone_in_the_first_row_and_in_others() -> None:
    probes = plan_probes(ROWS, COLUMNS)
    assert [probe.column for probe in probes] == ["distance", "hour of day", "night"]
    assert probes[0].values == (0.0, 7.0, 14.0, 22.0, 29.0)
    assert probes[0].rows[0] == tuple((value, 0.0, 4.0, 0.0) for value in probes[0].values)
    assert len(probes[0].rows) == 8
    assert all(row[0] in probes[0].values for rows in probes[0].rows for row in rows)


@pytest.mark.parametrize(
    ("answers", "shape"),
    [
        pytest.param([[1, 2, 3], [1, 1, 2]], "increasing", id="rises or is level"),
        pytest.param([[3, 2, 1], [3, 3, 3]], "decreasing", id="falls or is level"),
        pytest.param([[1, 2, 3], [3, 2, 1]], "changes", id="rises here, falls there"),
        pytest.param([[1, 1, 1], [1, 1, 1]], "ignored", id="always level"),
        pytest.param([[1, 1, 1], [1, 2, 1]], "ignored", id="level in the row that checks vary"),
    ],
)
def test_the_shape_of_answers(answers: list[list[float]], shape: str) -> None:
    probe = plan_probes(ROWS, COLUMNS)[1]
    assert propose(probe, answers, TIGHT).shape == shape


def test_the_file_is_one_that_the_rules_take_and_holds_what_was_found() -> None:
    shapes = [[[1.0, 2.0, 3.0, 4.0, 5.0]], [[3.0, 1.0, 2.0]], [[1.0, 1.0]]]
    found = [
        propose(probe, said, TIGHT) for probe, said in zip(plan_probes(ROWS, COLUMNS), shapes, strict=True)
    ]
    text = render_checks("taxi", "3", found, (1.5, 9.0), ROWS[:2], "device-1")
    checks = yaml.safe_load(text)
    cases = parse_checks(checks, COLUMNS, ROWS[0])
    assert [case.id for case in cases] == [
        "rises-with-distance",
        "looks-at-hour of day",
        "as-asked-on-device-1",
    ]
    assert "# No difference was seen along: night" in text
    assert "within 1.5 and 9" in text


def test_spread_includes_both_ends() -> None:
    assert spread(range(100), 3) == (0, 50, 99)
    assert spread((1, 2), 5) == (1, 2)
