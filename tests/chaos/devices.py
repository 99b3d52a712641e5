"""One device under chaos: its identity at the hub, its layers, its agent as a process, and what is seen."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker

from edgeferry.device.containers import Place
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.wire.connection import render_connection_string
from edgeferry.wire.edge import render_module
from tests.chaos.grounds import Grounds
from tests.chaos.lab import Machine
from tests.chaos.pictures import Picture
from tests.chaos.relays import HubRelay, RegistryRelay
from tests.chaos.sights import Container, Layer, Sight
from tests.chaos.watching import LAYER_LABEL, MODULE_LABEL, Watcher

AGENT = "$edgeAgent"
MODULES = ("a", "b")
FOREVER = "trap 'exit 0' TERM; while true; do sleep 1; done"
RULES = "[trial]\nwindow_s = {window}\n[pull]\nprogress_s = {progress}\nleast_free_bytes = {free}\n"
ROOT = Path(__file__).parents[2]
Change = Callable[[str, ModuleSpec], ModuleSpec]


def as_it_is(_: str, spec: ModuleSpec) -> ModuleSpec:
    return spec


@dataclass
class Device:
    """A device that is enrolled, with relays of its own to hub and registry; `machine` when it has one."""

    grounds: Grounds
    folder: Path
    machine: Machine | None = None
    name: str = field(default_factory=lambda: f"c-{uuid.uuid4().hex[:8]}")
    sandbox: str = field(default_factory=lambda: f"x{uuid.uuid4().hex[:6]}")
    number: int = 0
    wanted: Layer = field(default_factory=lambda: Layer(0, {}))
    """What must run in the end."""
    version: int = 0
    code: int = 200
    pictures: dict[int, dict[str, Picture]] = field(default_factory=dict)
    """Layer to module to image."""
    proven: list[int] = field(default_factory=list)
    """Layers that were settled, the latest last."""
    extra: dict[str, Picture] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    """What the device said it carried out, as it was seen."""
    alive: tuple[str, ...] = ()
    """Configurations at the hub."""
    pace_s: float = 4.0
    """How long an update takes here, about."""
    others: dict[str, str] = field(default_factory=dict)
    """Modules of another layer, which must run too: name to image id."""

    def open(self) -> Device:
        """Enrolled, with its first layer settled by a running agent."""
        host = self.grounds.host(self.machine)
        self.engine = Engine(self.machine.url if self.machine else self.grounds.engine_url)
        self.client = docker.APIClient(base_url=self.engine.url, version="auto", timeout=60)
        self.relay = HubRelay(
            (host, self.grounds.free_port(host)),
            (self.grounds.hub.address, self.grounds.hub.mqtt_port),
            self.grounds.server_files,
            str(self.grounds.hub.ca_file),
        ).start()
        self.registry = RegistryRelay((host, 0), self.grounds.registry.address).start()
        self.watcher = Watcher(self.engine.url, self.labels)
        self._enrol(host)
        self.start()
        self.deploy()
        self.settle(60.0)
        self.note_settled()
        return self

    @property
    def labels(self) -> dict[str, str]:
        return {"edgeferry.sandbox": self.sandbox, "edgeferry.device": self.name}

    @property
    def _place(self) -> Place:
        return Place(self.sandbox, self.name, "", "")

    def _enrol(self, host: str) -> None:
        hub = self.grounds.hub
        key = hub.create_device(self.name)
        connection = hub.connection(self.name, key)
        text = render_connection_string(connection)
        text = text.replace(hub.host_name, f"{host}:{hub.https_port}")
        text = text.replace(f"{hub.address}:{hub.mqtt_port}", f"{host}:{self.relay.listen[1]}")
        self.secrets = {
            "key of the device": key,
            "login of the registry": '"right"',
            "login": "ZGV2aWNlOnJpZ2h0",
        }
        said = {
            "connection_string": text,
            "hub_ca_file": str(hub.ca_file),
            "container_gateway": {"name": "edgeferry-hub", "address": ""},
            "registries": [{"address": self.registry.address, "username": "device", "password": "right"}],
            "engine": self.engine.url,
            "sandbox": self.sandbox,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "device.json").write_text(json.dumps(said))
        (self.folder / "device.json").chmod(0o600)
        self.rule()
        self.grounds.configure(f"base-{self.name}", self.name, _base(), 0)

    def rule(self, *, window: float = 2.0, progress: float = 20.0, free: int = 1_000_000) -> None:
        """The owner's rules, which the agent reads when it starts."""
        text = RULES.format(window=float(window), progress=float(progress), free=free)
        (self.folder / "agent.toml").write_text(text)

    # the agent

    @property
    def log_file(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def start(
        self, entry: Sequence[str] = ("edgeferry.device",), env: Mapping[str, str] | None = None
    ) -> None:
        """An agent runs: the product's own, or another `entry` (module and arguments) that starts it."""
        assert self.process is None or self.process.poll() is not None, "an agent already runs"
        prefix = self.machine.prefix if self.machine else []
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *entry, "--state", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )

    def kill(self) -> None:
        """The agent has ended without a moment to prepare for it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """The agent has ended after SIGTERM."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def ensure_running(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.process = None
            self.start()

    # what is desired

    def push(self, number: int) -> dict[str, Picture]:
        """Images of a layer, in the registry."""
        pushed = {}
        for module in MODULES:
            note = f"{self.name} {number} {module}".encode()
            pushed[module] = self.publish(note)
        self.pictures[number] = pushed
        return pushed

    def publish(self, note: bytes) -> Picture:
        """An image of its own, under the reference by which this device knows it."""
        picture = self.grounds.push(note)
        name = picture.reference.partition("/")[2]
        return Picture(f"{self.registry.address}/{name}", picture.id)

    def deploy(self, change: Change = as_it_is, *, modules: Mapping[str, Picture] | None = None) -> int:
        """A new layer is at the hub, above the last one, and is what must run; its number."""
        self.number += 1
        number = self.number
        pushed = dict(modules) if modules is not None else self.push(number)
        self.pictures[number] = pushed
        self._configure(number, number, change, pushed)
        self.want(number)
        return number

    def deploy_again(self) -> None:
        """The layer that runs is brought by another configuration, equal but for its name."""
        self.number += 1
        self.pictures[self.number] = self.pictures[self.wanted.number]
        self._configure(self.number, self.wanted.number, as_it_is, self.pictures[self.wanted.number])
        self.version = self._await_version(f"layer-{self.name}-{self.number}")

    def _configure(self, number: int, label: int, change: Change, pushed: Mapping[str, Picture]) -> None:
        content = {}
        for order, (module, picture) in enumerate(pushed.items()):
            spec = ModuleSpec(
                name=module,
                image=picture.reference,
                create_options={"Cmd": [FOREVER], "Labels": {LAYER_LABEL: str(label)}, "StopTimeout": 2},
                env={"COLOUR": f"shade-{label}"},
                startup_order=order,
            )
            content[f"properties.desired.modules.{module}"] = render_module(change(module, spec))
        name = f"layer-{self.name}-{number}"
        self.grounds.configure(name, self.name, {AGENT: content}, number + 1)
        self.alive = (*self.alive, name)

    def take_back(self) -> None:
        """The newest layer is gone at the hub, the one before is wanted again."""
        *rest, last = self.alive
        self.grounds.remove_configuration(last)
        self.alive = tuple(rest)
        number = self.proven[-1]
        self.wanted = Layer(number, {module: one.id for module, one in self.pictures[number].items()})
        self.version = self._await_version(rest[-1])

    def add_other(self, module: str, picture: Picture) -> None:
        """Another configuration brings a module of its own."""
        spec = ModuleSpec(
            name=module,
            image=picture.reference,
            create_options={"Cmd": [FOREVER], "Labels": {LAYER_LABEL: "0"}, "StopTimeout": 2},
        )
        name = f"other-{self.name}"
        content = {AGENT: {f"properties.desired.modules.{module}": render_module(spec)}}
        self.grounds.configure(name, self.name, content, 1)
        self.extra[module] = picture
        self.others = {module: picture.id}
        self.version = self._await_version(name)

    def remove_other(self) -> None:
        """That configuration is gone."""
        self.grounds.remove_configuration(f"other-{self.name}")
        self.others = {}

    def want(self, number: int, code: int = 200) -> None:
        """That layer must run in the end, and the newest version be reported with that code."""
        self.wanted = Layer(number, {module: one.id for module, one in self.pictures[number].items()})
        self.code = code
        self.version = self._await_version(f"layer-{self.name}-{self.number}")

    def _await_version(self, configuration: str) -> int:
        deadline = time.monotonic() + 30
        while True:
            desired = self.grounds.twin(self.name, AGENT)["properties"]["desired"]
            givers = {
                (entry.get("configuration") or {}).get("id") for entry in desired.get("modules", {}).values()
            }
            if configuration in givers:
                return int(desired["$version"])
            assert time.monotonic() < deadline, f"the hub does not assign {configuration}"
            self.pause(0.02)

    def measure_pace(self) -> None:
        """`pace_s` is what an update takes on this machine now."""
        began = time.monotonic()
        self.deploy()
        self.settle(60.0)
        self.pace_s = time.monotonic() - began
        self.note_settled()

    def note_settled(self) -> None:
        """What runs is proven: older configurations go at the hub."""
        self.proven = [*self.proven, self.wanted.number][-2:]
        for name in self.alive[:-1]:
            self.grounds.remove_configuration(name)
        self.alive = self.alive[-1:]

    # what is seen

    def rows(self) -> list[dict]:
        """The device's containers as the engine lists them."""
        return self.client.containers(
            all=True, filters={"label": [f"{k}={v}" for k, v in self.labels.items()]}
        )

    def containers(self) -> list[Container]:
        found = []
        for row in self.rows():
            try:
                said = self.client.inspect_container(row["Id"])
            except docker.errors.NotFound:
                continue
            labels = said["Config"].get("Labels") or {}
            state = said["State"]
            found.append(
                Container(
                    id=said["Id"],
                    name=said["Name"].lstrip("/"),
                    module=labels.get(MODULE_LABEL, ""),
                    layer=int(labels.get(LAYER_LABEL, -1)),
                    image_id=said["Image"],
                    running=bool(state["Running"]),
                    is_named=said["Name"] == f"/{self._place.container(labels.get(MODULE_LABEL, ''))}",
                    health=(state.get("Health") or {}).get("Status", ""),
                    labels=labels,
                    env=tuple(said["Config"].get("Env") or ()),
                )
            )
        return found

    def reported(self) -> dict:
        said = self.grounds.twin(self.name, AGENT)["properties"]["reported"]
        version = said.get("lastDesiredVersion", 0)
        if not self.versions or self.versions[-1] != version:
            self.versions.append(version)
        return said

    def look(self) -> Sight:
        """All that invariants are judged by."""
        containers = self.containers()
        reported = self.reported()
        rows = self.client.images()
        prefix = f"{self.registry.address}/"
        held = {one for row in rows for one in (row.get("RepoDigests") or ()) if one.startswith(prefix)}
        layers = (*self.pictures.values(), self.extra)
        known = {one.reference: module for layer in layers for module, one in layer.items()}
        for module in (*MODULES, AGENT):
            self.secrets[f"key of {module}"] = self.grounds.module_key(self.name, module)
        twins = {f"twin of {module}": self._text(module) for module in MODULES}
        return Sight(
            wanted=self.wanted,
            version=self.version,
            code=self.code,
            others=self.others,
            containers=containers,
            reported=reported,
            networks=self.engine.networks(self.labels),
            images=sorted(held),
            known=known,
            files=sorted(path.name for path in self.folder.iterdir()),
            texts={"the log": self.log(), "the report": json.dumps(reported), **twins},
            secrets=self.secrets,
        )

    def _text(self, module: str) -> str:
        twin = self.grounds.twin(self.name, module)
        return json.dumps(twin["properties"]) if twin else ""

    def known(self) -> dict[str, str]:
        """Reference to image id, of all that was pushed for it."""
        pushed = [one for layer in self.pictures.values() for one in layer.values()]
        return {one.reference: one.id for one in (*pushed, *self.extra.values())}

    def settle(self, timeout_s: float) -> None:
        """What is wanted runs and is reported; fails after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.is_settled():
            self.ensure_running()
            assert time.monotonic() < deadline, f"not settled within {timeout_s} s"
            self.pause(0.25)

    def is_settled(self) -> bool:
        """Whether what is wanted runs and is reported so."""
        said = self.reported()
        if _word(said) != (self.version, self.code):
            return False
        modules = said.get("modules") or {}
        if any(modules.get(module, {}).get("runtimeStatus") != "running" for module in self.wanted.images):
            return False
        return self.runs(self.wanted.number)

    def is_proven(self) -> bool:
        """Whether the agent says so of all layers."""
        layers = self.reported().get("layers") or {}
        return bool(layers) and all(one.get("outcome") == "Proven" for one in layers.values())

    def says(self, code: int) -> bool:
        """Whether the newest version is reported with that code."""
        return _word(self.reported()) == (self.version, code)

    def is_up(self, module: str) -> bool:
        """Whether a container of that module runs."""
        return any(
            row["Labels"].get(MODULE_LABEL) == module and row["State"] == "running" for row in self.rows()
        )

    def connected(self) -> bool:
        """Whether the hub has the agent's connection."""
        device = self.grounds.service().done("GET", f"/devices/{self.name}/modules/{quote(AGENT)}")
        return bool(device.get("connectionState") == "Connected")

    def runs(self, number: int) -> bool:
        """Whether all modules of that layer run."""
        wanted = self.pictures[number]
        running = {
            row["Labels"].get(MODULE_LABEL): row["Labels"].get(LAYER_LABEL)
            for row in self.rows()
            if row["State"] == "running"
        }
        return all(running.get(module) == str(number) for module in wanted)

    def pause(self, seconds: float) -> None:
        """So long nothing is done; ends at once when the run is interrupted."""
        self.grounds.pause(seconds)

    def await_end(self, fact: Callable[[], Any], timeout_s: float) -> bool:
        """Whether the agent ended by itself before the fact was true (or the time was over)."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                return True
            if fact():
                return False
            self.pause(0.2)
        return False

    def wait_for(self, fact: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """The fact's value as soon as it is true; fails after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not (value := fact()):
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            self.pause(0.2)
        return value

    def heal(self) -> None:
        """No fault is left around it; agents are not touched."""
        self.relay.heal()
        self.registry.heal()
        if self.machine is not None:
            self.machine.resume()
            self.machine.join_line()
            self.machine.lose_nothing()
            if self.machine.process is None:
                self.machine.start()

    # its end

    def keep_evidence(self, folder: Path) -> None:
        """Its log, state and report are in `folder`; keys are left out."""
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Exception):
            (folder / "reported.json").write_text(json.dumps(self.reported(), indent=1))
        with contextlib.suppress(Exception):
            rows = [
                {key: row[key] for key in ("Names", "Image", "State", "Status", "Created")}
                for row in self.rows()
            ]
            (folder / "containers.json").write_text(json.dumps(rows, indent=1))
        with contextlib.suppress(Exception):
            (folder / "agent.log").write_text(self.log()[-200_000:])
        for path in self.folder.iterdir():
            if path.is_file() and not path.name.startswith(_PRIVATE):
                with contextlib.suppress(OSError):
                    shutil.copy(path, folder / path.name)

    def close(self) -> None:
        """Nothing of it is left but its folder."""
        self.kill()
        self.watcher.stop()
        if self.machine is not None:
            self.machine.close()
        else:
            self._clear_engine()
        self.relay.stop()
        self.registry.stop()
        for name in (*self.alive, f"base-{self.name}"):
            with contextlib.suppress(Exception):
                self.grounds.remove_configuration(name)
        self.client.close()
        self.engine.close()

    def _clear_engine(self) -> None:
        with contextlib.suppress(EngineError, docker.errors.DockerException):
            for row in self.rows():
                self.engine.remove(row["Id"])
            for network in self.engine.networks(self.labels):
                self.engine.remove_network(network)
            for volume in self.engine.volumes(f"edgeferry.{self.sandbox}.{self.name}."):
                self.engine.remove_volume(volume)
            for reference in self.known():
                with contextlib.suppress(EngineError):
                    self.engine.remove_image(reference)


_PRIVATE = ("device", "keys", "identities", "lock")
"""How names of files begin that hold secrets, or nothing."""


def _word(said: Mapping[str, Any]) -> tuple[Any, Any]:
    """Which version is reported, and with which code."""
    return said.get("lastDesiredVersion"), (said.get("lastDesiredStatus") or {}).get("code")


def _base() -> dict[str, Any]:
    system = {
        name: {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "settings": {"image": f"edge/{name.lower()}:1.5"},
        }
        for name in ("edgeAgent", "edgeHub")
    }
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": system,
        "modules": {},
    }
    return {
        AGENT: {"properties.desired": agent},
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.1", "routes": {}}},
    }
