"""Command `validate`: what is wrong with the project's files, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edgeferry.cli.console import Output, finish, render_table
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.finding import Finding
from edgeferry.workflows.validate import Validation
from edgeferry.workflows.validate import validate as validate_models


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(validate)


def validate(
    context: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models; default: all of the project.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find what is wrong with model.yaml, pipeline, components, conda files and step code, without running
    them: each finding with file, line and fix. Exit code 1 when there is an error.

    For example: edgeferry validate nyc_taxi --strict
    """
    with opened(context, output) as (_, services, terminal):
        validation = validate_models(services, models or (), strict=strict)
        terminal.answer(validation_facts(validation), [*_lines(validation), _table(validation)])
        errors, warnings = validation.count("error"), validation.count("warning")
        problem = f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
        finish(validation.ok, problem, "each finding above names its own")


def validation_facts(validation: Validation) -> dict[str, Any]:
    """A validation as JSON; files relative to the current folder where they lie below it."""
    return {
        "ok": validation.ok,
        "models": list(validation.models),
        "errors": validation.count("error"),
        "warnings": validation.count("warning"),
        "findings": [
            {
                "file": _short(finding.file),
                "line": finding.line,
                "severity": finding.severity,
                "rule": finding.rule,
                "problem": finding.problem,
                "fix": finding.fix,
            }
            for finding in validation.findings
        ],
    }


def _lines(validation: Validation) -> list[Table | str]:
    return [_line(finding) for finding in validation.findings]


def _line(finding: Finding) -> str:
    where = f"{_short(finding.file)}:{finding.line}"
    return f"{where}: {finding.severity}: {finding.problem} ({finding.rule})\n  fix: {finding.fix}"


def _table(validation: Validation) -> Table:
    counts = [str(validation.count("error")), str(validation.count("warning"))]
    return render_table(
        "Validation", ("models", "errors", "warnings"), [[", ".join(validation.models), *counts]]
    )


def _short(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else file


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
