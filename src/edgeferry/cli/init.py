"""The command that begins: a new project, a model in one, later versions of the templates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from edgeferry.cli.console import Output, Terminal, counted, finish
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, load
from edgeferry.domain.beginning import FIRST_MODEL, suggest_model
from edgeferry.domain.typed import render_command
from edgeferry.errors import UsageError
from edgeferry.settings import PROJECT_FILE, find_project
from edgeferry.wiring import open_templates, read_given_model
from edgeferry.workflows.begin_project import (
    Begun,
    add_model,
    begin_project,
    carry_templates,
    example_part,
    given_part,
)

FolderArgument = Annotated[Path | None, typer.Argument(help="The new project's folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(init)


def init(
    context: typer.Context,
    folder: FolderArgument = None,
    model: Annotated[
        str, typer.Option("--model", help="The model's name; in a project, a further model.")
    ] = "",
    from_model: Annotated[
        Path | None,
        typer.Option(
            "--from-model", metavar="PATH", help="A model that is there: pickle, joblib, skops, ONNX, MLflow."
        ),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option("--sample", metavar="ROWS", help="Rows to ask it: a .csv or .json file.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target", metavar="COLUMN", help="The column of the rows that is the truth, no input."
        ),
    ] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Carry in what later templates have; your edits stay.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin: a project that ships as it is, or a model in one. Nothing that is there is written over.

    E.g. edgeferry init shop, then cd shop, then edgeferry: a project with a model to start from

    In a project: edgeferry init --model pump adds a model

    A model that you have, no pipeline needed: edgeferry init --from-model pump.pkl --sample rows.csv

    What newer templates have: edgeferry init --update
    """
    terminal = Terminal(output)
    if update:
        if folder or model or from_model or sample or target:
            raise UsageError("--update goes alone", fix="edgeferry init --update, in the project")
        _update(context, terminal)
        return
    flags = {"--model": model, "--from-model": from_model, "--sample": sample, "--target": target}
    project = _find(context) if folder is None else None
    if folder is not None:
        _refuse_inside(folder)
    elif project is None:
        raise UsageError(
            f"there is no project in {Path.cwd()} or above",
            fix=f"begin one here: {_again('.', flags)}; or in a new folder: {_again('NAME', flags)}",
        )
    there = project or (folder if folder and (folder / PROJECT_FILE).is_file() else None)
    again = folder is not None and (folder / "models" / FIRST_MODEL).is_dir()
    if there and not again and not model and not from_model:
        raise UsageError(
            f"{there} is a project already",
            fix=f"edgeferry init --model NAME adds a model, e.g. {FIRST_MODEL}; or --update",
        )
    if from_model:
        with PROGRESS.work(f"read {from_model.name}"):
            brought = read_given_model(from_model, sample, model or suggest_model(from_model.stem), target)
        part = given_part(brought)
        for line in brought.warnings:
            terminal.say(line)
    elif sample or target:
        option = "--sample" if sample else "--target"
        raise UsageError(f"{option} is for a model that is there", fix="name it: --from-model PATH")
    else:
        part = example_part(model or FIRST_MODEL)
    templates = open_templates()
    if project:
        _tell(terminal, add_model(templates, project, part), _read_user(context), new=False)
    elif folder is not None:
        _tell(terminal, begin_project(templates, folder, part), new=True)


def _read_user(context: typer.Context) -> str:
    """Who works here; settings that cannot be read are told by the commands that need them."""
    try:
        return load(context)["user"]
    except UsageError:
        return "ME"


def _find(context: typer.Context) -> Path | None:
    return find_project((context.obj or {}).get("project") or Path.cwd())


def _again(folder: str, flags: Mapping[str, Path | str | None]) -> str:
    """The same command with that folder."""
    words = [word for flag, value in flags.items() if value for word in (flag, str(value))]
    return render_command("", "init", folder, *words)


def _refuse_inside(folder: Path) -> None:
    """Nothing when the folder is below no project; UsageError."""
    above = find_project(folder.resolve().parent)
    if above:
        raise UsageError(
            f"{folder} is inside of the project {above}",
            fix="a model: edgeferry init --model NAME; a further project: outside of this one",
        )


def _tell(terminal: Terminal, begun: Begun, user: str = "", *, new: bool) -> None:
    facts = {"project": str(begun.project), "model": begun.model, "written": list(begun.written)}
    if not begun.written:
        terminal.answer(facts, ["unchanged: all of it is there"])
        return
    what = f"project {begun.project} with the model {begun.model}" if new else f"model {begun.model}"
    terminal.answer(
        facts,
        [
            f"{what}: {counted(len(begun.written), 'file')}; models/{begun.model}/README.md says which",
            *(f"  {line}" for line in (_begin_lines(begun) if new else _model_lines(begun.model, user))),
        ],
    )


def _begin_lines(begun: Begun) -> list[str]:
    there = begun.project.resolve() == Path.cwd()
    cd = [] if there else [f"cd {shlex.quote(str(begun.project))}"]
    return [*cd, "edgeferry            # says what to type next"]


def _model_lines(model: str, user: str) -> list[str]:
    return [
        render_command("", "validate", model),
        f"{render_command('', 'devices', 'tag', 'device-1', f'models.{model}=true')}   # who shall have it",
        render_command("", "ship", model, "--approve-as", user),
    ]


def _update(context: typer.Context, terminal: Terminal) -> None:
    project = _find(context)
    if project is None:
        raise UsageError(f"there is no project in {Path.cwd()} or above", fix="go to the project's folder")
    carried = carry_templates(open_templates(), project)
    facts = {
        "version": carried.version,
        "updated": [{"folder": folder, "from": was} for folder, was in carried.updated],
        "changed": list(carried.changed),
        "conflicts": list(carried.conflicts),
    }
    lines = [f"{folder}: {was} to {carried.version}" for folder, was in carried.updated]
    lines += [
        f"  {name}{' (both ways stand in it)' if name in carried.conflicts else ''}"
        for name in carried.changed
    ]
    terminal.answer(facts, lines or [f"unchanged: all of it is of template {carried.version}"])
    finish(
        not carried.conflicts,
        f"template and edit changed the same lines of {', '.join(carried.conflicts)}",
        "choose between the marks <<<<<<< and >>>>>>> there, commit; git checkout . takes all back",
    )
