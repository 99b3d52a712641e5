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
NOTICED = frozenset(
    {
        "reference of no known form",
        "default of another type",
        "unknown key of the pipeline",
        "unknown key of settings",
        "unknown key of a pipeline's input",
        "unknown key of a component's input",
        "unknown key of the environment",
        "step without a component",
        "unknown type",
        "name that cannot be referred to",
        "pipeline of another type",
        "step of another type",
        "component of another type",
        "a list where names are wanted",
        "input without value",
        "pipeline input without value",
        "nothing said of compute",
        "default of a path",
        "component that is not there",
        "code that is not there",
        "conda file that is not there",
    }
)
"""The seeded faults that the client notices as well; all others it would send."""
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
    except TypeError as error:
        if isinstance(error.__context__, ValidationError):  # it fails to print what it found
            return str(error.__context__)
        raise
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
def test_the_client_notices_few_of_the_faults_that_we_find(tmp_path: Path, edit: Edit) -> None:
    assert bool(refusal(write_project(tmp_path, edit) / PIPELINE)) is (edit.id in NOTICED)


@pytest.mark.parametrize(
    "passed",
    [
        "file wired to a folder",
        "unknown key of a component",
        "output that does not exist",
        "step that waits for itself",
        "steps that wait for each other",
    ],
)
def test_wrong_graphs_pass_the_client(passed: str) -> None:
    assert passed in {edit.id for edit in FAULTS} - NOTICED
