"""Project files on disk: where an error is, to the line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeferry.adapters.project import ProjectFolder
from edgeferry.domain.model import ModelDefinition
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
    prepare, train = pipeline.steps[0].component, pipeline.steps[2].component
    assert prepare.code == str(root / "models/nyc_taxi/src")
    assert train.code == str(root / "shared/src")
    assert train.environment == prepare.environment
    assert train.environment.python == "3.11"
    assert "scikit-learn==1.9.1" in train.environment.requirements


@pytest.mark.parametrize(
    ("example", "models"),
    [("taxi", ["london_taxi", "nyc_taxi"]), ("digits", ["digits"])],
)
def test_every_model_of_every_example_can_be_read(example: str, models: list[str]) -> None:
    project = ProjectFolder(Path(__file__).parents[2] / "examples" / example)
    assert project.model_names() == models
    for name in models:
        pipeline = project.load_pipeline(project.load_model(name))
        assert pipeline.registering_step is not None
        assert pipeline.inputs["model_name"].default == name


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
            "shared/components/score.yml",
            "shared/components/skore.yml",
            54,
            "does not exist",
            id="component file that is not there",
        ),
        pytest.param(
            "pipeline.yml",
            "parent.jobs.prepare.outputs.trips",
            "parent.jobs.prepare.outputs.trisp",
            34,
            "no output `trisp`",
            id="dangling reference",
        ),
        pytest.param(
            "../../shared/components/train.yml",
            "inputs.seed",
            "inputs.sed",
            38,
            "inputs.sed",
            id="undeclared input in a command",
        ),
        pytest.param(
            "../../shared/components/train.yml",
            "code: ../src",
            "code: ../nowhere",
            34,
            "nowhere",
            id="no code folder",
        ),
        pytest.param(
            "../../shared/environment/conda.yml",
            "  - pip\n",
            "  - numpy\n",
            6,
            "not a pip package",
            id="conda package",
        ),
        pytest.param("smoke/checks.yml", "- increasing:", "increasing:", 1, "", id="checks are no list"),
    ],
)
def test_an_error_names_file_and_line(
    root: Path, file: str, old: str, new: str, line: int, says: str
) -> None:
    path = (root / "models/nyc_taxi" / file).resolve()
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


@pytest.mark.parametrize(
    ("files", "line", "runtime", "found"),
    [
        pytest.param((), "", "auto", (), id="nothing of its own"),
        pytest.param(("score.py",), "", "score", ("score",), id="score.py"),
        pytest.param(
            ("serve/main.py", "serve/requirements.txt"),
            "score: serve/main.py",
            "score",
            ("score", "score_requirements"),
            id="score.py elsewhere, with requirements",
        ),
        pytest.param(("Dockerfile",), "", "auto", ("dockerfile",), id="Dockerfile"),
        pytest.param(("Dockerfile",), "runtime: own", "own", ("dockerfile",), id="own program"),
        pytest.param(("Dockerfile", "score.py"), "", "score", ("score", "dockerfile"), id="both"),
        pytest.param((), "runtime: library", "library", (), id="library asked for"),
    ],
)
def test_what_a_model_folder_brings_to_serve_it_is_found(
    root: Path, files: tuple[str, ...], line: str, runtime: str, found: tuple[str, ...]
) -> None:
    model = bring(root, files, line)
    assert model.runtime == runtime
    serving = {"score": model.score, "score_requirements": model.score_requirements}
    paths = {name: path for name, path in {**serving, "dockerfile": model.dockerfile}.items() if path}
    assert set(paths) == set(found)
    assert all(Path(path).is_file() for path in paths.values())


@pytest.mark.parametrize(
    ("files", "line", "words"),
    [
        pytest.param((), "score: serve/main.py", "serve/main.py does not exist", id="named and not there"),
        pytest.param((), "runtime: score", "needs a score.py", id="no score.py"),
        pytest.param((), "runtime: own", "needs a Dockerfile", id="no Dockerfile"),
        pytest.param(("score.py",), "runtime: onnx", "exclude each other", id="score.py and a graph"),
    ],
)
def test_what_excludes_each_other_is_refused_with_the_line(
    root: Path, files: tuple[str, ...], line: str, words: str
) -> None:
    with pytest.raises(DefinitionError, match=words) as caught:
        bring(root, files, line)
    assert caught.value.file.endswith("model.yaml")
    assert caught.value.line == len(Path(caught.value.file).read_text().splitlines())


def bring(root: Path, files: tuple[str, ...], line: str) -> ModelDefinition:
    """The definition of nyc_taxi with these files in its folder and a line more in its model.yaml."""
    folder = root / "models" / "nyc_taxi"
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    with (folder / "model.yaml").open("a") as document:
        document.write(f"{line}\n")
    return ProjectFolder(root).load_model("nyc_taxi")


def test_a_script_in_a_folder_of_its_own_brings_the_folder_along(root: Path) -> None:
    alone = bring(root, ("score.py", "other.py"), "")
    assert ProjectFolder(root).load_script(alone).files == {"score.py": b""}
    Path(alone.score).unlink()
    files = ("serve/main.py", "serve/lib/a.py", "serve/lib/__pycache__/a.pyc", "serve/requirements.txt")
    (root / "models" / "nyc_taxi" / "serve" / "lib" / "__pycache__").mkdir(parents=True)
    script = ProjectFolder(root).load_script(bring(root, files, "score: serve/main.py"))
    assert script.entry == "main.py"
    assert set(script.files) == {"main.py", "lib/a.py", "requirements.txt"}
    assert script.requirements == ""
