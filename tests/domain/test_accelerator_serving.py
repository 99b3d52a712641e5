"""Dockerfile, requirements and sample request of an accelerator project, for our server."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from edgeferry.domain.accelerator import Origin
from edgeferry.domain.accelerator_serving import (
    port_requirements,
    read_dockerfile,
    render_checks,
    render_score,
)
from edgeferry.domain.smoke_checks import find_check_faults


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("ARG model_file_name=a.pkl\nENV MODEL_FILE_NAME=$model_file_name", {"MODEL_FILE_NAME": "a.pkl"}),
        ("ARG model_file_name\nENV MODEL_FILE_NAME=${model_file_name}", {"MODEL_FILE_NAME": "given.pkl"}),
        ("ENV MODEL_FILE_NAME=$nobody", {"MODEL_FILE_NAME": "model.pkl"}),
        ("ENV A=1 \\\n    B='two words'", {"A": "1", "B": "two words"}),
        ("ENV A one", {"A": "one"}),
        ("ENV MODEL_LOG_PATH=/var/log", {"MODEL_LOG_PATH": "/tmp/model-log"}),
        ("ENV AZUREML_MODEL_DIR=/m MODEL_NAME=m AZUREML_ENTRY_SCRIPT=score.py", {}),
        ("# ENV A=1", {}),
    ],
)
def test_the_environment_of_score_py(text: str, environment: dict[str, str]) -> None:
    given = {"model_file_name": "given.pkl"} if "=a.pkl" not in text else {}
    assert read_dockerfile(text, "model/m/dockerfile", "m", given).environment == environment


@pytest.mark.parametrize(
    ("run", "told"),
    [("pip install -r r.txt", False), ("apt-get install -y libgomp1", True), ("mkdir -p /x", False)],
)
def test_what_an_image_is_made_with_is_an_edit_unless_the_server_does_it(run: str, told: bool) -> None:
    read = read_dockerfile(f"FROM x\n\nRUN {run}\n", "model/m/dockerfile", "m", {})
    assert [str(edit.origin) for edit in read.edits] == ["model/m/dockerfile:3"] * told
    assert all("models/m/Dockerfile" in edit.fix for edit in read.edits)


def test_the_script_that_the_server_calls_is_python_whatever_the_values() -> None:
    text = render_score({"A": 'quote " and \\ and\nline'}, "scoring.score")
    compile(text, "score.py", "exec")
    assert "from scoring.score import init, run" in text


def test_requirements_of_azures_server_are_left_out_unless_score_py_imports_them() -> None:
    text = "azureml-inference-server-http==0.8.0\nnumpy\nmlflow==2.1\n# note\n"
    assert port_requirements(text, "r.txt", {"numpy"})[0] == "numpy\n# note\n"
    kept, placed = port_requirements(text, "r.txt", {"mlflow"})
    assert kept == "numpy\nmlflow==2.1\n# note\n"
    assert [str(each.origin) for each in placed] == ["r.txt:1"]


def test_the_sample_request_becomes_a_check() -> None:
    text, edits = render_checks({"data": [[1.5, 2], [3, 4]]}, Origin("s.json", 1))
    checks = yaml.safe_load(text)
    assert edits == []
    assert list(find_check_faults(checks)) == []
    assert checks[0]["same"]["requests"] == [{"data": [[1.5, 2], [3, 4]]}] * 2


@pytest.mark.parametrize(
    "sample", [[], {}, {"data": []}, {"data": {"a": 1}}, {"data": [1, 2]}, {"input": [[1]]}]
)
def test_a_sample_that_is_no_request_is_an_edit(sample: Any) -> None:
    _, edits = render_checks(sample, Origin("model/m/sample-request.json", 1))
    assert [str(edit.origin) for edit in edits] == ["model/m/sample-request.json:1"]
