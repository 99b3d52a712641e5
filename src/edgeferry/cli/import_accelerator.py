"""Command `import-accelerator`: a project of Microsoft's template becomes one of edgeferry's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, Terminal, counted, finish, render_table
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption
from edgeferry.errors import UsageError
from edgeferry.wire.import_report import render_facts
from edgeferry.wiring import open_accelerator, open_new_project, read_recorder
from edgeferry.workflows.import_accelerator import Imported
from edgeferry.workflows.import_accelerator import import_accelerator as carry_over


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("import-accelerator")(import_accelerator)


def import_accelerator(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The project: it holds config/, mlops/ and src/.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="The new project (default: PATH-edgeferry).")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an edgeferry project of one laid out as microsoft/mlops-accelerator-for-edge. PATH is only looked
    at. What is left for you to edit is listed; IMPORT.md of the new project says it too, and where everything
    went.

    For example: edgeferry import-accelerator ~/taxi-mlops --to ~/taxi
    """
    terminal = Terminal(output)
    source = path.resolve()
    if not source.is_dir():
        raise UsageError(
            f"there is no folder {path}", fix="name the folder that holds config/, mlops/ and src/"
        )
    target = to.resolve() if to else source.with_name(f"{source.name}-edgeferry")
    tree, functions = open_accelerator(source)
    with PROGRESS.work(f"import {source.name}"):
        imported = carry_over(
            tree, functions, lambda: open_new_project(target, source), read_recorder(), terminal.say
        )
    terminal.answer(_facts(imported, target), [*_lines(imported), _table(imported, target)])
    errors = sum(finding.severity == "error" for finding in imported.findings)
    finish(
        imported.ok,
        f"the new project has {counted(errors, 'error')}",
        f"edgeferry validate --project {target}",
    )


def _facts(imported: Imported, target: Path) -> dict[str, Any]:
    return {
        "ok": imported.ok,
        "project": str(target),
        "models": list(imported.models),
        "environments": list(imported.environments),
        "warnings": sum(finding.severity == "warning" for finding in imported.findings),
        **render_facts(imported.works, imported.placed),
    }


def _lines(imported: Imported) -> list[str]:
    return [
        f"{number}. {', '.join(str(place) for place in work.places)}: {work.problem}\n   fix: {work.fix}"
        for number, work in enumerate(imported.works, 1)
    ]


def _table(imported: Imported, target: Path) -> Any:
    row = [", ".join(imported.models), ", ".join(imported.environments), str(len(imported.works))]
    return render_table(
        f"{target}, described in its IMPORT.md", ("models", "environments", "edits by hand"), [row]
    )
