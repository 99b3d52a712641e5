"""One hub process: its state folder, its sockets, REST and MQTT over TLS until it is told to stop."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

import edgeferry
from edgeferry.errors import HubError
from edgeferry.hub.access import RIGHTS, Access
from edgeferry.hub.admission import Admission
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.bulk import Bulk
from edgeferry.hub.configurations import Configurations
from edgeferry.hub.content import Content
from edgeferry.hub.conversation import Conversation
from edgeferry.hub.core import Core
from edgeferry.hub.http import BoundedHttp
from edgeferry.hub.journal import Journal
from edgeferry.hub.links import Links
from edgeferry.hub.messages import DEFAULT_BOUNDS, Bounds, MessageStore, open_messages
from edgeferry.hub.methods import Methods
from edgeferry.hub.mqtt import Door
from edgeferry.hub.presence import Presences
from edgeferry.hub.queries import Queries
from edgeferry.hub.registry import Registry
from edgeferry.hub.rest.app import Api
from edgeferry.hub.rest.configurations import ConfigurationHandlers
from edgeferry.hub.rest.identities import IdentityHandlers
from edgeferry.hub.rest.messages import MessageHandlers
from edgeferry.hub.rest.queries import QueryHandlers
from edgeferry.hub.rest.table import list_routes
from edgeferry.hub.rest.twins import TwinHandlers
from edgeferry.hub.store import Store, open_store
from edgeferry.hub.tls import open_tls
from edgeferry.hub.twins import Twins
from edgeferry.wire.connection import ConnectionString, render_connection_string

_BACKLOG = 1024
_HANDSHAKE_S = 15.0
_SHUTDOWN_S = 0.5
"""How long a connection that ends may take to say so; who does not read is not waited for."""


@dataclass(frozen=True)
class Options:
    """Where the hub keeps its state and where it listens; ports are the same on every address."""

    state: Path
    addresses: tuple[str, ...]
    https_port: int = 8443
    mqtt_port: int = 8883
    bounds: Bounds = DEFAULT_BOUNDS
    """How much telemetry is kept."""


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. HubError when the state folder or an address is taken."""
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_owning(options.state))
        https = [stack.enter_context(_listen(one, options.https_port)) for one in options.addresses]
        mqtt = [stack.enter_context(_listen(one, options.mqtt_port)) for one in options.addresses]
        context = open_tls(options.state, options.addresses)
        policies = _open_policies(options)
        store = open_store(options.state / "hub.db")
        stack.callback(store.close)
        messages = open_messages(options.state / "messages.db", options.bounds)
        stack.callback(messages.close)
        asyncio.run(_serve(store, messages, policies, context, https, mqtt))


async def _serve(
    store: Store,
    messages: MessageStore,
    policies: Mapping[str, str],
    context: ssl.SSLContext,
    https: Sequence[socket.socket],
    mqtt: Sequence[socket.socket],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_log_record)
    journal = Journal(messages, _log, time.time)
    presences = Presences(messages.presence(), journal.note, _now())
    links = Links(presences, lambda device, module: store.identity(device, module) is not None, _log)
    core = Core(store, _now, _new_key, presences.of, links.announce, _log)
    assigner = Assigner(core)
    queries = Queries(core)
    twins = Twins(core, assigner)
    access = Access(store, policies)
    conversation = Conversation(store, twins, links, journal, time.time)
    door = Door(Admission(store, access, time.time), conversation, links, _log, time.time)
    listeners: list[asyncio.Server] = []

    def healthy() -> bool:
        serving = bool(listeners) and all(listener.is_serving() for listener in listeners)
        return serving and not stop.is_set() and store.serves()

    registry = Registry(core, assigner)
    configurations = Configurations(core, queries, assigner)
    routes = list_routes(
        IdentityHandlers(core, registry, Bulk(core, registry, twins)),
        TwinHandlers(core, twins, Methods(links)),
        ConfigurationHandlers(core, configurations, Content(core, assigner), assigner),
        QueryHandlers(queries),
        MessageHandlers(journal),
        healthy,
        edgeferry.__version__,
    )
    api = Api(access, core, routes, now=time.time, new_id=lambda: secrets.token_hex(16))
    assigner.wake()
    config = uvicorn.Config(
        api.app(),
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    for one in mqtt:
        listeners.append(
            await loop.create_server(
                door.connection,
                sock=one,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
                backlog=_BACKLOG,
            )
        )
    rest = asyncio.create_task(server.serve(sockets=list(https)))
    _log("serving", https=_places(https), mqtt=_places(mqtt))
    stopping = asyncio.create_task(stop.wait())
    writing = asyncio.create_task(journal.run())
    await asyncio.wait((rest, stopping), return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    for listener in listeners:
        listener.close()
    await door.close(2 * _SHUTDOWN_S)
    await journal.close()
    writing.cancel()
    server.should_exit = True
    await asyncio.gather(rest, stopping)
    _log("stopped")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _log(event: str, **facts: object) -> None:
    """One JSON line on stderr; members without a value are left out. Lost where the disk takes no more."""
    said = {name: value for name, value in facts.items() if value not in (None, "")}
    with suppress(OSError):
        sys.stderr.write(json.dumps({"at": _now(), "event": event, **said}) + "\n")
        sys.stderr.flush()


def _log_record(record: logging.LogRecord) -> bool:
    """What a library says about itself, as a line of ours; its own line is dropped."""
    if record.levelno >= logging.WARNING:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        _log("warning", source=record.name, message=record.getMessage(), trace=trace)
    return False


def _places(sockets: Sequence[socket.socket]) -> list[str]:
    return ["{}:{}".format(*one.getsockname()) for one in sockets]


@contextmanager
def _owning(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HubError(
                f"another hub is using the state folder {folder}", fix="stop it, or give another --state"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _listen(address: str, port: int) -> socket.socket:
    # With IPPROTO_TCP said, asyncio sets TCP_NODELAY on what it accepts: milliseconds, not 40 of them.
    try:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            one.listen(_BACKLOG)
            one.setblocking(False)
        except BaseException:
            one.close()
            raise
    except OSError as error:
        raise HubError(
            f"cannot listen on {address}:{port}: {error.strerror or error}",
            fix="stop who holds it, or give another --address or port",
        ) from error
    return one


def _open_policies(options: Options) -> Mapping[str, str]:
    """The policies' keys; `connection.json` is made, or brought up to date with the addresses."""
    file = options.state / "connection.json"
    try:
        policies = {} if not file.exists() else dict(json.loads(file.read_text())["policies"])
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(
            f"{file} is damaged: {error}", fix="restore it, or remove it to get new keys"
        ) from error
    policies = {name: policies.get(name) or _new_key() for name in RIGHTS}
    host_name = f"{options.addresses[0]}:{options.https_port}"
    owner = ConnectionString(host_name, policies["iothubowner"], policy="iothubowner")
    document = {
        "hostname": host_name,
        "policies": policies,
        "connection_string": render_connection_string(owner),
    }
    data = json.dumps(document, indent=2).encode() + b"\n"
    if not file.exists() or file.read_bytes() != data:
        _write_private(file, data)
    return policies


def _write_private(path: Path, data: bytes) -> None:
    """Replaces the file's content in one step, durably; only its owner can ever read it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
