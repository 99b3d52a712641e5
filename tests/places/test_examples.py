"""The example, trained through Azure ML's own client: its steps really run, in their own environment.

The step environment stays in pytest's cache, so only the first session on a machine pays for it.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import uv

from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.runs import RunsFolder
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.model import ModelDefinition
from edgeferry.ports import Services, show_nobody
from edgeferry.workflows.train import train
from tests.azureml_stub.workspace import Azure
from tests.places.conftest import azure_place

EXAMPLE = Path(__file__).parents[2] / "examples" / "taxi"


@dataclass(frozen=True)
class Prepared:
    """The example's model, its step environment's interpreter, and a registry of models of the test's own."""

    project: ProjectFolder
    definition: ModelDefinition
    python: Path
    tracking: MlflowTracking
    state: Path


@pytest.fixture
def prepared(tmp_path: Path, migrated: Path, pytestconfig: pytest.Config) -> Prepared:
    assert pytestconfig.cache is not None
    state = tmp_path / "state"
    state.mkdir()
    (state / "environments").symlink_to(pytestconfig.cache.mkdir("step-environments"))
    shutil.copy(migrated, state / "mlflow.db")
    tracking = MlflowTracking(f"sqlite:///{state}/mlflow.db", state / "artifacts", state / "downloads")
    tracking.prepare("nyc_taxi")
    project = ProjectFolder(EXAMPLE)
    definition = project.load_model("nyc_taxi")
    runner = LocalRunner(state, tracking, uv.find_uv_bin(), print)
    return Prepared(project, definition, runner.python_of(project.load_pipeline(definition)), tracking, state)


# `prepared` comes before `azure`, while this process's HTTPS still reaches a package index.
def test_the_example_trains_on_azure_ml_from_the_same_files(prepared: Prepared, azure: Azure) -> None:
    tracking, python = prepared.tracking, prepared.python
    azure.variables |= {
        **tracking.step_environment("nyc_taxi"),
        "PATH": f"{python.parent}:{os.defpath}",
    }
    lines: list[str] = []
    nothing = cast(Any, None)
    services = replace(
        Services(**dict.fromkeys(Services.__dataclass_fields__, nothing)),
        work=show_nobody,
        project=prepared.project,
        place=azure_place([]),
        runs=RunsFolder(prepared.state / "runs"),
        tracking=tracking,
        now=time.time,
        sleep=lambda _: time.sleep(0.5),
        new_id=lambda: uuid.uuid4().hex,
        say=lines.append,
    )
    trained = train(services, prepared.definition, {}, lambda step, line: lines.append(f"{step} | {line}"))
    assert [step.name for step in trained.run.steps] == [
        "prepare",
        "transform",
        "train",
        "predict",
        "score",
        "register",
    ]
    assert trained.created
    assert trained.version.metrics["r2"] == pytest.approx(0.993827580433, abs=1e-6)
    assert len(trained.version.columns) == 20
    assert "train | LinearRegression fitted on 1357 rows, 582 held out" in lines
    assert tracking.download(trained.version, "predictions/predictions.csv").is_file()
