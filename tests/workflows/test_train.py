"""Training the example for real: its own step environment, its own processes, a registry of models.

The step environment stays in pytest's cache, so only the first session on a machine pays for it.
"""

from __future__ import annotations

import csv
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any, cast

import pytest

from edgeferry.adapters.local_place import LocalPlace
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.runs import RunsFolder
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.errors import DefinitionError, RefusedError
from edgeferry.ports import Services
from edgeferry.workflows.train import Trained, train

ROOT = Path(__file__).parents[2]
REAL_TRIPS = ROOT.parent / "shared" / "data" / "tlc"


class Workshop:
    """A copy of the example project with a state of its own."""

    def __init__(self, folder: Path, environments: Path) -> None:
        shutil.copytree(ROOT / "examples" / "taxi", folder / "taxi")
        self.model = folder / "taxi" / "models" / "nyc_taxi"
        state = folder / "state"
        state.mkdir()
        (state / "environments").symlink_to(environments)
        self.tracking = MlflowTracking(
            f"sqlite:///{state}/mlflow.db", state / "artifacts", state / "downloads"
        )
        self.said: list[str] = []
        uv = str(Path(sys.executable).parent / "uv")
        runner = LocalRunner(state, self.tracking, uv, self.said.append)
        nothing = cast(Any, None)
        self.services = Services(
            project=ProjectFolder(folder / "taxi"),
            runner=runner,
            place=LocalPlace(runner),
            runs=RunsFolder(state / "runs"),
            tracking=self.tracking,
            converter=nothing,
            images=nothing,
            builder=nothing,
            stage=nothing,
            registry=nothing,
            ledger=nothing,
            anchor=nothing,
            hub=nothing,
            pull_login=nothing,
            now=lambda: 0.0,
            sleep=time.sleep,
            new_id=lambda: uuid.uuid4().hex,
            say=self.said.append,
        )

    def train(self, **inputs: str) -> Trained:
        return train(self.services, self.services.project.load_model("nyc_taxi"), inputs)

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.model / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Workshop:
    environments = request.config.cache.mkdir("step-environments")
    return Workshop(tmp_path_factory.mktemp("workshop"), environments)


@pytest.fixture(scope="module")
def trained(shop: Workshop) -> Trained:
    return shop.train()


@pytest.fixture
def copy(shop: Workshop, tmp_path: Path, request: pytest.FixtureRequest) -> Workshop:
    return Workshop(tmp_path, request.config.cache.mkdir("step-environments"))


def states(trained: Trained) -> dict[str, str]:
    return {step.name: step.state for step in trained.run.steps}


def test_the_run_registers_a_version_with_metrics_signature_and_predictions(
    shop: Workshop, trained: Trained
) -> None:
    assert trained.created
    assert set(states(trained).values()) == {"ran"}
    assert trained.version.model == "nyc_taxi"
    assert trained.version.metrics.keys() == {"mse", "mae", "r2"}
    assert len(trained.version.columns) == 20
    assert trained.version.columns[0].name == "distance"
    assert {column.type for column in trained.version.columns} == {"double"}
    path = shop.tracking.download(trained.version, "predictions/predictions.csv")
    with path.open(newline="") as file:
        header = next(csv.reader(file))
    assert header == [
        *(column.name for column in trained.version.columns),
        "predicted_fareAmount",
        "fareAmount",
    ]
    assert (shop.tracking.download(trained.version, "model") / "MLmodel").is_file()


def test_training_again_runs_nothing_and_gives_the_same_version(shop: Workshop, trained: Trained) -> None:
    again = shop.train()
    assert not again.created
    assert set(states(again).values()) == {"reused"}
    assert again.version == trained.version


def test_the_version_is_this_runs_and_not_the_highest_number(shop: Workshop, trained: Trained) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(shop.tracking.uri, shop.tracking.uri)
    source = client.get_model_version("nyc_taxi", trained.version.version).source
    other = client.create_model_version("nyc_taxi", source, trained.version.run_id)
    assert int(other.version) > int(trained.version.version)
    newest = shop.tracking.find_version("nyc_taxi")
    assert newest is not None
    assert newest.version == str(other.version)
    assert shop.train().version == trained.version


def test_a_version_that_was_deleted_is_registered_anew_from_what_is_kept(
    shop: Workshop, trained: Trained
) -> None:
    from mlflow import MlflowClient

    MlflowClient(shop.tracking.uri, shop.tracking.uri).delete_model_version(
        "nyc_taxi", trained.version.version
    )
    again = shop.train()
    assert again.created
    assert {name for name, state in states(again).items() if state == "ran"} == {"register"}
    assert int(again.version.version) > int(trained.version.version)
    assert again.version.metrics == trained.version.metrics


def test_real_trips_give_the_known_r2_through_the_whole_pipeline(shop: Workshop, trained: Trained) -> None:
    if not REAL_TRIPS.is_dir():
        pytest.skip(f"the real trips are not here: {REAL_TRIPS}")
    real = shop.train(raw_data=str(REAL_TRIPS))
    assert real.created
    assert real.version.metrics["r2"] == pytest.approx(0.888671258751, abs=1e-6)
    assert real.version.version != trained.version.version


def test_a_failed_step_is_refused_with_name_status_last_lines_and_log(copy: Workshop) -> None:
    (copy.model / "data" / "green_synthetic.csv").unlink()
    with pytest.raises(RefusedError) as caught:
        copy.train()
    assert "nyc_taxi: step prepare failed: it ended with exit status 1" in caught.value.problem
    assert "expected one green*.csv" in caught.value.problem
    log = Path(caught.value.fix.removeprefix("its whole log: "))
    assert "expected one green*.csv" in log.read_text()
    assert copy.tracking.find_version("nyc_taxi") is None


def test_a_pipeline_that_does_not_say_what_it_registered_is_refused_before_it_runs(copy: Workshop) -> None:
    copy.replace("pipeline.yml", "    outputs:\n      registered: ${{parent.outputs.registered}}\n", "")
    copy.replace("pipeline.yml", "  registered:\n    type: uri_file\n", "")
    with pytest.raises(DefinitionError, match="does not say which model version"):
        copy.train()
    assert copy.said == []


def test_a_step_that_registers_another_model_is_refused(shop: Workshop, trained: Trained) -> None:
    with pytest.raises(RefusedError, match="recorded other version 1 of run"):
        shop.train(model_name="other")
