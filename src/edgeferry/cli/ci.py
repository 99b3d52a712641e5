"""Commands that write CI pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeferry import __version__
from edgeferry.cli.console import Output, finish, render_table
from edgeferry.cli.project import OutputOption, opened
from edgeferry.settings import environment_names, find_repository
from edgeferry.wiring import open_folder
from edgeferry.workflows.ci import Layout, read_fleet, write_pipelines

ci = typer.Typer(no_args_is_help=True, help="Pipelines for CI systems, written from the project.")


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.add_typer(ci, name="ci", rich_help_panel="Automation")


@ci.command("azure-devops")
def azure_devops(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where (default: .azure-pipelines in the project)."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if what is there is not what would be.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a pipeline for the pull requests of each model, and one that carries what was merged to the fleet
    of the environment. E.g. edgeferry ci azure-devops --env prod. Edits between >>> and <<< are kept."""
    with opened(context, output) as (settings, services, terminal):
        project = settings.root.resolve()
        place = (project / (folder or ".azure-pipelines")).resolve()
        files = write_pipelines(
            services.project,
            open_folder(place),
            Layout(find_repository(project), project, place),
            read_fleet(settings.environment, settings.written),
            environment_names(project),
            __version__,
            check=check,
        )
        facts = [{"file": str(place / file.name), "state": file.state} for file in files]
        rows = [[file.name, file.state] for file in files]
        terminal.answer(facts, [render_table(str(place), ("file", "state"), rows)])
        differing = [file.name for file in files if file.state == "differs"]
        environment = f" --env {settings.environment}" if settings.environment else ""
        finish(
            not differing,
            f"not as they would be written: {', '.join(differing)}",
            f"edgeferry ci azure-devops{environment}, and commit the result",
        )
