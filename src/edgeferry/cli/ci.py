"""Commands that write CI pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeferry import __version__
from edgeferry.cli.console import Output, finish, render_table
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.approval import AZURE_DEVOPS, GITHUB
from edgeferry.settings import environment_names, find_repository
from edgeferry.wire.ci_needs import find_needs
from edgeferry.wiring import open_folder
from edgeferry.workflows.ci import Layout, read_fleet, write_pipelines

ci = typer.Typer(
    no_args_is_help=True,
    help="Pipelines for CI systems, written from the project: [bold]edgeferry ci github --env prod[/bold].",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.add_typer(ci, name="ci")


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Where, from the project (default: .azure-pipelines; .github/workflows of the repository).",
    ),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 if what is there is not what would be.")
]


@ci.command(AZURE_DEVOPS)
def azure_devops(
    context: typer.Context,
    folder: FolderOption = None,
    check: CheckOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a pipeline for the pull requests of each model, and one that carries what was merged to the fleet
    of the environment. Edits between >>> and <<< are kept.

    E.g. edgeferry ci azure-devops --env prod"""
    _write(context, AZURE_DEVOPS, folder, output, check=check)


@ci.command(GITHUB)
def github(
    context: typer.Context,
    folder: FolderOption = None,
    check: CheckOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a workflow for pull requests, which checks the models that one touches, and for each model one
    that carries what was merged to the fleet of the environment. Edits between >>> and <<< are kept.

    E.g. edgeferry ci github --env prod"""
    _write(context, GITHUB, folder, output, check=check)


def _write(
    context: typer.Context, platform: str, folder: Path | None, output: Output, *, check: bool
) -> None:
    with opened(context, output) as (settings, services, terminal):
        project = settings.root.resolve()
        repository = find_repository(project)
        usual = {AZURE_DEVOPS: project / ".azure-pipelines", GITHUB: repository / ".github" / "workflows"}
        place = (project / folder).resolve() if folder else usual[platform]
        files = write_pipelines(
            services.project,
            open_folder(place),
            Layout(repository, project, place),
            read_fleet(settings.environment, settings.written),
            environment_names(project),
            __version__,
            platform=platform,
            check=check,
        )
        facts = [{"file": str(place / file.name), "state": file.state} for file in files]
        rows = [[file.name, file.state] for file in files]
        needs = find_needs(platform, (file.text for file in files))
        asked = "; ".join(f"{kind} {', '.join(names)}" for kind, names in needs.items())
        terminal.answer(facts, [render_table(str(place), ("file", "state"), rows)])
        terminal.say(f"they run for the branch main, and ask of the platform: {asked} (docs/ci.md says how)")
        differing = [file.name for file in files if file.state == "differs"]
        environment = f" --env {settings.environment}" if settings.environment else ""
        finish(
            not differing,
            f"not as they would be written: {', '.join(differing)}",
            f"edgeferry ci {platform}{environment}, and commit the result",
        )
