"""Command `agent enrol`: this machine becomes the device that `devices enrol` or `adopt` made a token for."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeferry.cli.console import Output, Terminal, finish, render_table
from edgeferry.device.enrol import check, enrol
from edgeferry.errors import UsageError
from edgeferry.settings import device_state
from edgeferry.surroundings import default_engine_host
from edgeferry.wire.enrolment import parse_token

_ENGINE = "unix:///var/run/docker.sock"
_MOST_LETTERS = 100_000


def register(agent: typer.Typer) -> None:
    """Adds the command to `agent`."""
    agent.command("enrol")(enrol_here)


def enrol_here(
    token: Annotated[
        str,
        typer.Argument(
            metavar="[-]", help="'-': the token comes on stdin. Not here itself: every user sees arguments."
        ),
    ] = "",
    file: Annotated[Path | None, typer.Option("--file", help="The token is in this file.")] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="The device's folder; default: the system's for root.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="The container engine; default: DOCKER_HOST, else the token's, else Docker's.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Wipe another device that this folder holds, with its containers.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")] = Output.TABLE,
) -> None:
    """Make this machine the device that a token is for, and try what its agent will need. Running it again
    with the same device is fine. E.g. edgeferry agent enrol --file token"""
    said = parse_token(_read_token(token, file))
    folder = state or device_state()
    chosen = engine or default_engine_host() or said.surroundings.engine or _ENGINE
    terminal = Terminal(output)
    try:
        enrolment = enrol(folder, said, chosen, force=force)
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            fix="run it as root, or name a folder of yours with --state",
        ) from error
    checks = check(enrolment)
    wrong = [one for one in checks if one.problem]
    then = f" --state {state}" if state else ""
    line = f"next: edgeferry agent install{then}"
    facts = {"device": enrolment.device, "folder": str(folder), "checks": [asdict(one) for one in checks]}
    rows = [[one.what, "wrong" if one.problem else "ok", one.problem or one.found] for one in checks]
    table = render_table(
        f"This machine is {enrolment.device}, in {folder}", ("check", "state", "detail"), rows
    )
    terminal.answer(facts, [table, *([] if wrong else [line])])
    finish(not wrong, "; ".join(one.problem for one in wrong), "; ".join(one.fix for one in wrong))


def _read_token(word: str, file: Path | None) -> str:
    if word not in ("", "-"):
        raise UsageError(
            "a token is a secret, and every user of this machine sees arguments; nothing was done",
            fix="printf %s TOKEN | edgeferry agent enrol -",
        )
    if bool(word) == bool(file):
        raise UsageError(
            "the token is not there" if file is None else "the token is there twice",
            fix="run the line that 'edgeferry devices enrol NAME' printed, or name a file with --file",
        )
    try:
        text = file.read_text("ascii") if file else sys.stdin.read(_MOST_LETTERS)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", fix="name the token's file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file or 'stdin'} holds no token", fix="give the token, whole") from error
    return text
