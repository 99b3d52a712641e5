"""Commands `agent …`: this machine as a device."""

from __future__ import annotations

import typer

agent = typer.Typer(no_args_is_help=True, help="This machine as a device of the fleet.")


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.add_typer(agent, name="agent", rich_help_panel="This machine")
