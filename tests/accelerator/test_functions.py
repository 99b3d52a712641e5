"""Pipeline functions, run by azure-ai-ml offline: what they make, and how those are told that cannot be run.

azure-ai-ml takes seconds to import: all scripts are run at once, each in a fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.pipeline_function import IsolatedFunctions
from edgeferry.domain.accelerator import Origin
from edgeferry.domain.accelerator_pipeline import parse_job
from edgeferry.errors import DefinitionError
from tests.accelerator.team import write_project
from tests.needs import lack, need

HEAD = """\
import os, socket, subprocess, urllib.request
from azure.ai.ml import Input, MLClient, load_component
from azure.ai.ml.dsl import pipeline
from azure.identity import DefaultAzureCredential
client = MLClient(DefaultAzureCredential(), "s", "g", "w")
prep = load_component(source="mlops/nyc_taxi/components/prep.yml")
"""
GIVEN = {"model_name": "fare", "conda_path": "mlops/nyc_taxi/environment/conda.yml"}
GOOD = "mlops/nyc_taxi/src/mlops_pipeline.py"
SCRIPTS = {
    "network_at_import": "\nurllib.request.urlopen('http://127.0.0.1:9/rates.json')\n",
    "socket": "\nsocket.create_connection(('10.0.0.1', 80))\n",
    "swallowed": "\ntry:\n    socket.create_connection(('10.0.0.1', 80))\nexcept Exception:\n    pass\n",
    "swallowed_whole": "\ntry:\n    socket.create_connection(('10.0.0.1', 80))\nexcept:\n    pass\n",
    "program": "\nsubprocess.run(['az', 'account', 'show'])\n",
    "missing_component": "\nload_component(source='mlops/nyc_taxi/components/perp.yml')\n",
    "fails": "\nraise KeyError('REGION')\n",
    "broken": "\ndef f(:\n",
    "submits_nothing": "\n@pipeline()\ndef f(raw):\n    prep(raw_data=raw)\n",
    "exits": "\nraise SystemExit(3)\n",
    "unknown_input": "\n@pipeline()\ndef f(raw):\n    prep(rwa_data=raw)\nf(Input(path='x'))\n",
    "cycle": """
transform = load_component(source="mlops/nyc_taxi/components/transform.yml")
@pipeline()
def f(raw):
    first = prep(raw_data=raw)
    second = transform(clean_data=first.outputs.prep_data)
    first.inputs.raw_data = second.outputs.transformed_data
client.jobs.create_or_update(f(Input(type="uri_folder", path="x")))
""",
    "looks_around": """
assert not [name for name in os.environ if name.startswith(("AZURE_", "EDGEFERRY_", "ARM_"))]
assert not os.path.exists(os.path.expanduser("~/.azure"))
client.workspaces.get("w"); client.compute.begin_create_or_update("c").result()
@pipeline()
def f(raw):
    prep(raw_data=raw)
client.jobs.create_or_update(f(Input(type="uri_folder", path="azureml:trips:3")), experiment_name="e")
""",
}


def path_of(name: str) -> str:
    return f"mlops/tried/{name}.py"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[IsolatedFunctions, Mapping[str, Any]]:
    """The functions of a project, and what came of each script in it."""
    need("azure.ai", "azure-ai-ml")
    root = write_project(tmp_path_factory.mktemp("functions") / "cabs", trips=1)
    (root / "mlops" / "tried").mkdir()
    for name, body in SCRIPTS.items():
        (root / path_of(name)).write_text(HEAD + body)
    functions = IsolatedFunctions(root)
    before = snapshot(root)
    os.environ["AZURE_CLIENT_SECRET"] = "not for them"
    try:
        scripts = {path_of(name): {} for name in SCRIPTS}
        answers = functions.ask({GOOD: GIVEN, **scripts}, "FILL-")
    finally:
        del os.environ["AZURE_CLIENT_SECRET"]
    assert snapshot(root) == before, "the project was changed"
    return functions, answers


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_script_is_run_as_far_as_it_submits_its_job(asked: tuple[IsolatedFunctions, Any]) -> None:
    functions, answers = asked
    job = functions.read(GOOD, answers[GOOD])
    assert list(job["steps"]) == ["prepared", "features", "trained", "predicted", "scored", "nyc_register"]
    assert job["steps"]["trained"]["component"] == "mlops/nyc_taxi/components/train.yml"
    assert (
        job["steps"]["predicted"]["inputs"]["model_input"] == "${{parent.jobs.trained.outputs.model_output}}"
    )
    assert job["inputs"]["raw_trips"]["path"] == "mlops/nyc_taxi/data/"
    assert (job["inputs"]["model_name"], job["inputs"]["build_reference"]) == ("fare", "FILL-build_reference")
    assert job["settings"]["force_rerun"] is True
    assert job["settings"]["default_compute"] == "azureml:FILL-cluster_name"
    assert job["outputs"]["prepared_trips"] == {"type": "uri_folder", "mode": "rw_mount"}


def test_a_script_sees_no_credential_and_gets_stand_ins_for_azure(
    asked: tuple[IsolatedFunctions, Any],
) -> None:
    functions, answers = asked
    job = functions.read(path_of("looks_around"), answers[path_of("looks_around")])
    assert job["experiment_name"] == "e"
    assert job["inputs"]["raw"]["path"] == "azureml:trips:3"


@pytest.mark.parametrize(
    ("name", "line", "problem", "fix"),
    [
        ("network_at_import", 8, "reaches for the network: 127.0.0.1", "read it in a step"),
        ("socket", 8, "reaches for the network: 10.0.0.1", "read it in a step"),
        ("swallowed", 9, "reaches for the network: 10.0.0.1", "read it in a step"),
        ("swallowed_whole", 9, "reaches for the network: 10.0.0.1", "read it in a step"),
        ("program", 8, "starts a program: az", "do it in a step"),
        ("missing_component", 8, "perp.yml", "correct it"),
        ("fails", 8, "KeyError: 'REGION'", "correct it"),
        ("broken", 8, "SyntaxError", "correct it"),
        ("submits_nothing", 1, "submitted no pipeline job", "client.jobs.create_or_update"),
        ("exits", 8, "SystemExit: 3", "correct it"),
        ("unknown_input", 10, "rwa_data", "correct it"),
    ],
)
def test_a_script_that_cannot_be_run_is_told_with_its_line(
    asked: tuple[IsolatedFunctions, Any], name: str, line: int, problem: str, fix: str
) -> None:
    functions, answers = asked
    with pytest.raises(DefinitionError) as refused:
        functions.read(path_of(name), answers[path_of(name)])
    assert f"{path_of(name)}:{line}: " in str(refused.value.problem)
    assert problem in refused.value.problem
    assert fix in refused.value.fix


def test_a_circle_that_azures_client_lets_pass_is_refused(asked: tuple[IsolatedFunctions, Any]) -> None:
    functions, answers = asked
    job = functions.read(path_of("cycle"), answers[path_of("cycle")])
    with pytest.raises(DefinitionError, match=r"cycle.py:10: the steps wait for each other"):
        parse_job(job, Origin(path_of("cycle"), 10))


def test_a_script_that_takes_too_long_is_ended_with_all_that_it_started(team: Path) -> None:
    if not Path("/proc").is_dir():
        lack("no /proc to look for processes in")
    functions = IsolatedFunctions(team, limit_s=0.2)
    answers = functions.ask({GOOD: {}}, "FILL-")
    with pytest.raises(DefinitionError, match=r"mlops_pipeline.py:1: the script did not end within 0.2 s"):
        functions.read(GOOD, answers[GOOD])
    left = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if b"pipeline_function_driver" in _read(path)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_without_azure_ai_ml_its_extra_is_named(team: Path) -> None:
    program = f"""
import sys
from pathlib import Path
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "azure":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["edgeferry", "import-accelerator", {str(team)!r}]
from edgeferry.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'edgeferry[azure]'" in done.stderr
    assert not team.with_name("cabs-edgeferry").exists()
