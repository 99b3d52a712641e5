"""The taxi model, trained for real once a session, and the services that package, verify and push it."""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import uv

from edgeferry.adapters.build import EngineBuilder
from edgeferry.adapters.converter import SklearnConverter
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.adapters.local_place import LocalPlace
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.runs import RunsFolder
from edgeferry.adapters.stage import EngineStage
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.image import Image
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.engine import Engine
from edgeferry.ports import Services
from edgeferry.workflows.package import Packed, package
from edgeferry.workflows.train import train
from tests.engines import find_engine
from tests.hollows import open_services
from tests.hubs import RunningHub, free_address
from tests.registries import RegistryServer

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Packaged:
    """A trained model version as an image, and the services it was made with."""

    services: Services
    definition: ModelDefinition
    version: ModelVersion
    packed: Packed

    def define(self, name: str, **files: str) -> ModelDefinition:
        """Another model folder, a copy of this one with `files` added or replaced by relative path; it
        stands for the same registered model unless its model.yaml says otherwise."""
        folder = Path(self.definition.folder).parent / name
        if not folder.exists():
            shutil.copytree(self.definition.folder, folder)
        for path, body in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(body, "utf-8")
        return self.services.project.load_model(name)

    @property
    def image(self) -> Image:
        return self.packed.image

    def with_files(self, **changes: bytes) -> Image:
        """The image with files of its model layer replaced: `model_onnx`, `model_json`, `cases_json`."""
        files = model_files(self.image) | {name.replace("_", "."): body for name, body in changes.items()}
        return self.services.images.assemble_model(self.definition, self.version, files)


def model_files(image: Image) -> dict[str, bytes]:
    """What is in an image's model layer, by file name."""
    with tarfile.open(image.layers[-1].path) as tar:
        members = [member for member in tar if member.isfile()]
        return {
            member.name.rpartition("/")[2]: cast(Any, tar.extractfile(member)).read() for member in members
        }


@pytest.fixture(scope="session")
def packaged(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    images: LayeredImages,
    store: LayerStore,
    registry_server: RegistryServer,
) -> Iterator[Packaged]:
    """nyc_taxi, trained and packaged."""
    assert pytestconfig.cache is not None
    folder = tmp_path_factory.mktemp("packaged")
    shutil.copytree(ROOT / "examples" / "taxi", folder / "taxi")
    state = folder / "state"
    state.mkdir()
    (state / "environments").symlink_to(pytestconfig.cache.mkdir("step-environments"))
    tracking = MlflowTracking(f"sqlite:///{state}/mlflow.db", state / "artifacts", state / "downloads")
    registry = RegistryClient(
        registry_server.host, "workflows", "pusher", registry_server.password, registry_server.ca_file
    )
    runner = LocalRunner(state, tracking, uv.find_uv_bin(), print)
    nothing = cast(Any, None)
    services = Services(
        project=ProjectFolder(folder / "taxi"),
        runner=runner,
        place=LocalPlace(runner),
        runs=RunsFolder(state / "runs"),
        tracking=tracking,
        converter=SklearnConverter(),
        images=images,
        builder=EngineBuilder(lambda: Engine(find_engine()), store, state / "builds", state / "scratch"),
        stage=EngineStage(lambda: Engine(find_engine()), state / "scratch"),
        registry=registry,
        ledger=nothing,
        anchor=nothing,
        hub=nothing,
        pull_login=lambda: None,
        now=time.time,
        sleep=time.sleep,
        new_id=lambda: uuid4().hex,
        say=print,
    )
    definition = services.project.load_model("nyc_taxi")
    version = train(services, definition, {}).version
    yield Packaged(services, definition, version, package(services, definition, version))
    registry.close()


@pytest.fixture
def hasty(packaged: Packaged) -> Services:
    """The services with a clock that jumps half a minute at every look."""
    clock = iter(range(0, 10**9, 30))
    return replace(packaged.services, now=lambda: float(next(clock)))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def services(hub: RunningHub, tmp_path: Path) -> Iterator[Services]:
    """A controller's, with a ledger of its own."""
    opened = open_services(hub.state, tmp_path, print)
    yield opened
    opened.hub.close()  # type: ignore[attr-defined]


@pytest.fixture
def client(hub: RunningHub) -> Iterator[HubClient]:
    """The hub's service API; afterwards the hub has no deployments and no device."""
    text = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    opened = HubClient(SharedKeyLogin(lambda afresh: text, time.time), str(hub.ca_file))
    opened.create_device("device-1", {"edgeferry": True})
    yield opened
    for one in opened.configurations():
        opened.delete_configuration(one["id"])
    opened.close()
    hub.ask("DELETE", "/devices/device-1")
