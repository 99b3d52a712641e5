"""Commands `devices enrol|adopt|decommission`: machines join the fleet, and leave it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, Terminal, counted
from edgeferry.cli.credentials import read_identity
from edgeferry.cli.names import read_device
from edgeferry.cli.project import OutputOption, opened_anywhere
from edgeferry.domain.enrolment import CLASS_TAG, PLATFORM_TAG
from edgeferry.domain.tags import parse_tags
from edgeferry.errors import UsageError
from edgeferry.ports import Json, Services
from edgeferry.sandbox.private import write_private_text
from edgeferry.settings import UP_SOURCE, Settings
from edgeferry.wire.connection import azure_hub_name, device_connection
from edgeferry.wire.enrolment import Surroundings, Token, is_only_here, locate_hub, render_token
from edgeferry.workflows.decommission import decommission_device
from edgeferry.workflows.enrol import Enrolled, adopt_device, enrol_device

MQTT_PORT = 8883


class DeviceClassName(StrEnum):
    """The device classes."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Platform(StrEnum):
    """What images a device can run."""

    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The device.")]
ClassOption = Annotated[
    DeviceClassName | None,
    typer.Option("--class", help="The tag device_class; default: the setting device.class."),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE, a tag more; dots nest.")]
PlatformOption = Annotated[Platform | None, typer.Option("--platform", help="The tag platform.")]
GatewayOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Where containers on the device reach the hub; default: where it is."
    ),
]
PortOption = Annotated[
    int, typer.Option("--mqtt-port", help="The hub's port for devices; Azure has no other.")
]
FileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="Write the token there, for its owner only, and do not print it."),
]


def register(devices: typer.Typer) -> None:
    """Adds the commands to `devices`."""
    devices.command("enrol")(enrol)
    devices.command("adopt")(adopt)
    devices.command("decommission")(decommission)


def enrol(
    context: typer.Context,
    name: NameArgument,
    device_class: ClassOption = None,
    tag: TagOption = None,
    platform: PlatformOption = None,
    gateway: GatewayOption = "",
    mqtt_port: PortOption = MQTT_PORT,
    token_file: FileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a device of the fleet, and print the one line to run on it: a secret.
    E.g. edgeferry devices enrol press-1 --class medium --tag site=berlin"""
    with opened_anywhere(context, output) as (settings, services, terminal):
        asked = _asked(tag, platform)
        here = _surroundings(settings, services, gateway, terminal)
        chosen = device_class or settings["device.class"]
        enrolled = enrol_device(services.hub, name, str(chosen), asked)
        token = _make_token(settings, services, enrolled, here, mqtt_port)
        _tell(terminal, enrolled, token, token_file)


def adopt(
    context: typer.Context,
    name: NameArgument,
    device_class: ClassOption = None,
    tag: TagOption = None,
    platform: PlatformOption = None,
    gateway: GatewayOption = "",
    mqtt_port: PortOption = MQTT_PORT,
    token_file: FileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a device that the hub has already into the fleet: keys and tags stay, what is missing is added,
    and the one line to run on it is printed: a secret.
    E.g. edgeferry devices adopt press-1"""
    with opened_anywhere(context, output) as (settings, services, terminal):
        asked = _asked(tag, platform)
        if device_class:
            asked[CLASS_TAG] = device_class.value
        here = _surroundings(settings, services, gateway, terminal)
        identity = read_identity(services.hub, name, "")
        device_connection(services.hub.host, identity)  # refuses one without keys before anything is changed
        enrolled = adopt_device(services.hub, identity, settings["device.class"], asked)
        token = _make_token(settings, services, enrolled, here, mqtt_port)
        _tell(terminal, enrolled, token, token_file)


def decommission(
    context: typer.Context,
    name: NameArgument,
    wipe_timeout: Annotated[
        int, typer.Option(min=5, max=300, help="Seconds that the device may take to wipe itself.")
    ] = 10,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a device out of the fleet: it wipes containers, data, images and keys if it can be reached, and
    the hub refuses it from then on.
    E.g. edgeferry devices decommission press-1"""
    with opened_anywhere(context, output) as (_, services, terminal):
        read_device(services.hub, name)
        confirm(f"This wipes {name} and deletes it, with the data of its modules, for good.", yes)
        terminal.say(f"asking {name} to wipe itself, for at most {wipe_timeout} s")
        done = decommission_device(services.hub, name, wipe_timeout)
        counts = ", ".join(counted(n, kind.removesuffix("s")) for kind, n in done.removed.items())
        on_device = f"wiped {done.wipe}: {done.told}" if done.told else f"wiped: {counts}"
        if done.wipe in ("no answer", "refused"):
            on_device = f"not wiped ({done.told}): what it holds stays there, and is of no use at the hub"
        lines = [f"on the device: {on_device}", f"at the hub: {name} is deleted, and refused from now on"]
        terminal.answer({**asdict(done), "deleted": True}, lines)
        if done.wipe in ("no answer", "refused"):
            terminal.say("to wipe it there, where it can be reached: sudo edgeferry agent uninstall --wipe")


def _asked(tags: list[str] | None, platform: Platform | None) -> Json:
    return parse_tags(tags or []) | ({PLATFORM_TAG: platform.value} if platform else {})


def _surroundings(settings: Settings, services: Services, gateway: str, terminal: Terminal) -> Surroundings:
    """What surrounds a device of the hub that the settings name."""
    from edgeferry.sandbox import local as sandbox

    host = services.hub.host
    started = sandbox.load_sandbox(settings.state)
    ours = settings.values["hub.connection_string"].source == UP_SOURCE
    if started and ours:
        here = sandbox.surroundings(started)
        return replace(here, gateway_address=gateway) if gateway else here
    if not gateway and is_only_here(host):
        terminal.say(f"containers do not reach a hub at {host}; name another of its addresses with --gateway")
    login = services.pull_login()
    if login is None:
        terminal.say("no registry.pull_username is set: the device must be able to pull without a login")
    return replace(locate_hub(host, gateway), registries=(login,) if login else ())


def _make_token(
    settings: Settings, services: Services, enrolled: Enrolled, here: Surroundings, mqtt_port: int
) -> str:
    host = services.hub.host
    gateway = "" if mqtt_port == MQTT_PORT else f"{host.rpartition(':')[0] or host}:{mqtt_port}"
    connection = device_connection(host, enrolled.identity, gateway=gateway)
    ca_file = "" if azure_hub_name(host) else settings["hub.ca_file"]
    try:
        return render_token(Token(connection, Path(ca_file).read_text("ascii") if ca_file else "", here))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"hub.ca_file {ca_file} cannot be read: {error}", fix="name the authority's PEM file"
        ) from error


def _tell(terminal: Terminal, enrolled: Enrolled, token: str, token_file: Path | None) -> None:
    for remark in enrolled.remarks:
        terminal.say(f"{enrolled.device}: {remark}")
    terminal.say(f"{enrolled.device} is {enrolled.state}; tags {json.dumps(enrolled.tags)}")
    if token_file:
        try:
            write_private_text(token_file, token + "\n")
        except OSError as error:
            raise UsageError(
                f"{token_file} cannot be written: {error.strerror}",
                fix=f"name another file: edgeferry devices adopt {enrolled.device} --token-file FILE",
            ) from error
        line = f"edgeferry agent enrol --file {token_file.name}"
        terminal.say(
            f"the token is in {token_file}, a secret: bring it to the device, run this there, remove it"
        )
    else:
        # printf is a part of the shell: the token stands in no list of processes
        line = f"printf %s {token} | edgeferry agent enrol -"
        terminal.say("run this line on the device, as root; it holds the device's key: show it to nobody")
    facts = {"device": enrolled.device, "state": enrolled.state, "tags": enrolled.tags, "line": line}
    terminal.answer(facts | {"remarks": enrolled.remarks}, [line])
