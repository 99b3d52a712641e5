"""All commands, as the command line runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main

from edgeferry.cli.commands import LISTED
from edgeferry.cli.main import app

_SOURCE = Path(__file__).parents[1] / "src" / "edgeferry"


def late_modules() -> list[str]:
    """What is imported once a command is chosen: the commands' modules and what the wiring makes. Each
    of them says by itself which extra it lacks, so it must be there to say it."""
    wiring = "".join(path.read_text("utf-8") for path in _SOURCE.glob("wiring*.py"))
    made = set(re.findall(r"^ +from (edgeferry\.\S+) import", wiring, re.MULTILINE))
    return sorted(made | {f"edgeferry.cli.{each.module}" for each in LISTED})


def read_in_all() -> Any:
    """The root, with each command as its module has it instead of as it is listed."""
    root: Any = typer.main.get_command(app)
    for name in list(root.commands):
        root.resolve_command(typer.Context(root), [name])
    return root


ROOT = read_in_all()
