"""How answers, progress and errors look: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import typer
from rich.console import Console
from rich.control import strip_control_codes
from rich.markup import escape
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.tables import FittedTable
from edgeferry.domain.printable import escape_unprintable
from edgeferry.errors import EdgeferryError, RefusedError


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Terminal:
    """Where a command prints."""

    output: Output

    def say(self, line: str) -> None:
        """One line of progress, on stderr."""
        _errors().print(f"[dim]·[/dim] {_shown(line)}", highlight=False, soft_wrap=True)

    def stage(self, name: str, state: str, seconds: float, detail: str) -> None:
        """One finished stage, on stderr."""
        colour = {"done": "green", "unchanged": "cyan", "refused": "red"}.get(state, "white")
        _errors().print(
            f"[{colour}]{state:>9}[/{colour}] [bold]{name:<8}[/bold] {seconds:6.1f} s  {_shown(detail)}",
            highlight=False,
            soft_wrap=True,
        )

    def relay(self, who: str, line: str) -> None:
        """One line of somebody else's progress, on stderr."""
        _errors().print(f"[bold]{_shown(who)}[/bold] │ {_shown(line)}", highlight=False, soft_wrap=True)

    def answer(self, facts: Any, tables: Sequence[Table | str] = ()) -> None:
        """The answer: `facts` as JSON, or the tables and lines, on stdout."""
        with PROGRESS.quiet():
            self._answer(facts, tables)

    def _answer(self, facts: Any, tables: Sequence[Table | str]) -> None:
        if self.output is Output.JSON:
            _print_json(facts)
            return
        console = Console()
        for table in tables:
            if isinstance(table, str):
                console.print(_plain(table), markup=False, highlight=False, soft_wrap=True)
                continue
            if table.title:  # rich would break it at the table's own width
                console.print(
                    _plain(str(table.title)), style="bold", highlight=False, markup=False, soft_wrap=True
                )
                table.title = None
            _print_table(console, table)

    def failure(self, error: EdgeferryError) -> None:
        """An error's two lines: the problem, the fix."""
        if self.output is Output.JSON:
            _print_json({"ok": False, "problem": error.problem, "fix": error.fix})
        console = _errors()
        console.print(f"[red]error[/red]: {_shown(error.problem)}", highlight=False, soft_wrap=True)
        if error.fix:
            console.print(f"  [green]fix[/green]: {_shown(error.fix)}", highlight=False, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """E.g. `1 device`, `1,200 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def finish(ok: bool, problem: str, fix: str) -> None:
    """Exit code 1, with problem and fix on stderr, unless `ok`: the answer is on stdout already."""
    if ok:
        return
    Terminal(Output.TABLE).failure(RefusedError(problem, fix=fix))  # on stderr, whatever stdout holds
    raise typer.Exit(1)


def render_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> FittedTable:
    """A table with a title; cells are plain text."""
    return FittedTable(title, columns, [[_plain(cell) for cell in row] for row in rows])


def short(digest: str) -> str:
    """The first twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12]


def disarm(text: str) -> str:
    """The text without orders for what runs CI's steps: the agent of Azure Pipelines obeys `##vso[…]` in
    whatever a step prints, GitHub's runner `##[…]`, and `::…::` where a line begins. What we show was written
    by models and devices too."""
    return _LINE_ORDER.sub(r"\1: :", _ORDER.sub("# #", text))


_ORDER = re.compile(r"##(?=(?:vso)?\[)", re.IGNORECASE)
_LINE_ORDER = re.compile(r"((?:^|[\r\n])[^\S\r\n]*)::(?=[A-Za-z][\w-]*(?:[ \t][^\r\n]*)?::)")


def disarm_json(text: str) -> str:
    """The JSON text without such orders; what it says is the same."""
    return _ORDER.sub(r"\\u0023#", text)


def _shown(text: str) -> str:
    """The text as it is, inside of rich's markup."""
    return escape(_plain(text))


def _plain(text: str) -> str:
    """The text without orders for CI's steps or the terminal; what rich would leave out is left out before,
    or an order could show up after."""
    return disarm(escape_unprintable(strip_control_codes(text), keep=_BLANKS))


_BLANKS = "\n\t\u00a0\u202f\u3000"


def _print_table(console: Console, table: Table) -> None:
    """The table, line by line: what is wrapped begins lines that its cells did not begin."""
    for line in console.render_lines(table, pad=False):
        text = "".join(segment.text for segment in line)
        plain = _plain(text)
        console.print(Segments(line) if plain == text else Text(plain), highlight=False, soft_wrap=True)


def _print_json(facts: Any) -> None:
    """The facts; an order in them is written in another way, and read as it was."""
    print(disarm_json(json.dumps(facts, indent=2, default=str)))


def _errors() -> Console:
    return PROGRESS.console
