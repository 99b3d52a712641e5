"""Our validator beside Azure ML's own client (azure-ai-ml), offline, on the same files.

The client's `_validate` and `_to_rest_object` are private: what it does before it sends a job.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import FAULTS, PIPELINE, VALIDS, Edit, write_project
from tests.needs import lack

pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLES = Path(__file__).parents[2] / "examples"
PIPELINES = sorted(EXAMPLES.glob("*/models/*/pipeline.yml"))
COMPONENTS = sorted(path for path in EXAMPLES.rglob("components/*.yml"))


def refusal(file: Path, kind: str = "job") -> str:
    """Why Azure ML's client would not send the job or component in `file`; "" when it would."""
    try:
        from azure.ai.ml import load_component, load_job
        from azure.ai.ml.exceptions import MlException, ValidationException
        from azure.core.exceptions import AzureError
        from marshmallow import ValidationError
    except ImportError:
        lack("azure-ai-ml")
    try:
        loaded = load_job(file) if kind == "job" else load_component(file)
        result = loaded._validate()
        if not result.passed:
            return str(result.error_messages)
        loaded._to_rest_object()
    except (AzureError, MlException, ValidationException, ValidationError) as error:
        return str(error) or type(error).__name__
    return ""


def name(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


@pytest.mark.parametrize("file", PIPELINES, ids=name)
def test_every_pipeline_of_the_examples_would_be_sent(file: Path) -> None:
    assert refusal(file) == ""


@pytest.mark.parametrize("file", COMPONENTS, ids=name)
def test_every_component_of_the_examples_would_be_sent(file: Path) -> None:
    assert refusal(file, "component") == ""


@pytest.mark.parametrize("edit", VALIDS, ids=lambda edit: edit.id)
def test_what_we_find_sound_would_be_sent(tmp_path: Path, edit: Edit) -> None:
    assert refusal(write_project(tmp_path, edit) / PIPELINE) == ""


@pytest.mark.parametrize("edit", FAULTS, ids=lambda edit: edit.id)
def test_of_our_faults_the_client_notices_those_that_are_marked(tmp_path: Path, edit: Edit) -> None:
    assert bool(refusal(write_project(tmp_path, edit) / PIPELINE)) is edit.sdk_refuses
