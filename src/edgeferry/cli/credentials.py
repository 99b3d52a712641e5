"""Commands `devices connection-string` and `devices keys regenerate`: what a device signs in with."""

from __future__ import annotations

import base64
import secrets
from enum import StrEnum
from typing import Annotated

import typer

from edgeferry.cli.completing import complete_devices
from edgeferry.cli.console import Output
from edgeferry.cli.names import near, read_device
from edgeferry.cli.project import OutputOption, opened_anywhere
from edgeferry.errors import HubError, RefusedError, UsageError
from edgeferry.ports import Hub, Json
from edgeferry.wire.connection import azure_hub_name, device_connection, render_connection_string
from edgeferry.wire.enrolment import HUB_NAME

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that devices sign in with: [bold]edgeferry devices keys regenerate press-1[/bold].",
)

DeviceArgument = Annotated[str, typer.Argument(help="The device.", autocompletion=complete_devices)]
ModuleOption = Annotated[str, typer.Option("--module", "-m", help="One of its modules instead.")]


class Reader(StrEnum):
    """Who is going to use a connection string."""

    PYTHON = "python"
    NODE = "node"
    CONTAINER = "container"


def register(devices: typer.Typer) -> None:
    """Adds the commands to `devices`."""
    devices.command("connection-string")(connection_string)
    devices.add_typer(keys, name="keys")


def connection_string(
    context: typer.Context,
    device: DeviceArgument,
    module: ModuleOption = "",
    secondary: Annotated[bool, typer.Option("--secondary", help="With the secondary key.")] = False,
    reader: Annotated[Reader, typer.Option("--for", help="Who connects with it.")] = Reader.PYTHON,
    environment: Annotated[
        bool,
        typer.Option("--variables", help="As the variables of an IoT Edge module run outside of IoT Edge."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """The connection string of a device or module: a secret. It works from this machine, and with
    --for container from a container on it.
    E.g. edgeferry devices connection-string press-1 --module scorer"""
    with opened_anywhere(context, output) as (settings, services, terminal):
        host = services.hub.host
        identity = read_identity(services.hub, device, module)
        in_container = reader is Reader.CONTAINER and not azure_hub_name(host)
        gateway = HUB_NAME if in_container else ""
        if environment and not (module and not azure_hub_name(host)):
            raise UsageError(
                "variables are for a module of a hub on this machine",
                fix="name it with --module, or leave --variables out",
            )
        if environment and not gateway:
            gateway = host.rpartition(":")[0] or host
        text = render_connection_string(
            device_connection(host, identity, secondary=secondary, gateway=gateway)
        )
        if in_container:
            terminal.say(
                f"the container must know {HUB_NAME}: docker run --add-host {HUB_NAME}:ADDRESS, "
                "where ADDRESS is one of this machine's that the hub listens on"
            )
        if environment:
            variables = {
                "EdgeHubConnectionString": text,
                "EdgeModuleCACertificateFile": settings["hub.ca_file"],
            }
            lines = [f"{name}='{value}'" for name, value in variables.items()]
            terminal.answer({"device": device, "module": module, "variables": variables}, lines)
            return
        terminal.answer({"device": device, "module": module or None, "connection_string": text}, [text])


@keys.command("regenerate")
def regenerate(
    context: typer.Context,
    device: DeviceArgument,
    module: ModuleOption = "",
    secondary: Annotated[bool, typer.Option("--secondary", help="The secondary key only.")] = False,
    swap: Annotated[bool, typer.Option("--swap", help="Exchange primary and secondary; no new key.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a device or module a new primary key. Who signs in with the old one is cut off.
    E.g. edgeferry devices keys regenerate press-1 --secondary"""
    if secondary and swap:
        raise UsageError("--secondary and --swap are both there", fix="give one of them")
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        identity = read_identity(hub, device, module)
        old = (identity.get("authentication") or {}).get("symmetricKey") or {}
        device_connection(hub.host, identity)  # refuses one without keys
        fresh = base64.b64encode(secrets.token_bytes(32)).decode()
        primary, other = old.get("primaryKey"), old.get("secondaryKey")
        new = (other, primary) if swap else (primary, fresh) if secondary else (fresh, other)
        authentication = {
            **identity["authentication"],
            "symmetricKey": dict(zip(("primaryKey", "secondaryKey"), new, strict=True)),
        }
        try:
            hub.save_identity({**identity, "authentication": authentication})
        except HubError as error:
            if error.status != 412:
                raise
            raise RefusedError(
                f"somebody else changed {device} just now; its keys are theirs", fix="look, and ask again"
            ) from error
        changed = "keys exchanged" if swap else f"new {'secondary' if secondary else 'primary'} key"
        who = f"{device}/{module}" if module else device
        terminal.answer(
            {"device": device, "module": module or None, "changed": changed},
            [f"{who}: {changed}; edgeferry devices connection-string shows what to sign in with"],
        )


def read_identity(hub: Hub, device: str, module: str) -> Json:
    """The identity of the device or module; UsageError with the name probably meant when there is none."""
    if not module:
        try:
            return hub.device(device)
        except HubError as error:
            if error.status != 404:
                raise
        read_device(hub, device)  # says which names there are
    modules = {str(one["moduleId"]): one for one in _modules(hub, device)}
    if module not in modules:
        raise UsageError(f"{device} has no module {module!r}", fix=near(module, modules))
    return modules[module]


def _modules(hub: Hub, device: str) -> list[Json]:
    read_device(hub, device)
    return list(hub.modules(device))
