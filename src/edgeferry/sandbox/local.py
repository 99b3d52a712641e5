"""`up` and `down`: a hub, a registry, a ledger and devices on this machine, each a process of its own.

Each sandbox has a number N: its servers listen on 127.31.N.1 and on the gateway of a small container
network, 10.213.N.0/28, by which containers reach the hub. So several live side by side, although the
ports of Microsoft's SDKs are fixed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from edgeferry.authority import open_authority
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, OutsideError
from edgeferry.git import Git
from edgeferry.ports import Hub, Json
from edgeferry.sandbox.accounts import PULLER, PUSHER
from edgeferry.sandbox.engine import close_idle_engine, is_own_engine, open_engine, using_engine
from edgeferry.sandbox.hub import HubOptions, LocalHub
from edgeferry.sandbox.private import write_private
from edgeferry.sandbox.process import Process
from edgeferry.sandbox.registry import PORT as REGISTRY_PORT
from edgeferry.sandbox.registry import TOKENS_PORT, Logins, start_registry
from edgeferry.settings import HUB_FOLDER, SANDBOX_FILE
from edgeferry.surroundings import child_environment
from edgeferry.wire.connection import device_connection
from edgeferry.wire.enrolment import (
    DECOMMISSIONED,
    HUB_NAME,
    DeviceFile,
    Surroundings,
    render_device_file,
)

HUB_PORT = 8443
UP_LOCK = "up.lock"
"""Held in the state folder by who ups or downs it."""
_LAST_NUMBER = 250
_READY_S = 30
_LABEL = "edgeferry.sandbox"


@dataclass(frozen=True)
class Sandbox:
    """What `up` knows of itself."""

    state: Path
    id: str
    number: int
    engine: str
    gateway: str

    @property
    def address(self) -> str:
        """The loopback address of the hub and the registry."""
        return f"127.31.{self.number}.1"

    @property
    def network(self) -> str:
        """The engine's network, whose gateway the hub is on too."""
        return _network(self.id)

    @property
    def labels(self) -> dict[str, str]:
        """What every container and network of this sandbox wears."""
        return {_LABEL: self.id}


@dataclass(frozen=True)
class Part:
    """One process of the sandbox, for `status`."""

    name: str
    running: bool
    log: str


def start_servers(state: Path, engine_url: str, say: Callable[[str], None]) -> Sandbox:
    """Hub, registry and ledger run and answer; their addresses are the project's settings from now on."""
    LocalHub(state / HUB_FOLDER).must_not_run_alone()
    with using_engine():  # until the sandbox's network shows that it is in use
        engine_url = open_engine(engine_url, say)
        sandbox = _open_sandbox(state, engine_url)
    authority = open_authority(state / "hub")
    logins = start_registry(state, sandbox.address, authority)
    hub = Process(state, "hub")
    if not hub.is_running():
        say(f"starting the hub and the registry on {sandbox.address}")
        options = HubOptions((sandbox.address, sandbox.gateway), HUB_PORT)
        hub.start(options.command(state / HUB_FOLDER), child_environment())
    _init_ledger(state / "ledger.git")
    _await_answer(hub, f"https://{sandbox.address}:{HUB_PORT}/health", state, "the hub")
    tokens = f"https://{sandbox.address}:{TOKENS_PORT}/token"
    _await_answer(Process(state, "tokens"), tokens, state, "the registry's token endpoint")
    _await_answer(
        Process(state, "registry"), f"https://{sandbox.address}:{REGISTRY_PORT}/v2/", state, "the registry"
    )
    _write_sandbox(sandbox, logins)
    return sandbox


def start_devices(
    sandbox: Sandbox, hub: Hub, count: int, enrol: Callable[[str], Json], say: Callable[[str], None]
) -> list[str]:
    """The names of the devices whose agents run: `count`, and those of an earlier `up`, which the hub still
    knows and rollouts still target. `enrol` gives a device's identity, which it makes where it is missing."""
    here = surroundings(sandbox)
    names = _device_names(sandbox.state / "devices", count)
    for name in names:
        folder = sandbox.state / "devices" / name
        agent = Process(sandbox.state, name)
        if agent.is_running():
            continue
        connection = device_connection(f"{sandbox.address}:{HUB_PORT}", enrol(name))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = DeviceFile(connection, str(sandbox.state / "hub" / "ca.pem"), here)
        write_private(folder / "device.json", render_device_file(file))
        (folder / DECOMMISSIONED).unlink(missing_ok=True)
        say(f"starting the agent of {name}")
        agent.start([sys.executable, "-m", "edgeferry.device", "--state", str(folder)], child_environment())
    for name in names:
        _await_connected(hub, Process(sandbox.state, name), name)
    return names


def surroundings(sandbox: Sandbox) -> Surroundings:
    """Where devices of this sandbox live."""
    password = json.loads((sandbox.state / SANDBOX_FILE).read_text())["puller_password"]
    login = RegistryLogin(f"{sandbox.address}:{REGISTRY_PORT}", PULLER, password)
    return Surroundings(HUB_NAME, sandbox.gateway, (login,), sandbox.engine, sandbox.id)


def load_sandbox(state: Path) -> Sandbox | None:
    """The sandbox of this state folder; None where there was no `up`."""
    try:
        known = json.loads((state / SANDBOX_FILE).read_text())
    except FileNotFoundError:
        return None
    return Sandbox(state, known["id"], known["number"], known["engine"], known["gateway"])


def status(state: Path) -> list[Part]:
    """Each process that `up` has started, and whether it runs."""
    names = sorted(path.stem for path in (state / "run").glob("*.json"))
    return [Part(name, Process(state, name).is_running(), str(Process(state, name).log)) for name in names]


def down(state: Path, *, wipe: bool, say: Callable[[str], None]) -> None:
    """Nothing of this sandbox runs any more: agents, modules, networks, servers, and the engine if it is
    ours and idle. With `wipe` the devices' volumes and the state folder's records, keys and caches of the
    sandbox go too."""
    if wipe:
        LocalHub(state / HUB_FOLDER).must_not_run_alone()
    sandbox = load_sandbox(state)
    for part in sorted(status(state), key=lambda part: part.name in ("hub", "registry", "tokens")):
        if Process(state, part.name).stop():
            say(f"stopped {part.name}")
    if sandbox:
        _clear_engine(sandbox, say, wipe=wipe)
    if wipe:
        for name in ("hub", "registry", "devices", "ledger.git", "ledger", "run", "keys", "trust"):
            shutil.rmtree(state / name, ignore_errors=True)
        (state / SANDBOX_FILE).unlink(missing_ok=True)


@contextmanager
def taking_back(state: Path, say: Callable[[str], None]) -> Iterator[None]:
    """What was started here ends again when somebody interrupts: of a sandbox that was there, its new parts;
    of a new one, all of it with its data."""
    is_new = not (state / SANDBOX_FILE).exists()
    running = {part.name for part in status(state) if part.running}
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted: what was started is stopped again")
        if not running:
            down(state, wipe=is_new, say=say)
        for part in status(state):
            if part.name not in running and Process(state, part.name).stop():
                say(f"stopped {part.name}")
        raise


def _clear_engine(sandbox: Sandbox, say: Callable[[str], None], *, wipe: bool) -> None:
    engine = Engine(sandbox.engine)
    try:
        engine.ping()
    except EngineError:
        if is_own_engine(sandbox.engine):
            return  # it ended, and everything that ran in it
        raise
    try:
        removed = [container.name for container in engine.containers(sandbox.labels)]
        for name in removed:
            engine.remove(name)
        for network in engine.networks(sandbox.labels):
            engine.remove_network(network)
        for volume in engine.volumes(f"edgeferry.{sandbox.id}.") if wipe else ():
            engine.remove_volume(volume)
        if removed:
            say(f"removed {len(removed)} containers")
    finally:
        engine.close()
    if is_own_engine(sandbox.engine) and close_idle_engine():
        say("stopped the container engine that edgeferry had started")


def _open_sandbox(state: Path, engine_url: str) -> Sandbox:
    engine = Engine(engine_url)
    try:
        known = load_sandbox(state)
        if known:
            gateway = engine.ensure_network(_network(known.id), known.labels, _subnet(known.number))
            return Sandbox(state, known.id, known.number, engine_url, gateway)
        identifier = secrets.token_hex(3)
        problem = ""
        for number in range(1, _LAST_NUMBER):
            try:
                gateway = engine.ensure_network(_network(identifier), {_LABEL: identifier}, _subnet(number))
            except EngineError as error:
                problem = error.problem
                if "overlap" not in problem.lower():
                    raise
                continue
            return Sandbox(state, identifier, number, engine_url, gateway)
        raise EngineError(f"no free network for a sandbox: {problem}", fix="remove unused networks")
    finally:
        engine.close()


def _network(identifier: str) -> str:
    return f"edgeferry.{identifier}.hub"


def _subnet(number: int) -> str:
    return f"10.213.{number}.0/28"


def _write_sandbox(sandbox: Sandbox, logins: Logins) -> None:
    connection = json.loads((sandbox.state / "hub" / "connection.json").read_text())
    ca_file = str(sandbox.state / "hub" / "ca.pem")
    document = {
        "id": sandbox.id,
        "number": sandbox.number,
        "engine": sandbox.engine,
        "gateway": sandbox.gateway,
        "puller_password": logins.puller_password,
        "settings": {
            "hub.connection_string": connection["connection_string"],
            "hub.ca_file": ca_file,
            "hub.queries_per_minute": "0",
            "registry.host": f"{sandbox.address}:{REGISTRY_PORT}",
            "registry.username": PUSHER,
            "registry.password": logins.pusher_password,
            "registry.ca_file": ca_file,
            "ledger.url": str(sandbox.state / "ledger.git"),
            "engine.url": sandbox.engine,
        },
    }
    write_private(sandbox.state / SANDBOX_FILE, document)


def _device_names(folder: Path, count: int) -> list[str]:
    """`count` devices, and those enrolled by an earlier `up`, by number."""
    earlier = [path.parent.name.removeprefix("device-") for path in folder.glob("device-*/device.json")]
    numbers = {*range(1, count + 1), *(int(number) for number in earlier if number.isdigit())}
    return [f"device-{number}" for number in sorted(numbers)]


def _init_ledger(path: Path) -> None:
    if not (path / "HEAD").is_file():
        Git(path.parent).ask("init", "--quiet", "--bare", str(path))


def _await_answer(process: Process, url: str, state: Path, what: str) -> None:
    context = ssl.create_default_context(cafile=state / "hub" / "ca.pem")
    deadline = time.monotonic() + _READY_S
    with httpx.Client(verify=context, trust_env=False, timeout=2) as client:
        while True:
            process.must_run(what, fix=f"read {process.log}; is its address taken by another program?")
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code in (200, 400, 401):
                    return
            if time.monotonic() > deadline:
                raise OutsideError(
                    f"{what} did not answer at {url} in {_READY_S} s", fix=f"read {process.log}"
                )
            time.sleep(0.05)


def _await_connected(hub: Hub, agent: Process, name: str) -> None:
    deadline = time.monotonic() + _READY_S
    while (hub.module_twin(name, "$edgeAgent") or {}).get("connectionState") != "Connected":
        agent.must_run(f"the agent of {name}", fix=f"read {agent.log}")
        if time.monotonic() > deadline:
            raise OutsideError(
                f"the agent of {name} did not connect in {_READY_S} s", fix=f"read {agent.log}"
            )
        time.sleep(0.05)
