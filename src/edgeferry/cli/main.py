"""`edgeferry`: the command line's root, and what happens to errors."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edgeferry import __version__
from edgeferry.cli.commands import LateGroup
from edgeferry.errors import EdgeferryError, UsageError

app = typer.Typer(
    name="edgeferry",
    cls=LateGroup,
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Carry machine-learning models from training to a fleet of edge devices, and bring back proof.\n\n"
    "Start here: [bold]edgeferry init shop[/bold] begins a project; [bold]edgeferry[/bold] alone says, "
    "anywhere, what to type next.\n\n"
    "Exit codes: 0 fine, 1 the answer is no, 2 wrong usage, 3 the outside world failed, 70 a bug of ours.",
)

_INTERRUPTED = 130
"""The exit code that typer gives on Ctrl-C."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgeferry {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option("--project", "-p", help="The project's folder (default: here or above).", exists=True),
    ] = None,
    env: Annotated[
        str, typer.Option("--env", "-e", help="An environment: a file in environments/, e.g. prod.")
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Every command works on the project whose edgeferry.toml is here, above, or named by --project, and with
    the settings of the environment named by --env. Both may stand anywhere on the line."""
    context.obj = {"project": project, "environment": env}
    if context.invoked_subcommand is None:
        from edgeferry.cli.next_step import say_next

        say_next(context)


def lift_root_options(arguments: Sequence[str]) -> list[str]:
    """The arguments with --project and --env, and their values, first; what follows `--` stays."""
    first: list[str] = []
    others: list[str] = []
    rest = list(arguments)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        if word in ("--project", "--env") and not rest:
            raise UsageError(f"{word} names nothing", fix=f"put its value behind it: {word} NAME")
        if word in ("--project", "--env"):
            first += [word, rest.pop(0)]
        elif word.startswith(("--project=", "--env=")):
            first.append(word)
        else:
            others.append(word)
    return [*first, *others, *rest]


def main() -> None:
    """Runs the command line; exits with the code that the error tree gives."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # asked to end: clean up as on Ctrl-C
    try:
        code = app(lift_root_options(sys.argv[1:]), prog_name="edgeferry", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except typer.Abort:  # somebody said no
        print("Aborted.", file=sys.stderr)
        sys.exit(1)
    except EdgeferryError as error:
        _fail(error)
    except Exception as error:  # noqa: BLE001 - the last border: what nobody expected is a bug of ours
        if isinstance(error, typer.BadParameter.__bases__):
            _fail(_read_usage(error))
        traceback.print_exc()
        bug = EdgeferryError("this is a bug of edgeferry", fix="report it with the lines above")
        _tell(bug)
        sys.exit(bug.exit_code)


def _fail(error: EdgeferryError) -> NoReturn:
    """Ends with the problem and the fix, as JSON too where that was asked for."""
    wants_json = any(word in ("--output=json", "-ojson") for word in sys.argv) or any(
        pair == (flag, "json")
        for flag in ("--output", "-o")
        for pair in zip(sys.argv, sys.argv[1:], strict=False)
    )
    _tell(error, as_json=wants_json)
    sys.exit(error.exit_code)


def _tell(error: EdgeferryError, *, as_json: bool = False) -> None:
    from edgeferry.cli.console import Output, Terminal

    Terminal(Output.JSON if as_json else Output.TABLE).failure(error)


def _read_usage(error: Any) -> UsageError:
    """What typer found wrong with the line. A group without its command has shown its help: exit code 2."""
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.exit(error.exit_code)
    path = error.ctx.command_path if error.ctx else "edgeferry"
    return UsageError(error.format_message(), fix=f"{path} --help")
