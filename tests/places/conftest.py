"""A small pipeline of three steps without packages, and the places that must run it alike."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import uv

from edgeferry.adapters.azureml import AzureMlPlace, Cluster, Workspace
from edgeferry.adapters.local_place import LocalPlace
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import Pipeline
from edgeferry.domain.run import RunState
from edgeferry.ports_models import Place
from tests.azureml_stub.workspace import GROUP, NAME, SUBSCRIPTION, Azure, Login
from tests.step_sources import COPY, COUNT

COMPONENT = """
type: command
name: {name}
display_name: The step that is {name}
inputs:
  given: {{type: uri_folder}}
  word: {{type: string, default: hello}}
  loud: {{type: string, optional: true}}
outputs:
  out: {{type: {kind}}}
code: ../src
environment: {{image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04, conda_file: ../conda.yml}}
command: >-
  python {name}.py ${{{{inputs.given}}}} ${{{{outputs.out}}}} ${{{{inputs.word}}}} $[[${{{{inputs.loud}}}}]]
"""
PIPELINE = """
type: pipeline
display_name: demo
experiment_name: trials
inputs:
  data: {type: uri_folder, path: ./data}
  word: hello
outputs:
  registered: {type: uri_file}
settings:
  force_rerun: true
jobs:
  copy:
    component: ./components/copy.yml
    inputs: {given: "${{parent.inputs.data}}", word: "${{parent.inputs.word}}"}
  count:
    component: ./components/count.yml
    inputs: {given: "${{parent.jobs.copy.outputs.out}}"}
  register:
    component: ./components/register.yml
    inputs: {given: "${{parent.jobs.count.outputs.out}}", word: "${{parent.inputs.word}}"}
    outputs: {out: "${{parent.outputs.registered}}"}
"""
REGISTER = """
import json, pathlib, sys
total = (pathlib.Path(sys.argv[1]) / "total.txt").read_text()
registered = {"name": "demo", "version": total, "run_id": "run-" + sys.argv[3]}
pathlib.Path(sys.argv[2]).write_text(json.dumps(registered))
"""


class Model:
    """The model's folder, and its definition as the project sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models" / "demo"
        for name in ("components", "src", "data"):
            (self.folder / name).mkdir(parents=True)
        (folder / "edgeferry.toml").write_text("")
        self.write("model.yaml", "prediction_column: total")
        self.write("pipeline.yml", PIPELINE)
        for name, kind in (("copy", "uri_folder"), ("count", "uri_folder"), ("register", "uri_file")):
            self.write(f"components/{name}.yml", COMPONENT.format(name=name, kind=kind))
        self.write("src/copy.py", COPY)
        self.write("src/count.py", COUNT)
        self.write("src/register.py", REGISTER)
        self.write("data/a.txt", "four")
        self.write("conda.yml", "dependencies: [python, pip]")
        self.project = ProjectFolder(folder)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(text), "utf-8")

    def load(self) -> tuple[ModelDefinition, Pipeline]:
        definition = self.project.load_model("demo")
        return definition, self.project.load_pipeline(definition)


@dataclass(frozen=True)
class Bench:
    """A place and the model to run there."""

    place: Place
    model: Model

    def submit(self, run_id: str, inputs: Mapping[str, str] | None = None) -> None:
        self.place.submit(run_id, *self.model.load(), inputs or {})

    def until(self, run_id: str, fact: Callable[[RunState], bool], seconds: float = 180) -> RunState:
        deadline = time.monotonic() + seconds
        while True:
            state = self.place.poll(run_id)
            if fact(state):
                return state
            assert time.monotonic() < deadline, f"waited in vain: {state}"
            time.sleep(0.05)

    def end(self, run_id: str) -> RunState:
        return self.until(run_id, lambda state: state.ended)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path / "project")


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    """A subscription; HTTPS of this process goes there. At the end: nothing was asked of anybody else."""
    work = tmp_path / "azure"
    work.mkdir()
    azure = Azure(work)
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    yield azure
    azure.stop()
    assert azure.proxy.refused_hosts == []


def azure_place(said: list[str]) -> AzureMlPlace:
    workspace = Workspace(SUBSCRIPTION, GROUP, NAME)
    cluster = Cluster("cpu-cluster", "Standard_DS3_v2", 2)
    return AzureMlPlace(Login(), workspace, cluster, said.append, poll_s=0.05)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("migrated")
    MlflowTracking(f"sqlite:///{folder}/mlflow.db", folder / "artifacts", folder).prepare("none")
    return folder / "mlflow.db"


@pytest.fixture(params=["local", "azureml"])
def bench(request: pytest.FixtureRequest, model: Model, tmp_path: Path) -> Bench:
    """Each place in turn."""
    if request.param == "azureml":
        request.getfixturevalue("azure")
        return Bench(azure_place([]), model)
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(request.getfixturevalue("migrated"), state / "mlflow.db")
    tracking = MlflowTracking(f"sqlite:///{state}/mlflow.db", state / "artifacts", state / "downloads")
    return Bench(LocalPlace(LocalRunner(state, tracking, uv.find_uv_bin(), print)), model)
