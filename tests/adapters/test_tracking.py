"""The registry of models, against MLflow itself on SQLite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.model import Column
from edgeferry.errors import RefusedError, TrackingError

COLUMNS = [{"type": "double", "name": "distance"}, {"type": "long", "name": "passengers"}]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def tracking(state: Path) -> MlflowTracking:
    return open_tracking(state)


def open_tracking(state: Path) -> MlflowTracking:
    database = state / "mlflow" / "mlflow.db"
    return MlflowTracking(f"sqlite:///{database}", state / "artifacts", state / "downloads")


def register(tracking: MlflowTracking, name: str, signature: Any = COLUMNS, **metrics: float) -> str:
    """One run with a model folder and a version of it; its number."""
    from mlflow import MlflowClient

    tracking.prepare("tests")
    client = MlflowClient(tracking.uri, tracking.uri)
    experiment = client.get_experiment_by_name("tests")
    run = client.create_run(experiment.experiment_id)
    for key, value in metrics.items():
        client.log_metric(run.info.run_id, key, value)
    mlmodel = {"signature": {"inputs": json.dumps(signature)}} if signature is not None else {}
    client.log_text(run.info.run_id, json.dumps(mlmodel), "model/MLmodel")
    client.log_text(run.info.run_id, "a,b\n", "predictions/predictions.csv")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    return str(client.create_model_version(name, source, run.info.run_id).version)


def test_looking_into_a_registry_that_is_not_there_makes_none(tmp_path: Path) -> None:
    assert open_tracking(tmp_path).find_version("taxi") is None
    assert list(tmp_path.iterdir()) == []


def test_a_version_comes_with_its_run_metrics_and_columns_in_order(tracking: MlflowTracking) -> None:
    register(tracking, "columns", r2=0.5)
    version = tracking.find_version("columns")
    assert version is not None
    assert (version.model, version.version, version.metrics) == ("columns", "1", {"r2": 0.5})
    assert version.columns == (Column("distance", "double"), Column("passengers", "long"))
    assert tracking.find_version("columns", "1") == version
    assert tracking.find_version("columns", "2") is None
    assert tracking.find_version("other") is None


def test_the_newest_version_is_the_highest_number_and_not_the_last_word_in_a_dictionary(
    tracking: MlflowTracking,
) -> None:
    for _ in range(10):
        register(tracking, "ten")
    newest = tracking.find_version("ten")
    assert newest is not None
    assert newest.version == "10"


def test_files_of_the_run_are_found_where_they_lie(tracking: MlflowTracking, state: Path) -> None:
    register(tracking, "files")
    version = tracking.find_version("files")
    assert version is not None
    path = tracking.download(version, "predictions/predictions.csv")
    assert path.read_text() == "a,b\n"
    assert path.is_relative_to(state / "artifacts")
    assert (tracking.download(version, "model") / "MLmodel").is_file()
    with pytest.raises(TrackingError, match=r"no artifact nowhere\.csv"):
        tracking.download(version, "nowhere.csv")


@pytest.mark.parametrize("signature", [None, [], [{"type": "tensor"}]], ids=["none", "empty", "a tensor"])
def test_a_model_without_named_columns_is_refused(tracking: MlflowTracking, signature: Any) -> None:
    register(tracking, "unsigned", signature)
    with pytest.raises(RefusedError, match="no signature of named columns"):
        tracking.find_version("unsigned")


def test_an_address_where_nothing_answers_is_an_error_of_the_outside(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        MlflowTracking("http://127.0.0.1:9", tmp_path, tmp_path).find_version("taxi")
    assert caught.value.retryable
    assert "tracking.uri" in caught.value.fix


def test_a_file_that_is_no_database_is_an_error_of_the_outside(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text("no database, but long enough to be looked at" * 50)
    with pytest.raises(TrackingError):
        open_tracking(tmp_path).find_version("taxi")


def test_processes_that_open_a_fresh_registry_together_do_not_break_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgeferry.adapters.tracking import MlflowTracking; "
        "state = Path(sys.argv[1]); "
        "MlflowTracking(f'sqlite:///{state}/mlflow.db', state / 'a', state / 'd').prepare('together')"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in running]
    assert ended == [("", 0)] * 3
