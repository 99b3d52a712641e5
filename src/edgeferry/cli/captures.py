"""Command `captures`: what a model's devices were asked and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from edgeferry.cli.capture_forms import Form, open_destination, open_writer, print_csv
from edgeferry.cli.completing import complete_devices
from edgeferry.cli.console import Output, Terminal, counted, render_table
from edgeferry.cli.names import read_device
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import ModelArgument, opened
from edgeferry.domain.capture import Counts, Record
from edgeferry.errors import EdgeferryError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.capture_page import parse_cursor, render_counts
from edgeferry.workflows.captures import (
    Batch,
    Wanted,
    collect,
    fetch_counts,
    stream_captures,
)
from edgeferry.workflows.survey import find_running, guess_module

SHOWN = 20
T = TypeVar("T")
Show = Callable[[str, Batch], None]


class Purpose(StrEnum):
    """Why a request was made."""

    USER = "user"
    SMOKE = "smoke"


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(captures)


def captures(
    context: typer.Context,
    model: ModelArgument,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="One device; default: all that run the model.",
            autocompletion=complete_devices,
        ),
    ] = "",
    limit: Annotated[
        int,
        typer.Option(min=0, help=f"Only the newest of each device; default: {SHOWN} in a table, else all."),
    ] = 0,
    after: Annotated[
        str, typer.Option(metavar="SEQUENCE", help="Only what came after this one; with --device.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="By the device's clock, UTC: from 2026-11-27T20:00 on.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="And to before this time.")] = "",
    purpose: Annotated[
        Purpose | None, typer.Option(help="Only requests of users, or of smoke tests.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="How many there are, not what they say.")] = False,
    output: Annotated[
        Form | None, typer.Option("--output", "-o", help="Default: what --to ends in, else a table.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file, there once it is whole; default: stdout.")
    ] = None,
) -> None:
    """What a model's devices were asked and answered, as far as its capture policy keeps it: a record for
    each request that was scored, and each at which the model failed.
    E.g. edgeferry captures nyc_taxi --purpose user --since 2026-11-27 --to week.parquet"""
    parse_cursor(after)
    wanted = Wanted(after, limit, str(purpose or ""), _parse_time(since), _parse_time(until))
    if after and not device:
        raise UsageError("--after counts on one device", fix="name it with --device")
    form = _choose_form(output, to, count)
    with opened(context, Output.JSON if form is Form.JSON else Output.TABLE) as (_, services, terminal):
        names = [_check(services, device, model)] if device else find_running(services, model)
        if count:
            counts, problems = _each(names, lambda name: fetch_counts(services, name, model))
            _print_counts(form, terminal, model, counts)
        elif form is Form.TABLE:
            problems = _show_newest(services, names, model, wanted, terminal)
        else:
            problems = _give_out(services, names, model, wanted, form, to, terminal)
        for error in problems:
            Terminal(Output.TABLE).failure(error)
        if problems:
            raise typer.Exit(max(error.exit_code for error in problems))


def _check(services: Services, device: str, model: str) -> str:
    """The device; UsageError where there is none, or where it runs a model of nearly that name."""
    read_device(services.hub, device)
    fix = guess_module(services, device, model)
    if fix.startswith("did you mean"):
        raise UsageError(f"{device} reports no module {model}", fix=fix)
    return device


def _parse_time(text: str) -> str:
    """The time as records say it; "" for none. UsageError when it is no time."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", fix="write it like 2026-11-27T20:00") from error
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _choose_form(output: Form | None, to: Path | None, count: bool) -> Form:
    ending = to.suffix.lower().removeprefix(".") if to else ""
    form = output or (Form(ending) if ending in list(Form) else Form.TABLE)
    if to and form is Form.TABLE:
        raise UsageError(f"{to} says no form that a file takes", fix="add --output json, csv or parquet")
    if count and (to or form is Form.PARQUET):
        raise UsageError(
            "--count tells numbers, which are no file of records",
            fix="leave --to and parquet out; --output json or csv prints them for programs",
        )
    return form


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


def _show_newest(
    services: Services, names: Sequence[str], model: str, wanted: Wanted, terminal: Terminal
) -> list[EdgeferryError]:
    """The newest records as a table; what kept others from it."""
    wanted = replace(wanted, newest=wanted.newest or SHOWN)
    found, problems = _each(names, lambda name: collect(stream_captures(services, name, model, wanted)))
    every = [captured for _, captured in found]
    for captured in every:
        _tell_damage(terminal, captured.device, captured.damaged)
    cells = [_cells(captured.device, record) for captured in every for record in captured.records]
    columns = ("time", "device", "sequence", "purpose", "version", "status", "ms", "output", "inputs")
    terminal.answer(None, [_narrow_table(f"Captures of {model}", columns, cells)])
    if any(len(captured.records) == wanted.newest for captured in every):
        terminal.say(f"the newest {wanted.newest} of each device; --limit and --output json show more")
    shown = [record.purpose for captured in every for record in captured.records]
    if not wanted.purpose and set(shown) == {Purpose.SMOKE}:
        terminal.say("all of them were asked by smoke tests; --purpose user shows the others")
    return problems


def _give_out(
    services: Services,
    names: Sequence[str],
    model: str,
    wanted: Wanted,
    form: Form,
    to: Path | None,
    terminal: Terminal,
) -> list[EdgeferryError]:
    """All that is wanted in that form, as it comes; what kept others from it. A device that stops amid its
    records has given what it gave: those are whole, and its problem says where to go on."""

    def begin(name: str) -> tuple[Batch, Iterator[Batch]]:
        batches = stream_captures(services, name, model, wanted)
        return next(batches), batches

    records = 0
    with open_destination(to, form) as destination:
        begun, problems = _each(names, begin)
        writer = open_writer(form, destination, [first for _, (first, _) in begun])
        with _progress() as show:
            for name, (first, rest) in begun:
                damaged, place = 0, wanted.after or "0"
                try:
                    for each in chain((first,), rest):
                        writer.add(each)
                        records, damaged = records + len(each.fetched), damaged + each.damaged
                        place = each.next
                        show(name, each)
                except (OutsideError, RefusedError) as error:
                    fix = f"{error.fix}; then go on with --device {name} --after {place}"
                    problem = type(error)(error.problem, fix=fix)
                    problems.append(problem)
                _tell_damage(terminal, name, damaged)
        writer.end()
    if to:
        later = f"; later ones: --device {name} --after {place}" if len(begun) == 1 else ""
        terminal.say(f"{counted(records, 'record')} in {to}{later}")
    return problems


@contextmanager
def _progress() -> Iterator[Show]:
    """Shows how far each device's records have come, once there is more than a page of them."""
    with ExitStack() as stack:
        shown: dict[str, Callable[[float], None]] = {}

        def show(name: str, batch: Batch) -> None:
            if name not in shown and batch.done < batch.total:
                shown[name] = stack.enter_context(PROGRESS.work(name, batch.total, "records"))
            if name in shown:
                shown[name](batch.done)

        yield show


def _tell_damage(terminal: Terminal, device: str, damaged: int) -> None:
    if damaged:
        terminal.say(f"{device}: {damaged} damaged lines were passed over")


def _print_counts(form: Form, terminal: Terminal, model: str, counts: Sequence[tuple[str, Counts]]) -> None:
    rows = [
        {"device": name, "model": model, "records": each.user + each.smoke, **render_counts(each)}
        for name, each in counts
    ]
    if form is Form.CSV:
        print_csv(
            ("device", "model", "records", *render_counts(Counts())), [list(row.values()) for row in rows]
        )
        return
    columns = ("device", "records", "user", "smoke", "damaged", "expired", "dropped", "refused")
    cells = [[str(row[column]) for column in columns] for row in rows]
    terminal.answer(rows, [_narrow_table(f"Captures of {model}", columns, cells)])


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
