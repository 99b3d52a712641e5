"""What each command starts from: the project's settings, the services, the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from edgeferry.cli.console import Output, Terminal
from edgeferry.domain.edge_runtime import OUR_AGENT, EdgeRuntime
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.settings import REFERENCE, Settings, load_settings
from edgeferry.wiring import open_services

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How to print the answer.", show_default=True)
]
ModelArgument = Annotated[str, typer.Argument(help="A model: the name of its folder below models/.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="A pipeline input, e.g. raw_data=DIR."),
]


def load(context: typer.Context, **flags: str) -> Settings:
    """The settings of the project and the environment that the command line names (--project, --env)."""
    named = context.obj or {}
    given = {name.replace("__", "."): text for name, text in flags.items() if text}
    return load_settings(named.get("project"), given, named.get("environment") or "")


@contextmanager
def opened(
    context: typer.Context, output: Output, **flags: str
) -> Iterator[tuple[Settings, Services, Terminal]]:
    """Settings, services and terminal for one command; connections are closed after it."""
    terminal = Terminal(output)
    settings = load(context, **flags)
    with open_services(settings, terminal.say) as services:
        yield settings, services, terminal


def read_edge_runtime(settings: Settings) -> EdgeRuntime:
    """What runs modules on the devices, and with which login they pull there."""
    if settings["device.runtime"] != "iotedge":
        return OUR_AGENT
    return EdgeRuntime("iotedge", pull=read_pull_login(settings))


def read_pull_login(settings: Settings) -> RegistryLogin | None:
    """The login that IoT Edge's devices pull with; None when neither half of it is set."""
    username, password = settings["registry.pull_username"], settings["registry.pull_password"]
    if password.startswith(REFERENCE):
        raise UsageError(
            "registry.pull_password is a reference, and they are not followed here",
            fix="set EDGEFERRY_REGISTRY__PULL_PASSWORD to the password itself",
        )
    return RegistryLogin(settings.need("registry.host"), username, password) if username or password else None


def parse_pairs(pairs: list[str] | None, what: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping; UsageError naming one that is not."""
    parsed = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{what} {pair!r} is not NAME=VALUE", fix=f"write it as {pair or 'name'}=value")
        parsed[name] = value
    return parsed
