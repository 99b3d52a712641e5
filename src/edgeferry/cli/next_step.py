"""What `edgeferry` alone says: where one is, and what to type next."""

from __future__ import annotations

from typing import Literal

import typer

from edgeferry.cli.console import Output, Terminal
from edgeferry.cli.project import load_anywhere, opened, read_fleet
from edgeferry.domain.asking import Asking, render_asking
from edgeferry.domain.next_step import Situation, next_steps
from edgeferry.settings import PROJECT_FILE, Settings
from edgeferry.workflows.situation import look_around


def say_next(context: typer.Context) -> None:
    """The commands that bring a person on from here, on stdout."""
    now = _look(context)
    where = f"project {now.project}" if now.project else "no project"
    if now.environment:
        where += f", environment {now.environment}"
    steps = next_steps(now)
    width = max(len(step.command) for step in steps)
    Terminal(Output.TABLE).answer(
        {},
        [
            f"{where}. Type next:",
            *(f"  {step.command:<{width}}   {step.reason}" for step in steps),
            *(_asking(now.asking) if now.asking else ()),
            "edgeferry --help lists every command.",
        ],
    )


def _asking(asking: Asking) -> tuple[str, str]:
    what, command = render_asking(asking)
    return what, f"  {command}"


def _look(context: typer.Context) -> Situation:
    if not (load_anywhere(context).root / PROJECT_FILE).is_file():
        return Situation()
    with opened(context, Output.TABLE) as (settings, services, _):
        folder = str(settings.root)
        return look_around(services, folder, read_fleet(settings), settings["user"], _servers(settings))


def _servers(settings: Settings) -> Literal["none", "here", "elsewhere"]:
    """Whose hub the settings name."""
    named = [settings.values[name] for name in ("hub.connection_string", "hub.host") if settings[name]]
    if not named:
        return "none"
    return "here" if named[0].source.startswith("this machine") else "elsewhere"
