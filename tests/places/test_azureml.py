"""Azure ML alone: what leaves the machine, compute made on demand, and an Azure that is not well."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from edgeferry.adapters.azureml import AzureMlPlace, Cluster, Workspace
from edgeferry.errors import PlaceError, UsageError
from tests.azureml_stub.proxy import Answer, Request
from tests.azureml_stub.workspace import GROUP, NAME, ROOT, SUBSCRIPTION, Azure, Login
from tests.places.conftest import Bench, Model, azure_place

BUSY = Answer(429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, {"Retry-After": "1"})
BROKEN = Answer(500, {"error": {"code": "InternalServerError", "message": "oops"}})


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def lab(azure: Azure, model: Model, said: list[str]) -> Bench:
    """Azure ML with its compute there."""
    azure.add_compute("cpu-cluster")
    return Bench(azure_place(said), model)


def uploaded(azure: Azure) -> set[str]:
    """The last two parts of each blob that the client wrote."""
    return {
        "/".join(request.path.split("/")[-2:])
        for request in azure.asked("labstore.blob")
        if request.method == "PUT" and "comp" not in request.query
    }


def test_exactly_the_files_of_the_preview_are_uploaded(lab: Bench, azure: Azure) -> None:
    lab.model.write("src/.amlignore", "*.tmp\nnotes/\n")
    lab.model.write("src/big.tmp", "x")
    (lab.model.folder / "src" / "notes").mkdir()
    lab.model.write("src/notes/secret-plans.txt", "x")
    lab.model.write("data/.gitignore", "old.txt\n")
    lab.model.write("data/old.txt", "x")
    preview = lab.place.preview("demo-1", *lab.model.load(), {})
    assert azure.requests == []
    lab.submit("demo-1")
    shown = {
        f"{Path(folder).name}/{file.path}"
        for folder, upload in preview.uploads.items()
        for file in upload.files
    }
    assert uploaded(azure) == shown
    assert "src/big.tmp" not in shown
    assert "data/a.txt" in shown
    assert "data/old.txt" not in shown
    sizes = {f"{len(body)}" for name, body in azure.blobs.items() if name.endswith("copy.py")}
    assert sizes == {str((lab.model.folder / "src" / "copy.py").stat().st_size)}


def test_with_a_file_that_looks_like_a_key_nothing_is_sent(lab: Bench, azure: Azure) -> None:
    lab.model.write("src/deploy.pem", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
    assert any("deploy.pem" in line for line in lab.place.preview("demo-1", *lab.model.load(), {}).refused)
    with pytest.raises(UsageError, match=r"nothing was sent: .*deploy\.pem"):
        lab.submit("demo-1")
    assert azure.requests == []


def test_no_secret_stands_in_a_request_body_or_in_a_log(
    lab: Bench, azure: Azure, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lab.model.write("src/copy.py", "raise SystemExit('no')")
    lab.submit("demo-1")
    state = lab.end("demo-1")
    bodies = b"\n".join(request.body for request in azure.requests)
    assert len(bodies) > 1000
    assert b"SECRET" not in bodies
    texts = caplog.text + "\n".join(said) + repr(state)
    assert "SECRET" not in texts
    assert "cpu-cluster" in texts


def test_the_job_carries_model_content_and_commit_and_no_address_of_a_remote(
    lab: Bench, azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.model.folder)  # where the SDK asks git

    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", "-C", str(lab.model.folder), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    git("remote", "add", "origin", "http://me:SECRETPAT@example.com/x.git")
    for number in (1, 2):
        lab.submit(f"demo-{number}")
    lab.model.write("src/copy.py", "print(1)")
    lab.submit("demo-3")
    jobs = [azure.jobs[f"demo-{number}"].document["properties"] for number in (1, 2, 3)]
    tags = [job["tags"] for job in jobs]
    assert tags[0]["edgeferry.model"] == "demo"
    assert tags[0]["edgeferry.git_commit"] == git("rev-parse", "HEAD")
    assert tags[2]["edgeferry.git_commit"] == git("rev-parse", "HEAD") + "+changes"
    assert tags[0]["edgeferry.content"] == tags[1]["edgeferry.content"] != tags[2]["edgeferry.content"]
    assert jobs[0]["experimentName"] == "trials"
    elsewhere = Model(tmp_path / "elsewhere")
    preview = lab.place.preview("demo-4", *elsewhere.load(), {})
    assert yaml.safe_load(preview.document)["tags"]["edgeferry.content"] == tags[0]["edgeferry.content"]
    assert "SECRETPAT" not in json.dumps(jobs)


def test_code_that_azure_has_is_not_sent_again(lab: Bench, azure: Azure) -> None:
    lab.submit("demo-1")
    before = len([r for r in azure.asked("PUT labstore.blob") if "/code-" in r.path])
    lab.submit("demo-2")
    assert len([r for r in azure.asked("PUT labstore.blob") if "/code-" in r.path]) == before > 0


def test_the_dry_run_shows_what_is_submitted(lab: Bench, azure: Azure) -> None:
    document = yaml.safe_load(lab.place.preview("demo-1", *lab.model.load(), {"word": "bye"}).document)
    lab.submit("demo-1", {"word": "bye"})
    job = azure.jobs["demo-1"].document["properties"]
    assert document["inputs"]["word"] == "bye"
    assert job["inputs"]["word"]["value"] == "bye"
    assert list(document["jobs"]) == list(job["jobs"]) == ["copy", "count", "register"]
    assert document["tags"] == job["tags"]


def test_a_missing_cluster_is_made_and_given_to_a_pipeline_without_one(
    azure: Azure, model: Model, said: list[str]
) -> None:
    Bench(azure_place(said), model).submit("demo-1")
    made = azure.computes["cpu-cluster"]["properties"]["properties"]
    assert made["vmSize"] == "Standard_DS3_v2"
    assert (made["scaleSettings"]["minNodeCount"], made["scaleSettings"]["maxNodeCount"]) == (0, 2)
    settings = azure.jobs["demo-1"].document["properties"]["settings"]
    assert settings["default_compute"].endswith("/computes/cpu-cluster")
    assert any("names no compute" in line for line in said)
    assert any("making the compute cluster cpu-cluster" in line for line in said)


@pytest.mark.parametrize(
    ("there", "used"),
    [pytest.param(True, "gpu", id="there"), pytest.param(False, "cpu-cluster", id="not there")],
)
def test_a_compute_the_pipeline_names_is_used_when_it_is_there(
    lab: Bench, azure: Azure, said: list[str], there: bool, used: str
) -> None:
    if there:
        azure.add_compute("gpu")
    text = (lab.model.folder / "pipeline.yml").read_text()
    settings = "settings:\n  default_compute: azureml:gpu\n"
    lab.model.write("pipeline.yml", text.replace("settings:\n", settings))
    lab.submit("demo-1")
    compute = azure.jobs["demo-1"].document["properties"]["settings"]["default_compute"]
    assert compute.endswith(f"/computes/{used}")
    assert any("has no compute gpu: using cpu-cluster" in line for line in said) is not there


def test_a_compute_that_one_step_names_is_looked_for_as_well(
    lab: Bench, azure: Azure, said: list[str]
) -> None:
    azure.add_compute("gpu")
    text = (lab.model.folder / "pipeline.yml").read_text()
    for step, compute in (("copy", "gpu"), ("count", "gone")):
        component = f"component: ./components/{step}.yml\n"
        text = text.replace(component, f"{component}    compute: azureml:{compute}\n")
    lab.model.write("pipeline.yml", text)
    lab.submit("demo-1")
    steps = azure.jobs["demo-1"].document["properties"]["jobs"]
    used = {name: (step.get("computeId") or "").rpartition("/")[2] for name, step in steps.items()}
    assert used == {"copy": "gpu", "count": "cpu-cluster", "register": ""}
    assert any("has no compute gone: using cpu-cluster" in line for line in said)


def test_a_pipeline_that_names_its_compute_in_one_word_names_one(
    lab: Bench, azure: Azure, said: list[str]
) -> None:
    azure.add_compute("gpu")
    text = (lab.model.folder / "pipeline.yml").read_text()
    lab.model.write("pipeline.yml", text.replace("settings:\n", "compute: azureml:gpu\nsettings:\n"))
    lab.submit("demo-1")
    assert azure.jobs["demo-1"].document["properties"]["computeId"].endswith("/computes/gpu")
    assert not any("names no compute" in line for line in said)


def test_throttled_and_failing_requests_are_repeated(lab: Bench, azure: Azure) -> None:
    azure.trouble(1, "/codes/", BUSY)
    azure.trouble(1, f"PUT {'labstore.blob.core.windows.net'}", Answer(503, b"", {"Retry-After": "1"}))
    azure.trouble(1, "/jobs/demo-1", BROKEN)
    started = time.monotonic()
    lab.submit("demo-1")
    assert time.monotonic() - started > 1, "Retry-After was not honoured"
    azure.trouble(1, "/jobs/demo-1", BUSY)
    azure.trouble(2, "/runs/demo-1/children", BROKEN)
    assert lab.end("demo-1").state == "completed"
    assert len(azure.jobs) == 1


def test_a_token_that_expired_early_is_fetched_anew(azure: Azure, model: Model) -> None:
    azure.add_compute("cpu-cluster")
    login = Login()
    place = AzureMlPlace(login, Workspace(SUBSCRIPTION, GROUP, NAME), Cluster("cpu-cluster", "x", 1), print)
    bench = Bench(place, model)
    bench.submit("demo-1")
    bench.end("demo-1")
    given = login.given
    azure.trouble(1, "/jobs/demo-1", Answer(401, {"error": {"code": "ExpiredAuthenticationToken"}}))
    assert place.poll("demo-1").state == "completed"
    assert login.given > given
    first, second = azure.asked("/jobs/demo-1")[-3:-1]
    assert first.headers["Authorization"] != second.headers["Authorization"]


def test_a_place_that_stays_away_is_an_error_worth_trying_again(
    lab: Bench, azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    azure.trouble(100, "/jobs/demo-1", BROKEN)
    with pytest.raises(PlaceError, match=r"answers 500: .*oops") as caught:
        lab.place.poll("demo-1")
    assert caught.value.retryable


def denied(action: str) -> Answer:
    message = (
        "The client 'x' with object id 'y' does not have authorization to perform action "
        f"'Microsoft.MachineLearningServices/workspaces/{action}' over scope '{ROOT}/{action}?sig=SECRETSIG'."
    )
    return Answer(403, {"error": {"code": "AuthorizationFailed", "message": message}})


@pytest.mark.parametrize(
    ("request_line", "answer", "role"),
    [
        pytest.param(
            "PUT management.azure.com",
            denied("codes/versions/write"),
            "AzureML Data Scientist on the workspace lab",
            id="submit",
        ),
        pytest.param(
            "/computes/cpu-cluster",
            denied("computes/read"),
            "AzureML Data Scientist on the workspace lab",
            id="see the compute",
        ),
        pytest.param(
            f"PUT management.azure.com{ROOT}/computes/gone",
            denied("computes/write"),
            "AzureML Compute Operator on the workspace lab",
            id="make the compute",
        ),
        pytest.param(
            "PUT labstore.blob",
            Answer(403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"}),
            "Storage Blob Data Contributor on the storage account of the workspace lab",
            id="send the code",
        ),
    ],
)
def test_a_denied_permission_names_the_role_and_the_resource(
    azure: Azure, model: Model, request_line: str, answer: Answer, role: str
) -> None:
    wanted = "gone" if "gone" in request_line else "cpu-cluster"
    azure.add_compute("cpu-cluster")
    place = AzureMlPlace(Login(), Workspace(SUBSCRIPTION, GROUP, NAME), Cluster(wanted, "x", 1), print)
    azure.trouble(1, request_line, answer)
    with pytest.raises(PlaceError) as caught:
        Bench(place, model).submit("demo-1")
    assert "403" in caught.value.problem
    assert role in caught.value.fix
    assert "SECRET" not in str(caught.value)
    assert not caught.value.retryable


def test_a_step_that_azure_took_over_counts_as_reused(lab: Bench, azure: Azure) -> None:
    lab.submit("demo-1")
    lab.end("demo-1")
    azure.jobs["demo-1"].children["copy"].properties["azureml.isreused"] = "true"
    assert [step.state for step in lab.place.poll("demo-1").steps] == ["reused", "ran", "ran"]


def test_the_workspace_says_where_its_mlflow_is(lab: Bench) -> None:
    assert isinstance(lab.place, AzureMlPlace)
    assert lab.place.tracking_uri().startswith("azureml://eastus.api.azureml.ms/mlflow/v2.0/subscriptions/")


def test_only_azures_own_hosts_are_asked(lab: Bench, azure: Azure) -> None:
    lab.submit("demo-1")
    lab.end("demo-1")

    def host(request: Request) -> str:
        return request.host

    assert {host(request) for request in azure.requests} == {
        "management.azure.com",
        "eastus.api.azureml.ms",
        "labstore.blob.core.windows.net",
    }
    assert azure.proxy.refused_hosts == []


def test_without_the_extra_the_fix_says_what_to_install() -> None:
    script = """
import sys
sys.modules["azure.ai.ml"] = None
from edgeferry.adapters.azureml import AzureMlPlace, Cluster, Workspace
from edgeferry.errors import UsageError
try:
    AzureMlPlace(None, Workspace("s", "g", "w"), Cluster("c", "x", 1), print).poll("demo-1")
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "pip install 'edgeferry[azure]'" in done.stdout, done.stderr
