"""A device's whole world for tests: hub, registry, engine, and an agent as a process of its own."""

import contextlib
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from edgeferry.device.state import DEVICE_FILE, load_enrolment
from edgeferry.domain.manifest import ModuleSpec, RegistryLogin
from edgeferry.engine import Engine
from edgeferry.wire.edge import render_module
from edgeferry.wire.enrolment import HUB_NAME, DeviceFile, Surroundings, render_device_file
from tests.device.conftest import PATIENCE_S, end, wait_until
from tests.engines import RunningRegistry
from tests.hubs import RunningHub

FOREVER = "while true; do sleep 1; done"


@dataclass
class World:
    """One device that is enrolled, and everything around it."""

    hub: RunningHub
    registry: RunningRegistry
    engine: Engine
    folder: Path
    images: list[str]
    gateway: str = ""
    device: str = field(default_factory=lambda: f"d-{uuid.uuid4().hex[:8]}")
    sandbox: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:6]}")
    process: subprocess.Popen | None = None
    run: str = ""
    """What tells one test's modules from another's on the same device."""

    @property
    def labels(self) -> dict[str, str]:
        return {"edgeferry.sandbox": self.sandbox}

    def enrol(self) -> None:
        """`device.json` is written, as enrolment does."""
        key = self.hub.create_device(self.device)
        login = RegistryLogin(self.registry.address, "device", "right")
        here = Surroundings(HUB_NAME, self.gateway, (login,), self.engine.url, self.sandbox)
        file = DeviceFile(self.hub.connection(self.device, key), str(self.hub.ca_file), here)
        self.folder.mkdir(exist_ok=True)
        (self.folder / DEVICE_FILE).write_text(json.dumps(render_device_file(file)))
        load_enrolment(self.folder)

    def start(self, *options: str) -> None:
        """The agent has started."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeferry.device", "--state", str(self.folder), *options], stderr=log
            )

    def stop(self) -> None:
        """The agent has ended after SIGTERM."""
        process, self.process = self.process, None
        assert end(process) == 0, self.log()

    def wipe(self) -> None:
        """The device's containers and network are gone."""
        program = [sys.executable, "-m", "edgeferry.device", "--state", str(self.folder), "--wipe"]
        subprocess.run(program, check=True, capture_output=True)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def want(self, *specs: ModuleSpec, gone: tuple[str, ...] = ()) -> int:
        """The desired version that asks for these modules (others stay, but for those `gone`)."""
        modules = {spec.name: render_module(spec) for spec in specs}
        return self.want_raw({"schemaVersion": "1.1", "modules": {**modules, **dict.fromkeys(gone)}})

    def want_raw(self, desired: dict) -> int:
        """The desired version that holds this patch."""
        return self.hub.patch_desired(self.device, "$edgeAgent", desired)

    def reported(self) -> dict:
        return self.hub.reported(self.device, "$edgeAgent")

    def module(self, name: str = "taxi") -> dict:
        """What is reported of one module; {} when nothing is."""
        return self.reported().get("modules", {}).get(name, {})

    def settle(self, version: int, code: int = 200, timeout_s: float = PATIENCE_S) -> dict:
        """What is reported once that version was carried out with that code."""

        def done():
            said = self.reported()
            status = said.get("lastDesiredStatus", {}).get("code")
            return said if said.get("lastDesiredVersion") == version and status == code else None

        try:
            return wait_until(done, timeout_s, what=f"desired version {version} with {code}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.reported(), indent=1)}\n{self.log()}") from error

    def container(self, name: str = "taxi"):
        """The facts of the module's container, or None."""
        return self.engine.inspect(f"{name}.edgeferry.{self.sandbox}.{self.device}")

    def close(self) -> None:
        """Nothing of this world is left."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                end(self.process)
        for facts in self.engine.containers(self.labels):
            self.engine.remove(facts.id)
        for network in self.engine.networks(self.labels):
            self.engine.remove_network(network)


def taxi(image: str, script: str = FOREVER, **members) -> ModuleSpec:
    """A module that runs a shell script."""
    options = {"Cmd": [script], **members.pop("create_options", {})}
    return ModuleSpec(name=members.pop("name", "taxi"), image=image, create_options=options, **members)
