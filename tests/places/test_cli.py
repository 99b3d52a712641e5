"""The command line with Azure ML: each command a process of its own, logged in by a service principal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.azureml_stub.workspace import GROUP, NAME, SUBSCRIPTION, TENANT, Azure
from tests.places.conftest import Model
from tests.places.test_models import MLMODEL
from tests.typed import typed

REGISTER = """
import sys
sys.path.pop(0)  # where copy.py would stand for Python's own
import json, pathlib, tempfile
import mlflow
from mlflow import MlflowClient

columns = [{"name": "length", "type": "double", "required": True}]
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "MLmodel").write_text("signature:\\n  inputs: " + json.dumps(json.dumps(columns)))
with mlflow.start_run() as run:
    mlflow.log_metric("mse", 0.5)
    mlflow.log_artifacts(str(folder), "model")
    source = mlflow.get_artifact_uri("model")
client = MlflowClient()
try:
    client.create_registered_model("demo")
except mlflow.exceptions.MlflowException:
    pass
version = client.create_model_version("demo", source, run.info.run_id)
registered = {"name": "demo", "version": str(version.version), "run_id": run.info.run_id}
pathlib.Path(sys.argv[2]).write_text(json.dumps(registered))
"""


class Shell:
    """Commands in the model's project, with Azure where Azure is."""

    def __init__(self, model: Model, azure: Azure, tracking: str) -> None:
        self.folder = model.folder.parents[1]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("EDGEFERRY_", "AZURE_"))}
        self.environment = {
            **inherited,
            **azure.environment,
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": "44444444-0000-0000-0000-000000000000",
            "AZURE_CLIENT_SECRET": "SECRETCLIENT",
            "EDGEFERRY_TRAIN__PLACE": "azureml",
            "EDGEFERRY_AZURE__SUBSCRIPTION_ID": SUBSCRIPTION,
            "EDGEFERRY_AZURE__RESOURCE_GROUP": GROUP,
            "EDGEFERRY_AZURE__WORKSPACE": NAME,
            "EDGEFERRY_AZUREML__POLL_S": "0.2",
            "EDGEFERRY_TRACKING__URI": tracking,
        }

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; it has ended afterwards, also where a test has failed meanwhile."""
        with subprocess.Popen(
            [sys.executable, "-m", "edgeferry", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = typed(*arguments, environment=self.environment, where=self.folder)
        assert "SECRET" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def shell(model: Model, azure: Azure, migrated: Path, tmp_path: Path) -> Shell:
    (tmp_path / "mlflow.db").write_bytes(migrated.read_bytes())
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    azure.variables |= {
        "MLFLOW_TRACKING_URI": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": (tmp_path / "artifacts").as_uri(),
        "MLFLOW_EXPERIMENT_NAME": "trials",
    }
    azure.add_compute("cpu-cluster")
    model.write("src/register.py", REGISTER)
    return Shell(model, azure, uri)


def wait_for(fact: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_train_submits_streams_and_answers_with_this_runs_version(shell: Shell, azure: Azure) -> None:
    code, out, err = shell.run("train", "demo", "-i", "word=bye", "--output", "json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["version"], answer["created"], answer["metrics"]) == ("1", True, {"mse": 0.5})
    assert "copy | copied with bye" in err
    assert "copy: ran" in err
    assert "signed in to Azure as" in err
    (run,) = azure.jobs
    (record,) = json.loads(shell.run("runs", "list", "--output", "json")[1])
    assert (record["run"], record["model"], record["inputs"]) == (run, "demo", {"word": "bye"})


def test_a_run_is_waited_for_on_a_machine_that_did_not_submit_it(shell: Shell, tmp_path: Path) -> None:
    run = shell.run("train", "demo", "--no-wait")[1].splitlines()[0]
    shell.environment["EDGEFERRY_STATE"] = str(tmp_path / "another-machine")
    code, out, err = shell.run("runs", "wait", run, "--output", "json")
    assert code == 0, err
    assert json.loads(out)["version"] == "1"
    code, _, err = shell.run("runs", "show", "demo-9")
    assert code == 2
    assert "the workspace lab has no run demo-9" in err


def test_a_waiting_process_that_was_killed_is_replaced_by_another(shell: Shell, azure: Azure) -> None:
    azure.go_on.clear()
    with shell.start("train", "demo") as process:
        wait_for(lambda: bool(azure.asked("/children")))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (run,) = azure.jobs
    azure.go_on.set()
    code, out, err = shell.run("runs", "wait", run, "--output", "json")
    assert code == 0, err
    assert json.loads(out)["version"] == "1"
    assert "copy | copied with hello" in err
    assert len(azure.jobs) == 1


def test_ctrl_c_leaves_the_run_going_and_says_how_to_go_on(shell: Shell, azure: Azure) -> None:
    azure.go_on.clear()
    with shell.start("train", "demo") as process:
        wait_for(lambda: bool(azure.asked("/children")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    (run,) = azure.jobs
    assert process.returncode != 0
    assert f"edgeferry runs wait {run}" in err
    assert f"edgeferry runs cancel {run}" in err
    assert azure.asked("/cancel") == []
    code, out, _ = shell.run("runs", "cancel", run)
    assert code == 0
    assert run in out
    wait_for(lambda: azure.jobs[run].status == "Canceled")
    code, _, err = shell.run("runs", "wait", run)
    assert code == 1
    assert "was canceled" in err


def test_no_wait_prints_the_id_and_what_to_type_next(shell: Shell, azure: Azure) -> None:
    code, out, err = shell.run("train", "demo", "--no-wait")
    assert code == 0, err
    run, next_, _ = out.splitlines()
    assert run in azure.jobs
    assert next_ == f"wait for it: edgeferry runs wait {run}"
    wait_for(lambda: azure.jobs[run].status == "Completed")
    shown = json.loads(shell.run("runs", "show", run, "--output", "json")[1])
    assert (shown["state"], [step["state"] for step in shown["steps"]]) == ("completed", ["ran"] * 3)
    assert shell.run("runs", "logs", run, "copy")[1] == "copied with hello\n"


def test_a_failed_step_is_refused_with_the_end_of_its_log(shell: Shell, model: Model) -> None:
    model.write("src/count.py", "raise SystemExit('the data is odd')")
    code, _, err = shell.run("train", "demo", "--no-logs")
    assert code == 1
    assert "step count failed: it ended" in err
    assert "the data is odd" in err
    assert "edgeferry runs logs demo-" in err


def test_a_deadline_ends_the_waiting_and_not_the_run(shell: Shell, azure: Azure) -> None:
    azure.go_on.clear()
    code, _, err = shell.run("train", "demo", "--deadline", "1")
    assert code == 1
    assert "did not end within 1 s" in err
    assert azure.asked("/cancel") == []


def test_the_dry_run_shows_files_and_sizes_and_asks_nobody(shell: Shell, azure: Azure, model: Model) -> None:
    code, out, err = shell.run("train", "demo", "--dry-run", "--output", "json")
    assert code == 0, err
    shown = json.loads(out)
    files = {file["path"]: file["size_bytes"] for upload in shown["uploads"] for file in upload["files"]}
    assert files["copy.py"] == (model.folder / "src" / "copy.py").stat().st_size
    assert shown["size_bytes"] == sum(files.values())
    model.write("src/id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n")
    code, _, err = shell.run("train", "demo", "--dry-run")
    assert code == 2
    assert "id_rsa" in err
    assert azure.requests == []


def test_a_run_of_another_project_or_workspace_is_refused(shell: Shell) -> None:
    code, _, err = shell.run("runs", "wait", "other-9")
    assert code == 2
    assert "other-9 is no run of this project" in err
    run = shell.run("train", "demo", "--no-wait")[1].splitlines()[0]
    shell.environment["EDGEFERRY_AZURE__WORKSPACE"] = "other"
    code, _, err = shell.run("runs", "wait", run)
    assert code == 2
    assert "choose its environment with --env" in err


def test_what_was_trained_by_a_flag_is_gone_on_with_by_the_same_flag(
    shell: Shell, azure: Azure, model: Model
) -> None:
    for name in ("TRACKING__URI", "TRAIN__PLACE"):
        del shell.environment[f"EDGEFERRY_{name}"]
    azure.models.register("demo", "2", "run-two", {"mse": 0.5}, {"model/MLmodel": MLMODEL})
    azure.models.add_artifact("run-two", "predictions/predictions.csv", b"nothing,of,use\n")
    registered = json.dumps({"name": "demo", "version": "2", "run_id": "run-two"})
    model.write("src/register.py", f"import sys\nopen(sys.argv[2], 'w').write({registered!r})")
    code, out, err = shell.run("train", "demo", "--place", "azureml", "--no-logs", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["version"] == "2"
    assert "--place azureml too" in err
    code, _, err = shell.run("package", "demo")
    assert (code, "MLflow does not know any version of demo" in err) == (2, True)
    for command in ("package", "verify", "push", "release"):
        code, _, err = shell.run(command, "demo", "--place", "azureml")
        assert "the held-out file has no column length" in err, command  # the workspace's own file


def test_a_dry_run_needs_no_workspace_and_a_run_says_which_setting_is_missing(
    shell: Shell, azure: Azure
) -> None:
    del shell.environment["EDGEFERRY_AZURE__WORKSPACE"]
    code, out, err = shell.run("train", "demo", "--dry-run", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["uploads"]
    code, _, err = shell.run("train", "demo", "--no-wait")
    assert (code, "azure.workspace is not set" in err) == (2, True)
    assert azure.requests == []
    assert shell.run("runs", "list", "-o", "json")[1].strip() == "[]"
