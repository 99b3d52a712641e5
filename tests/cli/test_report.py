"""What devices answered, as cases of a report: only proof passes."""

from __future__ import annotations

import pytest

from edgeferry.cli.report import outcome_case, smoke_case
from edgeferry.domain.rollout import Outcome, State
from edgeferry.workflows.smoke import SmokeResult


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (State.SUCCEEDED, ""),
        (State.FAILED, "failure"),
        (State.TIMED_OUT, "error"),
        (State.UNREACHABLE, "error"),
        (State.INCONCLUSIVE, "error"),
        (State.SKIPPED, "error"),
        (State.REVERTED, "error"),
        (State.PENDING, "error"),
    ],
)
def test_an_outcome_passes_only_when_it_succeeded(state: State, problem: str) -> None:
    case = outcome_case("nyc_taxi", Outcome("device-1", state, "why"))
    assert (case.problem, case.device) == (problem, "device-1")


@pytest.mark.parametrize(
    ("passed", "state", "problem"),
    [
        (True, "Passed", ""),
        (False, "Failed", "failure"),
        (False, "Inconclusive", "error"),
        (False, "Passed", "error"),
    ],
)
def test_a_smoke_test_passes_only_when_it_passed(passed: bool, state: str, problem: str) -> None:
    assert smoke_case("nyc_taxi", SmokeResult("device-1", passed, state, "why")).problem == problem
