"""`edgeferry hub`: one hub on this machine by itself, known by its state folder. Talks to it by address only.

The hub of `edgeferry up` lies in such a folder too, and so does one that somebody started in a terminal or a
container; they can be asked, and are stopped by whoever started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.sandbox.private import write_private
from edgeferry.sandbox.process import Process, locked
from edgeferry.settings import hub_runs
from edgeferry.surroundings import child_environment
from edgeferry.wire.hub import parse_error
from edgeferry.wire.sas import render_sas

HUB_START, HUB_UP, HUB_OTHER = "edgeferry hub start", "edgeferry up", "somebody else"
NODE_PRELOAD = "node-port-443.js"
_STARTED = "started.json"
_READY_S = 30
_IMPORT_S = 600
_FAILURE = re.compile(r"edgeferry hub: (?P<problem>.*) \((?P<fix>[^()]*)\)")
_NODE = """\
// Node's service SDK knows port 443 only. With NODE_OPTIONS="--require FILE" what it opens to port 443 of
// this hub goes to the port where the hub listens; no other connection is touched.
'use strict';
const tls = require('tls');
const hub = { names: %s, port: %d };
const connect = tls.connect;
tls.connect = function (...given) {
  const options = given[0];
  const host = options && (options.servername || options.host);
  if (typeof options === 'object' && Number(options.port) === 443 && hub.names.includes(host)) {
    given[0] = { ...options, port: hub.port };
  }
  return connect.apply(this, given);
};
require('module').syncBuiltinESMExports();
"""


@dataclass(frozen=True)
class HubOptions:
    """How a hub listens; the first of `names` is what connection strings say, else the first address."""

    addresses: tuple[str, ...] = ("127.0.0.1",)
    https_port: int = 8443
    mqtt_port: int = 8883
    port_443: str = "auto"
    names: tuple[str, ...] = ()
    limits: str = "default"
    log_level: str = "info"
    kept: Mapping[str, int] = field(default_factory=dict)
    """How much telemetry is kept, by `count`, `bytes` and `age` (seconds), where not as the hub has it."""

    def listening_as(self, other: HubOptions) -> HubOptions:
        """These, with where and by what names the other listens."""
        return replace(
            self,
            addresses=other.addresses,
            https_port=other.https_port,
            mqtt_port=other.mqtt_port,
            port_443=other.port_443,
            names=other.names,
        )

    def command(self, folder: Path) -> list[str]:
        """The command line of a hub with that state folder."""
        command = [sys.executable, "-m", "edgeferry.hub", "--state", str(folder)]
        command += [word for address in self.addresses for word in ("--address", address)]
        command += [word for name in self.names for word in ("--name", name)]
        command += ["--https-port", str(self.https_port), "--mqtt-port", str(self.mqtt_port)]
        command += ["--port-443", self.port_443, "--limits", self.limits, "--log-level", self.log_level]
        command += [f"--messages-{name}={most}" for name, most in self.kept.items()]
        return command


@dataclass(frozen=True)
class Connection:
    """How clients reach the hub."""

    host_name: str
    """With the port of its REST, unless that is 443."""
    https: tuple[str, ...]
    """ADDRESS:PORT each."""
    mqtt: tuple[str, ...]
    policies: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name alone."""
        return self.host_name.partition(":")[0]

    @property
    def https_port(self) -> int:
        """The port of its REST that does not depend on rights."""
        return int(self.https[0].rpartition(":")[2])

    @property
    def gateway(self) -> str:
        """What a device's connection string needs as GatewayHostName; "" for nothing."""
        port = int(self.mqtt[0].rpartition(":")[2])
        if port != 8883:
            return f"{self.name}:{port}"
        return self.name if ":" in self.host_name else ""


@dataclass(frozen=True)
class LocalHub:
    """The hub whose state folder is `folder`."""

    folder: Path

    @property
    def process(self) -> Process:
        """What `hub start` starts."""
        return Process(self.folder, "hub")

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.pem"

    @property
    def node_preload(self) -> Path:
        """What lets Node's service SDK reach the hub where port 443 is not its."""
        return self.folder / NODE_PRELOAD

    def remember(self, options: HubOptions) -> None:
        """The next start listens likewise, unless it is told otherwise."""
        write_private(self.folder / _STARTED, asdict(options))

    def last_options(self) -> HubOptions | None:
        """How it was last started; None when that is not known."""
        try:
            said = json.loads((self.folder / _STARTED).read_text())
            return HubOptions(
                **{**said, "addresses": tuple(said["addresses"]), "names": tuple(said["names"])}
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def log(self) -> Path:
        """Where its output goes, when it was started in the background."""
        return self._up.log if self.started_by() == HUB_UP else self.process.log

    def runs(self) -> bool:
        """Whether a hub uses the folder now, whoever started it."""
        return hub_runs(self.folder)

    def started_by(self) -> str:
        """Who started the hub that runs; "" when none does."""
        if self.process.is_running():
            return HUB_START
        if not self.runs():
            return ""
        return HUB_UP if self._up.is_running() else HUB_OTHER

    def pid(self) -> int | None:
        """Its process, where it was started in the background."""
        return self.process.pid() or self._up.pid()

    def connection(self) -> Connection:
        """How clients reach it, or did when it last ran; UsageError when it never did."""
        file = self.folder / "connection.json"
        try:
            said = json.loads(file.read_text())
            return Connection(said["hostname"], tuple(said["https"]), tuple(said["mqtt"]), said["policies"])
        except FileNotFoundError as error:
            raise UsageError(
                f"no hub was ever started in {self.folder}", fix="edgeferry hub start"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(f"{file} cannot be read", fix="edgeferry hub restart") from error

    def health(self) -> Mapping[str, Any]:
        """What it says of itself; {} when it does not answer."""
        with contextlib.suppress(httpx.HTTPError, OSError, ValueError, UsageError, HubError):
            host, _, port = self.connection().https[0].rpartition(":")
            address = "127.0.0.1" if host == "0.0.0.0" else host
            context = ssl.create_default_context(cafile=str(self.ca_file))
            with httpx.Client(verify=context, trust_env=False, timeout=5) as client:
                said = client.get(f"https://{address}:{port}/health").json()
                return said if isinstance(said, dict) else {}
        return {}

    def make_folder(self) -> None:
        """The folder is there, and can be written; else UsageError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            problem = f"{self.folder} cannot be a hub's folder: {error.strerror}"
            raise UsageError(problem, fix="name another folder with --state") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"you cannot write to {self.folder}", fix="name another folder with --state, or own this one"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else starts a hub in the folder meanwhile, which is made; UsageError when it cannot be."""
        self.make_folder()
        with locked(self.folder / "start.lock"):
            yield

    def start(self, command: Sequence[str], say: Callable[[str], None]) -> bool:
        """Whether it was started: False when it runs already, whoever started it. It answers, or it is an
        OutsideError that says why not; asked to end meanwhile, nothing is left running."""
        with self.held():
            if self.runs():
                return False
            say(f"starting a hub, its state in {self.folder}")
            self.process.start(command, child_environment())
            try:
                self._await_health()
            except BaseException:
                self.process.stop()
                raise
            self.write_node_preload()
        return True

    def stop(self) -> bool:
        """Whether it ran; it has ended. UsageError when somebody else started it."""
        who = self.started_by()
        if who in ("", HUB_START):
            return self.process.stop()
        end = "edgeferry down" if who == HUB_UP else "end it where it was started"
        raise UsageError(f"the hub in {self.folder} was started by {who}", fix=end)

    def send_import(self, text: str, mode: str) -> int:
        """How many documents the running hub took from the export. RefusedError when it did not want it,
        HubError when it did not answer."""
        connection = self.connection()
        host, _, port = connection.https[0].rpartition(":")
        address = "127.0.0.1" if host == "0.0.0.0" else host
        expires_at = int(time.time()) + _IMPORT_S
        key = connection.policies["iothubowner"]
        token = render_sas(connection.host_name, key, expires_at, "iothubowner")
        context = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with httpx.Client(verify=context, trust_env=False, timeout=_IMPORT_S) as client:
                said = client.post(
                    f"https://{address}:{port}/edgeferry/import",
                    params={"mode": mode},
                    content=text.encode(),
                    headers={"authorization": token},
                )
        except httpx.HTTPError as error:
            raise HubError(
                f"the hub did not take the import: {error or type(error).__name__}",
                fix="edgeferry hub logs",
                retryable=True,
            ) from error
        if said.status_code != 200:
            raise RefusedError(parse_error(said.content), fix="")
        return int(said.json()["imported"])

    def write_node_preload(self) -> None:
        """`node_preload` is there and says where the hub listens, whoever started it."""
        connection = self.connection()
        names = [connection.name, *(place.rpartition(":")[0] for place in connection.https)]
        text = _NODE % (json.dumps(list(dict.fromkeys(names))), connection.https_port)
        fresh = self.node_preload.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.node_preload)

    def must_not_run_alone(self) -> None:
        """UsageError when it runs, and `up` did not start it."""
        if self.started_by() in (HUB_START, HUB_OTHER):
            raise UsageError(
                f"a hub of its own runs in {self.folder}, the folder that 'up' keeps its hub in",
                fix="edgeferry hub stop; then up: its devices and keys stay",
            )

    @property
    def _up(self) -> Process:
        return Process(self.folder.parent, "hub")

    def _await_health(self) -> None:
        deadline = time.monotonic() + _READY_S
        while not (self.runs() and self.health().get("ready")):
            if not self.process.is_running():
                said = _FAILURE.fullmatch(self.process.last_words(1))
                if said:
                    raise HubError(said["problem"], fix=said["fix"])
            self.process.must_run("the hub", fix=f"read {self.process.log}")
            if time.monotonic() > deadline:
                raise OutsideError(f"the hub did not answer in {_READY_S} s", fix=f"read {self.process.log}")
            time.sleep(0.05)
