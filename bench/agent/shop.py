"""A device for the bench: hub, registry, engine, agent, and containers that run this machine's own Python."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agent import asker
from edgeferry.device.containers import Place, render_container
from edgeferry.device.handover import hand_over
from edgeferry.domain.device_handover import HANDOVER_LABEL, HEALTH_PATH
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.sandbox.engine import using_engine
from tests.device.conftest import free_port, write_model
from tests.device.worlds import World
from tests.engines import LOGIN, RunningRegistry, find_engine, make_image
from tests.hubs import RunningHub

MODEL = "nyc_taxi"
SERVE = "mkdir -p /www; echo ok > /www/health; exec httpd -f -p 8080 -h /www"
SOURCES = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """A device that is enrolled at a hub of its own, with two images on its engine; its agent not started."""
    for part in ("hub", "registry"):
        (folder / part).mkdir()
    hub = RunningHub(folder / "hub", "127.0.0.1", free_port(), free_port())
    with using_engine(), contextlib.ExitStack() as stack:
        engine = Engine(find_engine())
        stack.callback(engine.close)
        registry = RunningRegistry(folder / "registry", login=LOGIN).start()
        stack.callback(registry.stop)
        stack.callback(hub.stop)
        hub.start()
        images = [registry.push(make_image(folder, uuid.uuid4().hex), "bench/tiny") for _ in range(2)]
        for image in images:
            engine.pull(image, *LOGIN)
            stack.callback(engine.remove_image, image)
        world = World(hub, registry, engine, folder / "device", images)
        stack.callback(world.close)
        world.enrol()
        yield world


@dataclass
class Street:
    """A device's network with a model server and who asks it, without an agent."""

    engine: Engine
    place: Place
    image: str
    folder: Path

    def body(self, name: str, program: list[str], env: dict[str, str] | None = None) -> dict[str, Any]:
        roots = ("/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(SOURCES), str(self.folder))
        host = {
            "Binds": [f"{root}:{root}:ro" for root in dict.fromkeys(roots) if Path(root).exists()],
            "Mounts": [{"Type": "volume", "Source": "captures", "Target": "/var/lib/edgeferry/captures"}],
        }
        options = {
            "Entrypoint": [sys.executable, *program],
            "Labels": {HANDOVER_LABEL: HEALTH_PATH},
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": host,
        }
        spec = ModuleSpec(name=name, image=self.image, create_options=options, env=env or {})
        Path(self.place.workload, name).mkdir(parents=True, exist_ok=True)
        return render_container(self.place, spec)

    def model(self) -> dict[str, Any]:
        """The create body of a model server."""
        env = {"EDGEFERRY_MODEL_DIR": str(self.folder / "model")}
        return self.body(MODEL, ["-m", "edgeferry.device.modules.server"], env)

    def start(self, name: str, body: dict[str, Any]) -> ContainerFacts:
        self.engine.start(self.engine.create(self.place.container(name), body))
        facts = self.engine.inspect(self.place.container(name))
        assert facts is not None
        return facts

    def ask(self, rate: float, seconds: float) -> ContainerFacts:
        """The container that asks the model by name."""
        program = [os.path.abspath(asker.__file__), MODEL, str(rate), str(seconds)]
        return self.start("asker", self.body("asker", program))

    def answers(self, container: ContainerFacts) -> dict[str, Any]:
        """What the one that asked says at its end."""
        self.engine.stop(container.id, timeout_s=30)
        said = self.engine.logs(container.id).strip().splitlines()
        return dict(json.loads(said[-1]))

    def hand_over(self) -> float:
        """Seconds that the model's hand-over took."""
        old = self.engine.inspect(self.place.container(MODEL))
        assert old is not None
        began = time.monotonic()
        hand_over(self.engine, self.place, MODEL, old, self.model(), TrialRules())
        return time.monotonic() - began


@contextlib.contextmanager
def open_street(folder: Path) -> Iterator[Street]:
    """A device's network on this machine's engine; all of it is gone afterwards."""
    with using_engine(), contextlib.ExitStack() as stack:
        engine = Engine(find_engine())
        stack.callback(engine.close)
        tag = f"edgeferry.invalid/bench:{uuid.uuid4().hex[:8]}"
        engine.load(make_image(folder, "bench").write_archive(folder / "image.tar", tag))
        stack.callback(engine.remove_image, tag)
        place = Place(f"t{uuid.uuid4().hex[:6]}", "device-1", "", "", workload=str(folder / "workload"))
        engine.ensure_network(place.network, place.labels)
        stack.callback(_clear, engine, place)
        write_model(folder / "model")
        yield Street(engine, place, tag, folder)


def _clear(engine: Engine, place: Place) -> None:
    for facts in engine.containers(place.labels):
        engine.remove(facts.id)
    engine.remove_network(place.network)
    for volume in engine.volumes(place.network + "."):
        engine.remove_volume(volume)
