"""Modules written for IoT Edge with Microsoft's SDKs, unmodified, by the workload API of our agent: in Python
in a container that it runs, in Node beside it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from edgeferry.adapters.archive import load_image
from edgeferry.adapters.base import PYTHON as PYTHON_IN_IMAGE
from edgeferry.adapters.base import USER
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.device.containers import Place, render_environment
from edgeferry.device.workload_door import SOCKET
from edgeferry.domain.image import Image
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import Engine
from edgeferry.wire.oci import Run, digest_of, render_config, render_manifest
from tests.device.conftest import wait_until
from tests.device.workloads import open_api
from tests.device.worlds import World
from tests.engines import RunningRegistry
from tests.hubs import RunningHub, free_address
from tests.needs import lack
from tests.sdk.programs import HERE, NODE_MODULES, PROGRAMS, PYTHON, environment

pytestmark = [pytest.mark.sdk, pytest.mark.engine]

NEEDED = (
    "azure-iot-device",
    "certifi",
    "charset-normalizer",
    "deprecation",
    "idna",
    "janus",
    "packaging",
    "paho-mqtt",
    "PySocks",
    "requests",
    "requests-unixsocket2",
    "typing_extensions",
    "urllib3",
)


@pytest.fixture(scope="module")
def image(images: LayeredImages, store: LayerStore, engine_url: str, tmp_path_factory) -> Iterator[str]:
    """An image with Python, azure-iot-device and the module's program, on the engine."""
    python = next(program for program in PROGRAMS if program.name == "azure-iot-device")
    if python.lacks():
        lack(python.lacks())
    base = images.assemble_companion().layers[0]
    files = {"module.py": (HERE / "python" / "edge_program.py").read_bytes(), **sdk_files()}

    def fill(layer: LayerTar) -> None:
        for path in sorted(files):
            layer.file(f"opt/module/{path}", files[path])

    named = {path: digest_of(body) for path, body in files.items()}
    layers = [base, store.layer("sdk", named, fill, compressed=False)]
    env = ("PYTHONPATH=/opt/module", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
    config = render_config(
        "amd64", layers, Run((PYTHON_IN_IMAGE, "/opt/module/module.py"), env, USER, ()), {}
    )
    manifest = render_manifest(config, layers)
    name = f"edgeferry.invalid/sdk:{uuid.uuid4().hex[:8]}"
    made = Image("sdk", "1", digest_of(manifest), digest_of(config), manifest, config, tuple(layers), {})
    engine = Engine(engine_url)
    load_image(engine, made, name, tmp_path_factory.mktemp("image"))
    try:
        yield name
    finally:
        engine.remove_image(name)
        engine.close()


def sdk_files() -> dict[str, bytes]:
    """azure-iot-device and what it needs, as installed; without binaries, of which it has none."""
    site = next(PYTHON.parents[1].glob("lib/python3*/site-packages"))
    found = {each.name: each for each in distributions(path=[str(site)])}
    paths = [path for name in NEEDED for path in found[name].files or ()]
    kept = [path for path in paths if path.suffix in (".py", ".pem") or ".dist-info" in path.parts[0]]
    return {path.as_posix(): Path(path.locate()).read_bytes() for path in kept if ".." not in path.parts}


@pytest.fixture
def world(image: str, engine_url: str, tmp_path: Path) -> Iterator[World]:
    """A device with its hub at the port and the name that the SDK insists on."""
    engine = Engine(engine_url)
    sandbox = f"t{uuid.uuid4().hex[:6]}"
    labels = {"edgeferry.sandbox": sandbox}
    gateway = engine.ensure_network(f"edgeferry.{sandbox}", labels)
    (tmp_path / "hub").mkdir()
    hub = RunningHub(tmp_path / "hub", free_address(), 8443, 8883, also=(gateway,))
    nowhere = RunningRegistry(tmp_path, address="127.0.0.1:1")
    world = World(hub, nowhere, engine, tmp_path / "device", [image], gateway, sandbox=sandbox)
    try:
        hub.start()
        world.enrol()
        yield world
    finally:
        world.close()
        hub.stop()
        engine.close()


def test_a_module_of_iot_edge_lives_under_our_agent_and_through_its_death(world: World) -> None:
    hub, device = world.hub, world.device
    world.start()
    hub.ask("PUT", f"/devices/{device}/modules/m", {"deviceId": device, "moduleId": "m"})
    hub.patch_desired(device, "m", {"colour": "blue"})
    world.settle(world.want(ModuleSpec(name="m", image=world.images[0])))
    container = world.container("m")

    def reported(rounds: int) -> dict:
        def said() -> dict | None:
            twin = hub.reported(device, "m")
            return twin if twin.get("round") == rounds else None

        try:
            return wait_until(said, 60, f"round {rounds}")
        except AssertionError as error:
            log = world.engine.logs(container.id)
            raise AssertionError(f"{error}\n{log}\n{world.log()}") from error

    first = reported(1)
    assert (first["user"], first["colour"]) == (65532, "blue")
    assert hub.call(device, "m", "anything", [1]) == {"status": 200, "payload": {"echo": [1]}}
    messages = hub.ask("GET", "/messages/events")["messages"]
    assert [each["body"] for each in messages if "round" in str(each["body"])] == [{"round": 1}]

    world.process.kill()
    world.process.wait()
    assert hub.call(device, "m", "anything", 2)["payload"] == {"echo": 2}
    world.start()
    wait_until(lambda: hub.twin(device, "$edgeAgent")["connectionState"] == "Connected")
    assert hub.call(device, "m", "again", None)["status"] == 200
    reported(2)
    after = world.container("m")
    assert (after.id, after.started_at) == (container.id, container.started_at)
    world.stop()


def test_a_module_of_iot_edge_in_node_lives_by_the_same_api(tmp_path: Path) -> None:
    if not NODE_MODULES.exists():
        lack(f"no {NODE_MODULES}: ./run setup makes it where there is Node 18 or newer with npm")
    hub = RunningHub(tmp_path, free_address(), 8443, 8883)
    state = Path(tempfile.mkdtemp(prefix="w-"))  # no container shortens the socket's name here
    try:
        hub.start()
        hub.create_device("d")
        api = open_api(hub, "d", state)
        place = Place("t", "d", hub.address, "", hub.host_name, generation=api.generation)
        socket = f"unix://{api.open('m')}/{SOCKET}"
        said = subprocess.run(
            ["node", str(HERE / "node" / "edge_program.js")],
            env={**environment(None), **render_environment(place, "m"), "IOTEDGE_WORKLOADURI": socket},
            capture_output=True,
            text=True,
            timeout=60,
        )
        api.stop()
        assert said.returncode == 0, said.stdout + said.stderr
        assert hub.reported("d", "m")["language"] == "node"
    finally:
        hub.stop()
        shutil.rmtree(state)
