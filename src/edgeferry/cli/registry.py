"""Commands for the OCI registry: logins that may only pull."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from edgeferry.cli.console import Output, Terminal, render_table
from edgeferry.cli.project import OutputOption, load
from edgeferry.errors import UsageError
from edgeferry.sandbox import accounts
from edgeferry.settings import Settings
from edgeferry.wire import acr

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The token's name, which is its user name.")
]
RepositoryOption = Annotated[
    list[str],
    typer.Option(
        "--repository",
        "-r",
        metavar="R",
        help="A repository it may pull from; PATH/* for all below. Repeatable.",
    ),
]

registry = typer.Typer(
    no_args_is_help=True, help="The OCI registry: [bold]edgeferry registry tokens list[/bold]."
)
tokens = typer.Typer(
    no_args_is_help=True,
    help="Logins that may pull from some repositories and do nothing else, one for each fleet or device.\n\n"
    "On the local registry these commands do it; for Azure Container Registry they print the az commands "
    "that do it there.\n\nExample: [bold]edgeferry registry tokens create berlin "
    "--repository edgeferry/nyc_taxi[/bold]",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    tokens.command("create")(create)
    tokens.command("list")(list_tokens)
    tokens.command("regenerate")(regenerate)
    tokens.command("delete")(delete)
    registry.add_typer(tokens, name="tokens")
    app.add_typer(registry, name="registry")


def create(
    context: typer.Context,
    name: NameArgument,
    repository: RepositoryOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a login that may only pull, and print its password, which is told this once.

    E.g. edgeferry registry tokens create berlin --repository 'edgeferry/*'"""
    settings, terminal = load(context), Terminal(output)
    host = settings.need("registry.host")
    accounts.check_pull_token(name, repository)
    if not _is_local(settings):
        _tell_azure(terminal, acr.render_creation(host, name, repository))
        return
    _tell_password(terminal, host, *accounts.create_pull_token(settings.state, name, repository))


def list_tokens(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the logins that may only pull, and what they may pull.

    E.g. edgeferry registry tokens list"""
    settings, terminal = load(context), Terminal(output)
    host = settings.need("registry.host")
    if not _is_local(settings):
        _tell_azure(terminal, acr.render_listing(host))
        return
    found = accounts.list_pull_tokens(settings.state)
    facts = [{"name": token.name, "repositories": token.repositories} for token in found]
    rows = [[token.name, " ".join(token.repositories)] for token in found]
    terminal.answer(facts, [render_table(f"Pull-only tokens of {host}", ("name", "repositories"), rows)])


def regenerate(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Give a token another password, and print it; the old one is worth nothing from then on.

    E.g. edgeferry registry tokens regenerate berlin"""
    settings, terminal = load(context), Terminal(output)
    host = settings.need("registry.host")
    if not _is_local(settings):
        _tell_azure(terminal, acr.render_regeneration(host, name))
        return
    _tell_password(terminal, host, *accounts.regenerate_pull_token(settings.state, name))


def delete(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Delete a token: nobody can log in with it any more.

    E.g. edgeferry registry tokens delete berlin"""
    settings, terminal = load(context), Terminal(output)
    host = settings.need("registry.host")
    if not _is_local(settings):
        _tell_azure(terminal, acr.render_deletion(host, name))
        return
    accounts.delete_pull_token(settings.state, name)
    terminal.answer({"deleted": name}, [f"deleted {name}"])


def _is_local(settings: Settings) -> bool:
    """Whether it is the registry of `up`; False for Azure's, UsageError for another."""
    host = settings.values["registry.host"]
    if host.source.startswith("this machine"):
        return True
    if acr.is_azure(host.text):
        return False
    raise UsageError(
        f"{host.text} is neither the registry of 'edgeferry up' nor Azure's",
        fix="make a login that may only pull by that registry's own means",
    )


def _tell_password(terminal: Terminal, host: str, name: str, password: str) -> None:
    facts = {"registry": host, "username": name, "password": password}
    terminal.answer(facts, [f"registry {host}\nusername {name}\npassword {password}"])
    terminal.say("the password is told this once; it is not kept")


def _tell_azure(terminal: Terminal, commands: Sequence[str]) -> None:
    terminal.say("this registry is Azure's: nothing was done; these commands of the Azure CLI do it")
    terminal.answer({"commands": list(commands)}, ["\n".join(commands)])
