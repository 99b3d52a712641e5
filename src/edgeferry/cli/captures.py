"""Command `captures`: what a model's devices were asked and answered."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from edgeferry.cli.console import Output, Terminal, render_table
from edgeferry.cli.project import ModelArgument, opened
from edgeferry.domain.capture import Counts, Record
from edgeferry.errors import EdgeferryError, OutsideError, RefusedError, UsageError
from edgeferry.wire.capture import parse_cursor, render_counts
from edgeferry.workflows.captures import Captured, fetch_captures, fetch_counts, find_devices

SHOWN = 20
_COLUMNS = (
    "device",
    "model",
    "sequence",
    "at",
    "purpose",
    "id",
    "version",
    "digest",
    "status",
    "latency_ms",
    "inputs",
    "output",
)
T = TypeVar("T")


class Form(StrEnum):
    """How captures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Purpose(StrEnum):
    """Why a request was made."""

    USER = "user"
    SMOKE = "smoke"


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command(rich_help_panel="The fleet")(captures)


def captures(
    context: typer.Context,
    model: ModelArgument,
    device: Annotated[
        str, typer.Option("--device", "-d", help="One device; default: all that run the model.")
    ] = "",
    limit: Annotated[
        int,
        typer.Option(min=0, help=f"Only the newest of each device; default: {SHOWN} in a table, else all."),
    ] = 0,
    after: Annotated[
        str, typer.Option(metavar="SEQUENCE", help="Only what came after this one; with --device.")
    ] = "",
    purpose: Annotated[
        Purpose | None, typer.Option(help="Only requests of users, or of smoke tests.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="How many there are, not what they say.")] = False,
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print the answer.")] = Form.TABLE,
) -> None:
    """What a model's devices were asked and answered: each scored request is one record on its device."""
    parse_cursor(after)
    if after and not device:
        raise UsageError("--after counts on one device", fix="name it with --device")
    with opened(context, Output.JSON if output is Form.JSON else Output.TABLE) as (_, services, terminal):
        names = [device] if device else find_devices(services, model)
        if count:
            counted, problems = _each(names, lambda name: fetch_counts(services, name, model))
            _print_counts(output, terminal, model, counted)
        else:
            newest = limit or (SHOWN if output is Form.TABLE else 0)
            word = str(purpose or "")
            fetched, problems = _each(
                names,
                lambda name: fetch_captures(services, name, model, after=after, newest=newest, purpose=word),
            )
            _print_records(output, terminal, model, [captured for _, captured in fetched])
            if not limit and any(len(captured.records) == newest for _, captured in fetched):
                terminal.say(f"the newest {newest} of each device; --limit and --output json show more")
        for error in problems:
            Terminal(Output.TABLE).failure(error)
        if problems:
            raise typer.Exit(max(error.exit_code for error in problems))


def _each(
    names: Sequence[str], fetch: Callable[[str], T]
) -> tuple[list[tuple[str, T]], list[EdgeferryError]]:
    """What each device gave, and the problems of those that gave nothing; with one device, its problem is
    raised."""
    found: list[tuple[str, T]] = []
    problems: list[EdgeferryError] = []
    for name in names:
        try:
            found.append((name, fetch(name)))
        except (OutsideError, RefusedError) as error:
            if len(names) == 1:
                raise
            problems.append(error)
    return found, problems


def _print_counts(form: Form, terminal: Terminal, model: str, counted: Sequence[tuple[str, Counts]]) -> None:
    rows = [
        {"device": name, "model": model, "records": counts.user + counts.smoke, **render_counts(counts)}
        for name, counts in counted
    ]
    if form is Form.CSV:
        _print_csv(rows, ("device", "model", "records", *render_counts(Counts())))
        return
    columns = ("device", "records", "user", "smoke", "damaged", "expired", "dropped", "refused")
    cells = [[str(row[column]) for column in columns] for row in rows]
    terminal.answer(rows, [_narrow_table(f"Captures of {model}", columns, cells)])


def _print_records(form: Form, terminal: Terminal, model: str, every: Sequence[Captured]) -> None:
    for captured in every:
        if captured.damaged:
            terminal.say(f"{captured.device}: {captured.damaged} damaged lines were passed over")
    if form is Form.TABLE:
        cells = [_cells(captured.device, record) for captured in every for record in captured.records]
        columns = ("time", "device", "sequence", "purpose", "version", "status", "ms", "output", "inputs")
        terminal.answer(None, [_narrow_table(f"Captures of {model}", columns, cells)])
        return
    rows = [_facts(captured.device, record) for captured in every for record in captured.records]
    if form is Form.CSV:
        _print_csv(rows, _COLUMNS)
    else:
        terminal.answer(rows)


def _facts(device: str, record: Record) -> dict[str, Any]:
    said = {**asdict(record), "inputs": json.loads(record.inputs), "output": json.loads(record.output)}
    return {"device": device, **{column: said[column] for column in _COLUMNS if column != "device"}}


def _cells(device: str, record: Record) -> list[str]:
    return [
        record.at[11:19],
        device,
        str(record.sequence),
        record.purpose,
        record.version,
        str(record.status),
        f"{record.latency_ms:.2f}",
        record.output,
        record.inputs,
    ]


def _print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [row[column] if isinstance(row[column], str) else json.dumps(row[column]) for column in columns]
        for row in rows
    )


def _narrow_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of one line a row; `output` and `inputs` are cut to what the terminal has left."""
    others = [place for place, column in enumerate(columns) if column not in ("output", "inputs")]
    taken = sum(max(len(row[place]) for row in (columns, *rows)) + 1 for place in others)
    room = max((Console().width - taken) // 2 - 1, 6)
    cut = [
        [cell if place in others else _short(cell, room) for place, cell in enumerate(row)] for row in rows
    ]
    table = render_table(title, columns, cut)
    table.box, table.pad_edge, table.padding = None, False, (0, 1, 0, 0)
    return table


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
