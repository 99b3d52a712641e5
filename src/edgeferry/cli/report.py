"""Reports for CI systems: how devices answered, as a JUnit file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.domain.rollout import Outcome, State
from edgeferry.wire.junit import Case, Problem
from edgeferry.wiring import open_folder
from edgeferry.workflows.smoke import SmokeResult

JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Also write a JUnit report: one test case per device."),
]


def write_report(file: Path | None, text: str) -> None:
    """The report is in `file`, where one was asked for."""
    if file is not None:
        open_folder(file.parent).write(file.name, text)


def outcome_case(model: str, outcome: Outcome) -> Case:
    """A device's end of a rollout: only Succeeded passes; Failed is a failure, any other word an error."""
    latency_s = outcome.verdict.latency_ms / 1000 if outcome.verdict else 0.0
    if outcome.state is State.SUCCEEDED:
        return Case(model, outcome.device, latency_s)
    problem: Problem = "failure" if outcome.state is State.FAILED else "error"
    return Case(model, outcome.device, latency_s, problem, str(outcome.state), outcome.reason)


def smoke_case(model: str, result: SmokeResult) -> Case:
    """A device's smoke test: a failed one is a failure, one without an answer an error."""
    latency_s = result.verdict.latency_ms / 1000 if result.verdict else 0.0
    if result.passed:
        return Case(model, result.device, latency_s)
    problem: Problem = "failure" if result.state == "Failed" else "error"
    return Case(model, result.device, latency_s, problem, result.state, result.reason)
