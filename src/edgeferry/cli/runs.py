"""Commands `runs …`: training runs that go on without the command that submitted them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from edgeferry.cli.console import Output, Terminal, disarm, render_table
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, load, opened
from edgeferry.domain.run import RunRecord, RunState
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.workflows.train import LogLine, Trained, find_run
from edgeferry.workflows.train import wait as wait_for_run

RunArgument = Annotated[str, typer.Argument(help="A run, as `edgeferry runs list` shows it.")]
DeadlineOption = Annotated[
    float, typer.Option(min=0, help="Give up waiting after so many seconds; 0: as long as it takes.")
]
LogsOption = Annotated[bool, typer.Option("--logs/--no-logs", help="Show the steps' logs as they come.")]

_PLACE = "azureml"


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    runs = typer.Typer(
        no_args_is_help=True,
        help="Training runs on Azure ML, which go on without the command that submitted them.\n\n"
        "[bold]edgeferry train nyc_taxi --place azureml --no-wait[/bold] prints a run's id; "
        "[bold]edgeferry runs wait ID[/bold] takes it up again, from any shell of this project.",
    )
    for name, command in (
        ("list", list_runs),
        ("show", show),
        ("wait", wait),
        ("logs", logs),
        ("cancel", cancel),
    ):
        runs.command(name)(command)
    app.add_typer(runs, name="runs")


def list_runs(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """The runs submitted from this project, oldest first. Asks nobody: how one stands, `runs show` says.

    E.g. edgeferry runs list"""
    with opened(context, output) as (_, services, terminal):
        records = services.runs.list_all()
        rows = [[r.id, r.model, r.place, r.workspace, _when(r)] for r in records]
        table = render_table("Runs", ("run", "model", "place", "workspace", "submitted at"), rows)
        terminal.answer([record_facts(record) for record in records], [table] if records else ["no runs yet"])


def show(context: typer.Context, run: RunArgument, output: OutputOption = Output.TABLE) -> None:
    """Where a run and each of its steps stand.

    E.g. edgeferry runs show nyc_taxi-0123456789ab"""
    with _opened_at(context, run, output) as (services, record, terminal):
        state = services.place.poll(run)
        terminal.answer({**record_facts(record), **state_facts(state)}, state_lines(state))


def wait(
    context: typer.Context,
    run: RunArgument,
    logs: LogsOption = True,
    deadline: DeadlineOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Wait until a run ends, and say which model version it registered. Ctrl-C leaves the run going.

    E.g. edgeferry runs wait nyc_taxi-0123456789ab --deadline 3600"""
    with opened(context, output, train__place=_PLACE) as (settings, services, terminal):
        record = find_run(services, run)
        definition = services.project.load_model(record.model)
        trained = wait_for_run(services, definition, run, log_printer(terminal, logs), deadline)
        terminal.answer(trained_facts(record.model, trained), trained_lines(record.model, trained))
        remind_place(context, settings, terminal)


def logs(
    context: typer.Context,
    run: RunArgument,
    step: Annotated[str, typer.Argument(help="One step; default: all that have begun.")] = "",
) -> None:
    """What a run's steps have printed so far.

    E.g. edgeferry runs logs nyc_taxi-0123456789ab train"""
    with _opened_at(context, run, Output.TABLE) as (services, _, _terminal):
        known = [each.name for each in services.place.poll(run).steps]
        if step and step not in known:
            raise UsageError(f"the run {run} has no step {step}", fix=f"its steps: {', '.join(known)}")
        for name in [step] if step else known:
            text = services.place.logs(run, name, 0).decode("utf-8", "replace")
            with PROGRESS.quiet():
                for line in text.splitlines():
                    print(disarm(line if step else f"{name}: {line}"))


def cancel(context: typer.Context, run: RunArgument, output: OutputOption = Output.TABLE) -> None:
    """Ask a run to end.

    E.g. edgeferry runs cancel nyc_taxi-0123456789ab"""
    with _opened_at(context, run, output) as (services, _, terminal):
        services.place.cancel(run)
        state = services.place.poll(run)
        word = (
            f"{run} is {state.state}" if state.ended else f"{run} was asked to end: edgeferry runs show {run}"
        )
        terminal.answer(state_facts(state), [word])


def record_facts(record: RunRecord) -> dict[str, Any]:
    """A remembered run as JSON."""
    facts = {"run": record.id, "model": record.model, "place": record.place, "workspace": record.workspace}
    return {**facts, "submitted_at": _when(record), "inputs": dict(record.inputs)}


def state_facts(state: RunState) -> dict[str, Any]:
    """A run's state as JSON."""
    return {
        "run": state.id,
        "state": state.state,
        "reason": state.reason,
        "page": state.page,
        "steps": [
            {"step": s.name, "state": s.state, "seconds": round(s.seconds, 2), "reason": s.reason}
            for s in state.steps
        ],
    }


def state_lines(state: RunState) -> list[Table | str]:
    """A run's state as a table."""
    rows = [[s.name, s.state, f"{s.seconds:.1f}" if s.ended else "", s.reason] for s in state.steps]
    line = f"{state.id}: {state.state}" + (f" {state.page}" if state.page else "")
    return [render_table("Steps", ("step", "state", "seconds", "reason"), rows), line]


def trained_facts(model: str, trained: Trained) -> dict[str, Any]:
    """What training gave, as JSON."""
    version = trained.version
    return {
        "model": model,
        "version": version.version,
        "run_id": version.run_id,
        "created": trained.created,
        "metrics": dict(version.metrics),
        "steps": [
            {"step": s.name, "state": s.state, "seconds": round(s.seconds, 2)} for s in trained.run.steps
        ],
    }


def trained_lines(model: str, trained: Trained) -> list[Table | str]:
    """What training gave, as a table and a line."""
    version = trained.version
    rows = [[s.name, s.state, f"{s.seconds:.1f}"] for s in trained.run.steps]
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in sorted(version.metrics.items()))
    state = "registered" if trained.created else "unchanged"
    line = f"{model} version {version.version} ({state}): {metrics}"
    return [render_table("Steps", ("step", "state", "seconds"), rows), line]


def log_printer(terminal: Terminal, wanted: bool) -> LogLine | None:
    """Shows each line of a step's log as progress, where that is wanted."""
    return (lambda step, line: terminal.say(f"{step} | {line}")) if wanted else None


def remind_place(context: typer.Context, settings: Settings, terminal: Terminal) -> None:
    """Says how to go on when a version lies where the settings without this command's flag do not look."""
    place = settings["train.place"]
    if place != load(context)["train.place"] and settings.values["tracking.uri"].source == "default":
        terminal.say(
            f"the version is in the models of {place}: give package, verify, push and release "
            f"--place {place} too, or set train.place"
        )


@contextmanager
def _opened_at(
    context: typer.Context, run: str, output: Output
) -> Iterator[tuple[Services, RunRecord, Terminal]]:
    """The services where the run is, whatever `train.place` says."""
    with opened(context, output, train__place=_PLACE) as (_, services, terminal):
        yield services, find_run(services, run), terminal


def _when(record: RunRecord) -> str:
    """ISO 8601; empty when nobody remembers."""
    at = datetime.fromtimestamp(record.submitted_at, UTC)
    return at.isoformat(timespec="seconds") if record.submitted_at else ""
