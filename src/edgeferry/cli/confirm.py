"""Questions before what cannot be taken back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgeferry.cli.progress import PROGRESS
from edgeferry.errors import UsageError

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, yes: bool) -> None:
    """Somebody said yes, beforehand or now; exit code 1 for a no, UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is here to say yes", fix="give --yes when you are sure")
    with PROGRESS.quiet():
        typer.confirm(question, abort=True, err=True)
