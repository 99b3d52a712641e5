"""One hub process: its state folder, its sockets, REST and MQTT over TLS until it is told to stop."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import uvicorn

import edgeferry
from edgeferry.domain.limits import ANY_SIZES, AZURE_RATES, AZURE_SIZES
from edgeferry.errors import HubError
from edgeferry.hub.access import Access
from edgeferry.hub.admission import Admission
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.bulk import Bulk
from edgeferry.hub.configurations import Configurations
from edgeferry.hub.connection import open_policies
from edgeferry.hub.content import Content
from edgeferry.hub.conversation import Conversation
from edgeferry.hub.core import Core
from edgeferry.hub.events import Event
from edgeferry.hub.http import BoundedHttp
from edgeferry.hub.journal import Journal
from edgeferry.hub.links import Links
from edgeferry.hub.logs import LEVELS, JsonLog
from edgeferry.hub.messages import DEFAULT_BOUNDS, Bounds, MessageStore, open_messages, stamp
from edgeferry.hub.methods import Methods
from edgeferry.hub.metrics import Metrics
from edgeferry.hub.mqtt import Door
from edgeferry.hub.presence import Presences
from edgeferry.hub.queries import Queries
from edgeferry.hub.rates import Rates
from edgeferry.hub.registry import Registry
from edgeferry.hub.rest.app import Api
from edgeferry.hub.rest.configurations import ConfigurationHandlers
from edgeferry.hub.rest.identities import IdentityHandlers
from edgeferry.hub.rest.messages import MessageHandlers
from edgeferry.hub.rest.queries import QueryHandlers
from edgeferry.hub.rest.table import list_routes
from edgeferry.hub.rest.twins import TwinHandlers
from edgeferry.hub.sockets import BACKLOG, listen, places
from edgeferry.hub.store import Store, open_store
from edgeferry.hub.tls import Tls, open_tls
from edgeferry.hub.transfer import ImportRoute
from edgeferry.hub.twins import Twins

_HTTPS = 443
_HANDSHAKE_S = 15.0
_REQUESTS_END_S = 5
_SHUTDOWN_S = 0.5
"""How long a connection that ends may take to say so; who does not read is not waited for."""
_RENEW_S = 3600.0
_LOCK_TRIES = 20


class Port443(StrEnum):
    """Whether the hub listens on port 443 as well, the only one that Node's service SDK knows."""

    AUTO = "auto"
    OFF = "off"
    REQUIRED = "required"


class Limits(StrEnum):
    """Which of Azure's limits the hub keeps: sizes and counts; none; rates as well."""

    DEFAULT = "default"
    OFF = "off"
    AZURE = "azure"


@dataclass(frozen=True)
class Options:
    """Where the hub keeps its state and where it listens; ports are the same on every address."""

    state: Path
    addresses: tuple[str, ...]
    https_port: int = 8443
    mqtt_port: int = 8883
    bounds: Bounds = DEFAULT_BOUNDS
    """How much telemetry is kept."""
    port_443: Port443 = Port443.OFF
    names: tuple[str, ...] = ()
    """Names that clients reach it by; the first is what connection strings say, else the first address."""
    limits: Limits = Limits.DEFAULT
    log_level: int = LEVELS["info"]


@dataclass(frozen=True)
class _Doors:
    """The sockets the hub listens on."""

    https: Sequence[socket.socket]
    mqtt: Sequence[socket.socket]


def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. HubError when the state folder or an address is taken."""
    with ExitStack() as stack:
        stack.enter_context(owning(options.state))
        https = [stack.enter_context(listen(one, options.https_port)) for one in options.addresses]
        mqtt = [stack.enter_context(listen(one, options.mqtt_port)) for one in options.addresses]
        more = _listen_443(options, stack)
        doors = _Doors([*https, *more], mqtt)
        tls = open_tls(options.state, options.names, options.addresses)
        name = (*options.names, *options.addresses)[0]
        host_name = name if more or options.https_port == _HTTPS else f"{name}:{options.https_port}"
        policies = open_policies(options.state, host_name, places(doors.https), places(mqtt), new_key)
        store = open_store(options.state / "hub.db")
        stack.callback(store.close)
        messages = open_messages(options.state / "messages.db", options.bounds)
        stack.callback(messages.close)
        asyncio.run(_serve(options, store, messages, policies, tls, doors))


def _listen_443(options: Options, stack: ExitStack) -> Sequence[socket.socket]:
    """Sockets on port 443 of every address, or none."""
    if options.port_443 is Port443.OFF or options.https_port == _HTTPS:
        return []
    with ExitStack() as tried:
        try:
            sockets = [tried.enter_context(listen(one, _HTTPS)) for one in options.addresses]
        except HubError:
            if options.port_443 is Port443.REQUIRED:
                raise
            return []
        stack.push(tried.pop_all())
    return sockets


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the hub's, which has more to end than requests."""
        yield


async def _serve(
    options: Options,
    store: Store,
    messages: MessageStore,
    policies: Mapping[str, str],
    tls: Tls,
    doors: _Doors,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    written = JsonLog(sys.stderr, _now, options.log_level)
    metrics = Metrics()

    def log(event: str, **facts: Any) -> None:
        metrics.note(event, facts)
        written(event, **facts)

    def announce(events: Sequence[Event]) -> None:
        metrics.announced(events)
        links.announce(events)

    def healthy() -> bool:
        serving = bool(listeners) and all(listener.is_serving() for listener in listeners)
        return serving and not stop.is_set() and store.serves()

    for library in ("uvicorn.error", "asyncio"):
        logging.getLogger(library).addFilter(written.take_record)
    journal = Journal(messages, log, time.time)
    presences = Presences(messages.presence(), journal.note, _now())
    links = Links(presences, lambda device, module: store.identity(device, module) is not None, log)
    metrics.tell("pending_devices", "Devices that wait to be assigned", store.count_pending)
    metrics.tell("store_commits", "Transactions committed since the hub began", lambda: store.commits)
    metrics.tell("connections", "Clients connected now", lambda: len(links.live))
    sizes = ANY_SIZES if options.limits is Limits.OFF else AZURE_SIZES
    core = Core(store, _now, new_key, presences.of, announce, log, sizes)
    assigner = Assigner(core)
    queries = Queries(core)
    twins = Twins(core, assigner)
    access = Access(store, policies)
    rates = Rates(AZURE_RATES if options.limits is Limits.AZURE else {}, time.monotonic)
    conversation = Conversation(store, twins, links, journal, time.time)
    door = Door(Admission(store, access, time.time, rates), conversation, links, log, time.time)
    listeners: list[asyncio.Server] = []
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
    importing = ImportRoute(access, store, announce, assigner.wake, log, time.time, _now, new_key, _new_id)
    more = (metrics.route(), importing.route())
    api = Api(access, core, routes, now=time.time, new_id=_new_id, rates=rates, more=more)
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
        timeout_graceful_shutdown=_REQUESTS_END_S,
    )
    config.load()
    config.ssl = tls.context
    server = _Server(config)
    for one in doors.mqtt:
        listeners.append(
            await loop.create_server(
                door.connection,
                sock=one,
                ssl=tls.context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
                backlog=BACKLOG,
            )
        )
    rest = asyncio.create_task(server.serve(sockets=list(doors.https)))
    renewal = asyncio.create_task(_keep_renewing(tls, log))
    log("serving", https=places(doors.https), mqtt=places(doors.mqtt), limits=options.limits.value)
    stopping = asyncio.create_task(stop.wait())
    writing = asyncio.create_task(journal.run())
    await asyncio.wait((rest, stopping), return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    log("stopping")
    renewal.cancel()
    for listener in listeners:
        listener.close()
    server.should_exit = True
    journal.dismiss()
    await asyncio.gather(rest, stopping)  # methods in flight may still be answered
    for link in list(links.live.values()):
        link.end("the hub stops")
    await door.close(2 * _SHUTDOWN_S)
    await journal.close()
    writing.cancel()
    log("stopped")


async def _keep_renewing(tls: Tls, log: Any) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        try:
            tls.renew()
        except HubError as error:
            log("failure", error=str(error))


def _now() -> str:
    return stamp(time.time())


def _new_id() -> str:
    return secrets.token_hex(16)


def new_key() -> str:
    """A fresh shared access key."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@contextmanager
def owning(folder: Path) -> Iterator[None]:
    """No hub uses the folder meanwhile, which is made where it is missing; HubError when one does, or it
    cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HubError(
            f"cannot use the state folder {folder}: {error.strerror}",
            fix="mend its permissions, or give another --state",
        ) from error
    try:
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if left:  # who only looks whether a hub runs holds it for a moment
                    time.sleep(0.01)
                    continue
                raise HubError(
                    f"another hub is using the state folder {folder}", fix="stop it, or give another --state"
                ) from error
        yield
    finally:
        os.close(descriptor)
