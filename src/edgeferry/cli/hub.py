"""Commands `hub …`: an IoT Hub of one's own on this machine, with no project and nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, Terminal, finish
from edgeferry.cli.log_file import print_log
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, load_anywhere
from edgeferry.errors import UsageError
from edgeferry.sandbox.hub import HUB_START, HubOptions, LocalHub
from edgeferry.settings import HUB_FOLDER
from edgeferry.settings_table import environment_name
from edgeferry.surroundings import child_environment
from edgeferry.wire.connection import ConnectionString, render_connection_string

_NOTHING = (None, "")

hub = typer.Typer(
    no_args_is_help=True,
    help="An IoT Hub on this machine, by itself: [bold]edgeferry hub start[/bold], in any folder.",
)


class Port443(StrEnum):
    """Whether to listen on port 443 as well."""

    AUTO = "auto"
    OFF = "off"
    REQUIRED = "required"


class Limits(StrEnum):
    """Which of Azure's limits to keep."""

    DEFAULT = "default"
    OFF = "off"
    AZURE = "azure"


class LogLevel(StrEnum):
    """What to log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="Where the hub keeps everything; default: the project's .edgeferry/hub, without a project "
        "~/.local/state/edgeferry/hub.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.add_typer(hub, name="hub")


@hub.command()
def start(
    context: typer.Context,
    state: StateOption = None,
    address: Annotated[
        list[str] | None,
        typer.Option(help="IPv4 address to listen on; may be repeated; default: 127.0.0.1."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name that clients reach it by, for its certificate; may be repeated; the first is what "
            "connection strings say; default: localhost, or the first address where that is another."
        ),
    ] = None,
    https_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the service REST.")] = 8443,
    mqtt_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the devices' MQTT.")] = 8883,
    port_443: Annotated[
        Port443,
        typer.Option(
            "--port-443", help="The service REST on port 443 too, if it may (auto): Node knows no other."
        ),
    ] = Port443.AUTO,
    limits: Annotated[
        Limits, typer.Option(help="Azure's sizes and counts (default), none (off), its rates too (azure).")
    ] = Limits.DEFAULT,
    messages_count: Annotated[
        int | None, typer.Option(min=0, help="Telemetry is kept up to so many messages; default: a million.")
    ] = None,
    messages_bytes: Annotated[
        int | None, typer.Option(min=0, help="And up to so many bytes; default: 512 MiB.")
    ] = None,
    messages_age: Annotated[
        int | None, typer.Option(min=0, help="And for so many seconds; default: a day.")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged.")] = LogLevel.INFO,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and log here: for containers and systemd.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a hub in the background, and say how to reach it. A second start says that it runs; one after a
    stop listens as before, unless it is told where.
    E.g. edgeferry hub start; in a container: edgeferry hub start --foreground --address 0.0.0.0"""
    local, terminal = _find(context, state), Terminal(output)
    addresses = tuple(dict.fromkeys(_check_address(one) for one in address or ["127.0.0.1"]))
    if https_port == mqtt_port:
        raise UsageError(f"REST and MQTT cannot both have port {https_port}", fix="give two ports")
    local_too = addresses[0] in ("127.0.0.1", "0.0.0.0")
    options = HubOptions(
        addresses=addresses,
        https_port=https_port,
        mqtt_port=mqtt_port,
        port_443=port_443,
        names=tuple(dict.fromkeys(name or (["localhost"] if local_too else []))),
        limits=limits,
        log_level=log_level,
        kept={
            name: most
            for name, most in (("count", messages_count), ("bytes", messages_bytes), ("age", messages_age))
            if most is not None
        },
    )
    _need_server()
    last = local.last_options()
    if last is not None and not _is_told(context, ("address", "name", "https_port", "mqtt_port", "port_443")):
        options = options.listening_as(last)
    command = options.command(local.folder)
    if foreground:
        local.make_folder()
        local.remember(options)
        os.execve(command[0], command, child_environment())
    with PROGRESS.work("hub start"):
        fresh = local.start(command, terminal.say)
    if (
        not fresh
        and options != HubOptions(names=("localhost",))
        and tuple(command) != local.process.command()
    ):
        terminal.say("it goes on as it was started: for other options, edgeferry hub stop first")
    if fresh:
        local.remember(options)
    _tell(terminal, local, fresh=fresh, elsewhere=state is not None)


@hub.command()
def stop(context: typer.Context, state: StateOption = None) -> None:
    """Stop the hub that `hub start` started; what it knows stays.
    E.g. edgeferry hub stop"""
    local, terminal = _find(context, state), Terminal(Output.TABLE)
    terminal.say("stopped the hub" if local.stop() else f"no hub runs in {local.folder}")


@hub.command()
def restart(context: typer.Context, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Stop the hub and start it as it was started; clients come back by themselves.
    E.g. edgeferry hub restart"""
    local, terminal = _find(context, state), Terminal(output)
    command = local.process.command()
    if not command:
        options = local.last_options()
        if options is None:
            raise UsageError(f"no hub of 'hub start' runs in {local.folder}", fix="edgeferry hub start")
        command = options.command(local.folder)
    local.stop()
    fresh = local.start(command, terminal.say)
    _tell(terminal, local, fresh=fresh, elsewhere=state is not None)


@hub.command()
def status(context: typer.Context, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """Whether the hub runs, who started it, and where it listens; exit 1 when it does not run.
    E.g. edgeferry hub status --output json"""
    local = _find(context, state)
    facts = _facts(local)
    lines = [
        f"{key.replace('_', ' '):<18} {_shown(value)}"
        for key, value in facts.items()
        if value not in _NOTHING
    ]
    Terminal(output).answer(facts, lines)
    finish(bool(facts["ready"]), f"no hub serves in {local.folder}", "edgeferry hub start")


@hub.command("connection-string")
def connection_string(
    context: typer.Context,
    policy: Annotated[
        str, typer.Option(help="Of which policy: iothubowner, service, device, registryRead, …")
    ] = "iothubowner",
    node: Annotated[
        bool, typer.Option("--node", help="For Node's service SDK, which knows port 443 only.")
    ] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The connection string for services, on one line; it holds a secret.
    E.g. export IOTHUB_CONNECTION_STRING="$(edgeferry hub connection-string)" """
    local, terminal = _find(context, state), Terminal(output)
    connection = local.connection()
    key = connection.policies.get(policy)
    if key is None:
        raise UsageError(
            f"the hub has no policy {policy!r}", fix=f"choose one of: {', '.join(connection.policies)}"
        )
    host = connection.name if node else connection.host_name
    text = render_connection_string(ConnectionString(host, key, policy=policy))
    facts: dict[str, Any] = {"connection_string": text, "ca_file": str(local.ca_file)}
    if node and host != connection.host_name:
        local.write_node_preload()
        facts["node_options"] = f"--require {local.node_preload}"
        terminal.say(f'and export NODE_OPTIONS="{facts["node_options"]}"')
    if node:
        terminal.say(f"and export NODE_EXTRA_CA_CERTS={local.ca_file}")
    if output is Output.JSON:
        terminal.answer(facts)
    else:
        print(text)


@hub.command("ca-file")
def show_ca_file(context: typer.Context, state: StateOption = None) -> None:
    """The path of the certificate that the hub's clients must trust.
    E.g. export REQUESTS_CA_BUNDLE="$(edgeferry hub ca-file)" """
    local = _find(context, state)
    local.connection()
    print(local.ca_file)


@hub.command()
def logs(
    context: typer.Context,
    lines: Annotated[int, typer.Option(min=0, help="How many of the newest.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And what comes, until Ctrl-C.")] = False,
    state: StateOption = None,
) -> None:
    """What the hub logged, JSON lines, the newest last.
    E.g. edgeferry hub logs --lines 20 --follow"""
    local = _find(context, state)
    path = local.log()
    if not path.is_file():
        raise UsageError(
            f"there is no {path}", fix="a hub in the foreground logs where it runs; edgeferry hub status"
        )
    print_log(path, lines, follow=follow)


@hub.command()
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The copy; it must not exist yet.")],
    state: StateOption = None,
) -> None:
    """Copy the hub's database as it is at one moment, running or not. To restore it, put it in the place of
    hub.db in the folder of a hub that is stopped, and remove hub.db-wal there if a hub was killed: it holds
    later writes.
    E.g. edgeferry hub backup hub-monday.db"""
    local = _find(context, state)
    _need_server()
    from edgeferry.hub.transfer import back_up

    with PROGRESS.work("hub backup"):
        back_up(local.folder, file)
    Terminal(Output.TABLE).say(f"wrote {file}; it holds keys, and only you can read it")


@hub.command("export")
def export_hub(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Where to; - for the terminal.")],
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Leave the keys of devices out.")] = False,
    state: StateOption = None,
) -> None:
    """Write every device, module and configuration, a JSON document a line, running or not.
    E.g. edgeferry hub export hub.jsonl"""
    local = _find(context, state)
    _need_server()
    from edgeferry.hub.transfer import export

    lines = export(local.folder, keys=not no_keys)
    if file == "-":
        sys.stdout.writelines(lines)
        return
    try:
        with PROGRESS.work("hub export"):
            count = _write_private(Path(file), lines)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", fix="name another file") from error
    Terminal(Output.TABLE).say(f"wrote {count - 1} documents to {file}")


@hub.command("import")
def import_hub(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="An export; - for standard input.")],
    merge: Annotated[bool, typer.Option("--merge", help="Leave what is there already as it is.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make what is there already as the file says.")
    ] = False,
    state: StateOption = None,
) -> None:
    """Bring an export into the hub, running or not: all of it, or nothing when something is there already.
    E.g. edgeferry hub import hub.jsonl --merge"""
    if merge and replace:
        raise UsageError("--merge and --replace contradict each other", fix="give one of them")
    local, terminal = _find(context, state), Terminal(Output.TABLE)
    _need_server()
    mode = "merge" if merge else "replace" if replace else "refuse"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", fix="name an export") from error
    with PROGRESS.work("hub import"), local.held():
        count = local.send_import(text, mode) if local.runs() else _import_stopped(local, text, mode)
    terminal.say(f"imported {count} documents")


def _import_stopped(local: LocalHub, text: str, mode: str) -> int:
    from edgeferry.hub.server import new_key, owning
    from edgeferry.hub.store import open_store
    from edgeferry.hub.transfer import Mode, bring_in

    with owning(local.folder), contextlib.closing(open_store(local.folder / "hub.db")) as store:
        return bring_in(store, text.split("\n"), Mode(mode), new_key)[0]


def _write_private(path: Path, lines: Iterable[str]) -> int:
    """How many lines were written; the file is its owner's, and there only when it is whole. UsageError for
    what is there and no file."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file", fix="name a file, or - for the terminal")
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    count = 0
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            for line in lines:
                opened.write(line)
                count += 1
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return count


def _is_told(context: typer.Context, options: Sequence[str]) -> bool:
    """Whether somebody gave one of the options."""
    sources = (context.get_parameter_source(name) for name in options)
    return any(source is not None and source.name != "DEFAULT" for source in sources)


def _find(context: typer.Context, state: Path | None) -> LocalHub:
    folder = state or load_anywhere(context).state / HUB_FOLDER
    return LocalHub(folder.absolute())


def _need_server() -> None:
    try:
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError("the hub's server is not installed", fix="pip install 'edgeferry[hub]'") from error


def _check_address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError as error:
        raise UsageError(f"{text!r} is not an IPv4 address", fix="give one, e.g. 127.0.0.1") from error


def _facts(local: LocalHub) -> dict[str, Any]:
    runs, health = local.runs(), local.health()
    facts: dict[str, Any] = {
        "state": "running" if runs else "stopped",
        "ready": bool(runs and health.get("ready")),
        "started_by": local.started_by(),
        "process": local.pid(),
        "folder": str(local.folder),
    }
    if runs and health:  # else it may have written nothing yet
        connection = local.connection()
        facts |= {"host_name": connection.host_name, "https": connection.https, "mqtt": connection.mqtt}
        facts |= {"gateway_host_name": connection.gateway, "ca_file": str(local.ca_file)}
    if local.started_by() == HUB_START or (not runs and local.log().is_file()):
        facts["log"] = str(local.log())
    return facts


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _tell(terminal: Terminal, local: LocalHub, *, fresh: bool, elsewhere: bool) -> None:
    facts = _facts(local)
    facts["started"] = fresh
    connection = local.connection()
    place = f" --state {local.folder}" if elsewhere else ""
    word = "serves" if fresh else f"runs already ({facts['started_by']}) and serves"
    lines = [
        f"the hub {word}: https://{connection.host_name}, devices at {connection.mqtt[0]} (MQTT)",
        f"  connection string   edgeferry hub connection-string{place}",
        f"  its authority       {local.ca_file}",
    ]
    if connection.gateway:
        lines.append(
            f"  devices also need   GatewayHostName={connection.gateway} in their connection strings"
        )
    if ":" in connection.host_name:
        lines.append(f"  Node's service SDK  edgeferry hub connection-string --node{place}")
    if elsewhere:
        lines += [
            "  edgeferry finds it  "
            f'export {environment_name("hub.connection_string")}="$(edgeferry hub connection-string{place})"',
            f"                      export {environment_name('hub.ca_file')}={local.ca_file}",
        ]
    lines.append("  next                edgeferry devices create my-device")
    lines.append(f"  end it              edgeferry hub stop{place}")
    terminal.answer(facts, lines)
