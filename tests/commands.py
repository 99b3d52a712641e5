"""All commands, as the command line runs them."""

from __future__ import annotations

from typing import Any

import typer.main

from edgeferry.cli.main import app


def read_in_all() -> Any:
    """The root, with each command as its module has it instead of as it is listed."""
    root: Any = typer.main.get_command(app)
    for name in list(root.commands):
        root.resolve_command(typer.Context(root), [name])
    return root


ROOT = read_in_all()
