"""Project files on disk: where an error is, to the line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeferry.adapters.project import ProjectFolder
from edgeferry.errors import DefinitionError, UsageError

EXAMPLE = Path(__file__).parents[2] / "examples" / "taxi"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "taxi")
    return tmp_path / "taxi"


def load(root: Path) -> None:
    project = ProjectFolder(root)
    project.load_pipeline(project.load_model("nyc_taxi"))


def test_the_example_is_read_whole(root: Path) -> None:
    project = ProjectFolder(root)
    assert "nyc_taxi" in project.model_names()
    model = project.load_model("nyc_taxi")
    assert model.prediction_column == "predicted_fareAmount"
    assert [next(iter(check)) for check in model.checks] == ["increasing", "refused"]
    pipeline = project.load_pipeline(model)
    assert [step.name for step in pipeline.steps] == [
        "prepare",
        "transform",
        "train",
        "predict",
        "score",
        "register",
    ]
    assert pipeline.inputs["raw_data"].default == str(root / "models/nyc_taxi/data")
    train = pipeline.steps[2].component
    assert train.code == str(root / "models/nyc_taxi/src")
    assert train.environment.python == "3.11"
    assert "scikit-learn==1.9.1" in train.environment.requirements


def test_an_unknown_model_is_refused_with_the_near_miss(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ProjectFolder(root).load_model("nyc_tax")
    assert caught.value.fix == "did you mean `nyc_taxi`?"


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "says"),
    [
        pytest.param(
            "model.yaml", "latency_ms: 250", "latency: 250", 4, "unknown key `latency`", id="unknown key"
        ),
        pytest.param("model.yaml", "rtol: 1e-9", "rtol: small", 6, "not a number", id="value deep inside"),
        pytest.param(
            "model.yaml",
            "latency_ms: 250",
            "latency_ms: 250\nlatency_ms: 9",
            5,
            "stands here twice",
            id="key twice",
        ),
        pytest.param("model.yaml", "tolerance:", "tolerance", 6, "not YAML", id="syntax error"),
        pytest.param(
            "model.yaml",
            "description",
            "pipeline: no.yml\ndescription",
            1,
            "does not exist",
            id="no pipeline",
        ),
        pytest.param(
            "pipeline.yml",
            "./components/score.yml",
            "./components/skore.yml",
            50,
            "does not exist",
            id="component file that is not there",
        ),
        pytest.param(
            "pipeline.yml",
            "parent.jobs.prepare.outputs.trips",
            "parent.jobs.prepare.outputs.trisp",
            33,
            "no output `trisp`",
            id="dangling reference",
        ),
        pytest.param(
            "components/train.yml",
            "inputs.seed",
            "inputs.sed",
            28,
            "inputs.sed",
            id="undeclared input in a command",
        ),
        pytest.param(
            "components/train.yml", "code: ../src", "code: ../nowhere", 24, "nowhere", id="no code folder"
        ),
        pytest.param(
            "environment/conda.yml", "  - pip\n", "  - numpy\n", 6, "not a pip package", id="conda package"
        ),
        pytest.param("smoke/checks.yml", "- increasing:", "increasing:", 1, "", id="checks are no list"),
    ],
)
def test_an_error_names_file_and_line(
    root: Path, file: str, old: str, new: str, line: int, says: str
) -> None:
    path = root / "models/nyc_taxi" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(DefinitionError) as caught:
        load(root)
    assert caught.value.file == str(path)
    assert says in caught.value.problem
    assert caught.value.problem.startswith(f"{path}:{caught.value.line}: ")
    if says:
        assert caught.value.line == line
    assert caught.value.fix


@pytest.mark.parametrize("content", ["", "- a\n", "1: x\n", "x"])
def test_a_file_without_named_fields_is_refused(root: Path, content: str) -> None:
    (root / "models/nyc_taxi/model.yaml").write_text(content, "utf-8")
    with pytest.raises(DefinitionError) as caught:
        load(root)
    assert caught.value.fix
