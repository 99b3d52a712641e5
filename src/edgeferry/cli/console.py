"""How answers, progress and errors look: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgeferry.errors import EdgeferryError


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
        _errors().print(f"[dim]·[/dim] {escape(line)}", highlight=False, soft_wrap=True)

    def stage(self, name: str, state: str, seconds: float, detail: str) -> None:
        """One finished stage, on stderr."""
        colour = {"done": "green", "unchanged": "cyan", "refused": "red"}.get(state, "white")
        _errors().print(
            f"[{colour}]{state:>9}[/{colour}] [bold]{name:<8}[/bold] {seconds:6.1f} s  {escape(detail)}",
            highlight=False,
            soft_wrap=True,
        )

    def answer(self, facts: Any, tables: Sequence[Table | str] = ()) -> None:
        """The answer: `facts` as JSON, or the tables and lines, on stdout."""
        if self.output is Output.JSON:
            print(json.dumps(facts, indent=2, default=str))
            return
        console = Console()
        for table in tables:
            if isinstance(table, Table) and table.title:  # rich would break it at the table's own width
                console.print(table.title, style="bold", highlight=False, soft_wrap=True)
                table.title = None
            console.print(table, highlight=False, soft_wrap=isinstance(table, str))

    def failure(self, error: EdgeferryError) -> None:
        """An error's two lines: the problem, the fix."""
        if self.output is Output.JSON:
            print(json.dumps({"ok": False, "problem": error.problem, "fix": error.fix}, indent=2))
        console = _errors()
        console.print(f"[red]error[/red]: {escape(error.problem)}", highlight=False, soft_wrap=True)
        if error.fix:
            console.print(f"  [green]fix[/green]: {escape(error.fix)}", highlight=False, soft_wrap=True)


def render_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table with a title; cells are plain text."""
    table = Table(title=escape(title), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


_WHOLE = frozenset(
    {
        "device",
        "digest",
        "model",
        "module",
        "ms",
        "name",
        "run",
        "seconds",
        "setting",
        "stage",
        "state",
        "verdict",
    }
)
"""Columns whose cells must stay on one line, however narrow the terminal."""


def short(digest: str) -> str:
    """The first twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12]


def _errors() -> Console:
    return Console(stderr=True)
