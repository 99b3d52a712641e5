"""Command `affected`: which models and steps a change touches, and by which paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edgeferry.cli.console import Output, counted, render_table
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.affected import Reason, TouchedModel, TouchedStep
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wiring import open_history
from edgeferry.workflows.affected import Affected, find_touched

SinceOption = Annotated[
    str,
    typer.Option(
        "--since",
        metavar="REVISION",
        help="A branch, tag or commit; default: the main branch, origin's first.",
    ),
]

_SHOWN = 3
"""How many paths of one step the table shows."""
_LISTED = 50
"""And how many the JSON lists."""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(affected)


def affected(
    context: typer.Context,
    since: SinceOption = "",
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", metavar="PATH", help="A file or folder that every model reads as well."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which models and steps a change touches, and by which paths: all that differs, uncommitted and
    untracked files too, from where this work left REVISION.

    A step is touched by its component, code (without what its .amlignore keeps away), environment, data and
    pipeline.yml, and by the steps that it takes from; a model by its steps and its folder; every model by
    edgeferry.toml and environments/. What is not touched need not be trained or checked again.

    E.g. edgeferry affected --since origin/main --output json
    """
    with opened(context, output) as (settings, services, terminal):
        found = look(settings, services, since, also or ())
        terminal.answer(affected_facts(found), _lines(found))


def look(settings: Settings, services: Services, since: str, also: Sequence[Path] = ()) -> Affected:
    """What a change of the project since that revision touches; "" is the main branch."""
    history = open_history(settings)
    root = settings.root.resolve()
    revision = since or history.find_mainline()
    return find_touched(services.project, history, root, revision, [(root / path).resolve() for path in also])


def affected_facts(found: Affected) -> dict[str, Any]:
    """What was found, as JSON; paths relative to the repository."""
    return {
        "since": found.revision,
        "commit": found.changes.since,
        "changed": len(found.changes.files),
        "models": [
            {
                "model": model.name,
                **_reason_facts(found, model.reasons),
                "steps": [
                    {
                        "step": step.name,
                        **_reason_facts(found, step.reasons),
                        "after": list(step.after),
                    }
                    for step in model.steps
                ],
                "fault": model.fault,
            }
            for model in found.models
        ],
        "untouched": list(found.untouched),
        "removed": list(found.removed),
    }


def _reason_facts(found: Affected, reasons: Sequence[Reason]) -> dict[str, Any]:
    listed = [
        {"path": _short(found, each.path), "change": each.kind, "part": each.part}
        for each in reasons[:_LISTED]
    ]
    return {"reasons": listed, "more": len(reasons) - len(listed)}


def _lines(found: Affected) -> list[Table | str]:
    rows = [row for model in found.models for row in _rows(found, model)]
    files = counted(len(found.changes.files), "file")
    title = f"{files} changed since {found.revision} ({found.changes.since[:12]})"
    lines: list[Table | str] = (
        [render_table(title, ("model", "step", "because of"), rows)] if rows else [title]
    )
    lines += [f"not touched: {', '.join(found.untouched)}"] if found.untouched else []
    return lines + ([f"no longer there: {', '.join(found.removed)}"] if found.removed else [])


def _rows(found: Affected, model: TouchedModel) -> list[list[str]]:
    rows = [[model.name, "", _because(found, model.reasons)]] if model.reasons else []
    rows += [[model.name, "", f"it cannot be read: {model.fault}"]] if model.fault else []
    return rows + [[model.name, step.name, _step_because(found, step)] for step in model.steps]


def _step_because(found: Affected, step: TouchedStep) -> str:
    if not step.reasons:
        return f"it takes what {' and '.join(step.after)} makes"
    return _because(found, step.reasons)


def _because(found: Affected, reasons: Sequence[Reason]) -> str:
    told = [f"{_short(found, each.path)} ({each.kind}: {each.part})" for each in reasons[:_SHOWN]]
    more = len(reasons) - _SHOWN
    return "\n".join([*told, f"and {more} more"] if more > 0 else told)


def _short(found: Affected, path: str) -> str:
    return path.removeprefix(f"{found.changes.root}/")
