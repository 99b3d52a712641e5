"""A team's project, imported: what the new one is, and how those are told that cannot be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeferry.adapters.documents import load_json
from edgeferry.adapters.pipeline_function import RECORDER
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.project_tree import AcceleratorTree, new_project
from edgeferry.adapters.text_folder import LocalTextFolder
from edgeferry.adapters.upload import list_upload
from edgeferry.domain.accelerator_config import KEYS
from edgeferry.domain.finding import refuse_found
from edgeferry.errors import UsageError
from edgeferry.settings import environment_names, load_settings
from edgeferry.workflows.ci import Layout, read_fleet, write_pipelines
from edgeferry.workflows.import_accelerator import Imported, import_accelerator
from tests.accelerator.team import write_project

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "fixtures" / "reference-accelerator"
STEPS = ("prep", "transform", "train", "predict", "score", "register")


def job_of(model: str) -> dict[str, Any]:
    """What the pipeline function of the model makes; tests/accelerator/test_functions.py asks azure-ai-ml."""

    def step(name: str, **inputs: str) -> dict[str, Any]:
        bound = {key: f"${{{{parent.{where}}}}}" for key, where in inputs.items()}
        component = f"mlops/{model}/components/{name}.yml"
        return {"component": component, "inputs": bound, "outputs": {}, "environment_variables": {}}

    given = "inputs"
    steps = {
        "prepared": step("prep", raw_data=f"{given}.raw_trips"),
        "features": step("transform", clean_data="jobs.prepared.outputs.prep_data"),
        "trained": step("train", training_data="jobs.features.outputs.transformed_data"),
        "predicted": step(
            "predict",
            model_input="jobs.trained.outputs.model_output",
            test_data="jobs.trained.outputs.test_data",
        ),
        "scored": step(
            "score",
            predictions="jobs.predicted.outputs.predictions",
            model="jobs.trained.outputs.model_output",
        ),
        "registered": step(
            "register",
            model_metadata="jobs.trained.outputs.model_metadata",
            model_name=f"{given}.model_name",
            score_report="jobs.scored.outputs.score_report",
            build_reference=f"{given}.build_reference",
        ),
    }
    return {
        "steps": steps,
        "inputs": {
            "raw_trips": {"type": "uri_folder", "path": f"mlops/{model}/data/"},
            "model_name": f"{model.removesuffix('_taxi')}_fare",
            "build_reference": "imported",
        },
        "outputs": {},
        "settings": {"default_compute": "azureml:cabs-cpu", "force_rerun": True},
    }


class Told:
    """Stands in for azure-ai-ml, which takes long: every model's function makes the template's graph."""

    def load(self, scripts: Mapping[str, Mapping[str, str]], fill_in: str) -> Mapping[str, Any]:
        return {script: job_of(script.split("/")[1]) for script in scripts}


def carry(root: Path, target: Path) -> Imported:
    recorder = RECORDER.read_text("utf-8")
    return import_accelerator(
        AcceleratorTree(root), Told(), lambda: new_project(target, root), recorder, lambda line: None
    )


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Imported]:
    """The team's project, the new one, and what was told."""
    folder = tmp_path_factory.mktemp("import")
    root = write_project(folder / "cabs", trips=5)
    before = snapshot(root)
    imported = carry(root, folder / "new")
    assert snapshot(root) == before, "the project that is imported was changed"
    return root, folder / "new", imported


def test_the_new_project_has_no_fault(done: tuple[Path, Path, Imported]) -> None:
    _, new, imported = done
    project = ProjectFolder(new)
    assert list(project.model_names()) == ["london_taxi", "nyc_taxi"]
    found = [each for name in project.model_names() for each in project.find_faults(name)]
    assert [each for each in found if each.severity == "error"] == []
    assert {each.rule for each in found} == {"log-model", "unused-input"} & {each.rule for each in found}
    assert imported.ok


def test_few_edits_are_left_each_with_its_lines(done: tuple[Path, Path, Imported]) -> None:
    root, new, imported = done
    assert len(imported.works) <= 5
    told = {work.problem.partition(":")[0]: work for work in imported.works}
    assert len(told) == 3
    for work in imported.works:
        for place in work.places:
            file = next(base / place.file for base in (new, root) if (base / place.file).is_file())
            assert 1 <= place.line <= len(file.read_text().splitlines())
    assert {place.file.split("/")[1] for place in imported.works[0].places} == {"nyc_src", "london_src"}
    line = imported.works[0].places[0]
    assert "log_model(" in (new / line.file).read_text().splitlines()[line.line - 1]


def test_every_key_has_a_row_in_the_report_and_every_edit_a_number(done: tuple[Path, Path, Imported]) -> None:
    _, new, imported = done
    page = (new / "IMPORT.md").read_text("utf-8")
    assert [key for key in KEYS if page.count(f"| `{key}` |") != 2] == []
    assert re.findall(r"^(\d+)\. ", page, re.M) == [str(n) for n in range(1, len(imported.works) + 1)]
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_the_teams_sources_and_tests_are_where_they_were_and_still_run(
    done: tuple[Path, Path, Imported],
) -> None:
    root, new, _ = done
    for folder in ("src", "test"):
        before, after = snapshot(root / folder), snapshot(new / folder)
        assert {path: body for path, body in after.items() if path != "record_version.py"} == before
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test"],
        cwd=new,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout


def test_a_step_is_given_the_sources_and_nothing_else_of_the_project(
    done: tuple[Path, Path, Imported],
) -> None:
    _, new, _ = done
    project = ProjectFolder(new)
    pipeline = project.load_pipeline(project.load_model("nyc_taxi"))
    assert {step.component.code for step in pipeline.steps} == {str(new.resolve())}
    assert {file.path.partition("/")[0] for file in list_upload(new).files} == {"src"}
    assert pipeline.reuse
    assert pipeline.registering_step is not None


def test_the_environment_loads_and_its_pipelines_are_written(done: tuple[Path, Path, Imported]) -> None:
    _, new, _ = done
    settings = load_settings(new, environment="dev")
    assert settings["hub.host"] == "cabshub.azure-devices.net"
    place = new / ".azure-pipelines"
    fleet = read_fleet("dev", settings.written)
    layout = Layout(new, new, place)
    folder = LocalTextFolder(place)
    names = environment_names(new)
    platform = "azure-devops"
    write_pipelines(ProjectFolder(new), folder, layout, fleet, names, "1", platform=platform, check=False)
    text = (place / "nyc_taxi_dev_main.yml").read_text()
    assert "cabs_connection" in text
    check = yaml.load((place / "nyc_taxi_pr.yml").read_text(), yaml.BaseLoader)
    assert set(check["pr"]["paths"]["include"]) >= {".amlignore", "models/nyc_taxi", "src", "test"}
    assert "*" not in check["pr"]["paths"]["include"]
    assert "-m pytest test " in (place / "nyc_taxi_pr.yml").read_text()


def test_what_serves_the_model_runs_in_the_environment_of_its_dockerfile(
    done: tuple[Path, Path, Imported],
) -> None:
    _, new, _ = done
    serve = new / "models" / "nyc_taxi" / "serve"
    program = "import score, os; print(score.init.__module__, os.environ['CABS_ROUNDING'])"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=serve, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "scoring.score 2\n", ran.stderr


Change = Callable[[Path], None]


def config(**changes: Any) -> Change:
    """Another value in the first entry; None takes the key away."""

    def change(root: Path) -> None:
        path = root / "config" / "model_config.json"
        document = json.loads(path.read_text())
        entry = document["models"][0]
        for key, value in changes.items():
            entry.pop(key, None) if value is None else entry.update({key: value})
        path.write_text(json.dumps(document, indent=4))

    return change


def replace(file: str, old: str, new: str) -> Change:
    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return change


def both(first: Change, second: Change) -> Change:
    def change(root: Path) -> None:
        first(root)
        second(root)

    return change


def remove(file: str) -> Change:
    return lambda root: (root / file).unlink()


def write(file: str, text: str) -> Change:
    return lambda root: (root / file).write_text(text)


TRAIN = "mlops/nyc_taxi/components/train.yml"
REGISTER = "mlops/nyc_taxi/components/register.yml"
CONFIG = "config/model_config.json"


@pytest.mark.parametrize(
    ("change", "where", "problem", "fix"),
    [
        pytest.param(
            replace(CONFIG, '"ENV_NAME": "dev",', '"ENV_NAME": "dev"'),
            f"{CONFIG}:6",
            "not JSON",
            "commas",
            id="broken JSON",
        ),
        pytest.param(
            replace(CONFIG, '"CLUSTER_NAME"', '"CLUSTER_NMAE"'),
            f"{CONFIG}:7",
            "CLUSTER_NMAE",
            "`CLUSTER_NAME`",
            id="unknown key",
        ),
        pytest.param(
            config(ML_MODEL_CONFIG_NAME="london_taxi"),
            f"{CONFIG}:32",
            "london_taxi stands twice",
            "ENV_NAME",
            id="two models of one name",
        ),
        pytest.param(
            replace(CONFIG, '"ENV_NAME": "dev",', '"ENV_NAME": "dev", "ENV_NAME": "x",'),
            f"{CONFIG}:5",
            "stands here twice",
            "keep one",
            id="a key twice",
        ),
        pytest.param(
            config(ML_MODEL_CONFIG_NAME="bus"),
            f"{CONFIG}:4",
            "no Python file below mlops/bus/",
            "mlops/bus/src/mlops_pipeline.py",
            id="model without pipeline",
        ),
        pytest.param(
            config(CONDA_PATH="mlops/c.yml"),
            f"{CONFIG}:10",
            "no conda file mlops/c.yml",
            "CONDA_PATH",
            id="missing conda file",
        ),
        pytest.param(
            remove("model/nyc_taxi/scoring/score.py"),
            f"{CONFIG}:23",
            "no score.py",
            "SCORE_FILE_NAME",
            id="missing score.py",
        ),
        pytest.param(
            config(TARGET_CONDITION="tags.x ="), f"{CONFIG}:25", "TARGET_CONDITION", "", id="condition"
        ),
        pytest.param(
            remove("src/nyc_src/train/train.py"),
            f"{TRAIN}:18",
            "no src/nyc_src/train/train.py",
            "add the file",
            id="missing step",
        ),
        pytest.param(
            replace(TRAIN, "code: ./../../../", "code: ./../../../../"),
            f"{TRAIN}:16",
            "leads out of the project",
            "./../../../",
            id="code outside",
        ),
        pytest.param(
            replace("mlops/nyc_taxi/components/register.yml", "code: ./../../../", "code: ./../../../src"),
            "register.yml:18",
            "there is no src/src/nyc_src/register/register.py",
            "correct the command",
            id="command of another folder",
        ),
        pytest.param(
            both(
                replace(REGISTER, "code: ./../../../", "code: ./../../../src"),
                replace(REGISTER, "src.nyc_src.register", "nyc_src.register"),
            ),
            "register.yml:15",
            "has to run in the whole project",
            "`code: ./../../../`",
            id="registering in a folder of its own",
        ),
        pytest.param(
            replace(TRAIN, "type: command", "type: [command"),
            f"{TRAIN}:6",
            "not YAML",
            "indentation",
            id="broken YAML",
        ),
        pytest.param(
            replace(
                "mlops/nyc_taxi/components/register.yml", "register.register\n", "register.register && true\n"
            ),
            "register.yml:18",
            "needs a shell",
            "script",
            id="registering in a shell",
        ),
        pytest.param(
            write("mlops/nyc_taxi/environment/conda.yml", "name: x\n"),
            "conda.yml:1",
            "`dependencies` is no list",
            "pip",
            id="conda without list",
        ),
        pytest.param(
            write("edge/deployment.template.json", "{"),
            "edge/deployment.template.json:1",
            "not JSON",
            "brackets",
            id="broken template",
        ),
        pytest.param(
            write("model/nyc_taxi/sample-request.json", "{'a': 1}"),
            "sample-request.json:1",
            "not JSON",
            "quotes",
            id="broken sample",
        ),
        pytest.param(
            lambda root: (root / "src/nyc_src/train/train.py").write_bytes(b"\xff"),
            "src/nyc_src/train/train.py:1",
            "cannot be read",
            "UTF-8",
            id="source that is no text",
        ),
        pytest.param(
            lambda root: (root / "src" / "record_version.py").write_text(""),
            "",
            "two files would be",
            "rename src/record_version.py",
            id="a name that is taken",
        ),
    ],
)
def test_what_cannot_be_imported_is_told_with_file_line_and_fix_and_leaves_nothing(
    team: Path, change: Change, where: str, problem: str, fix: str
) -> None:
    change(team)
    with pytest.raises(UsageError) as refused:
        carry(team, team.with_name("new"))
    assert where in refused.value.problem
    assert problem in refused.value.problem
    assert fix in refused.value.fix
    assert [path.name for path in team.parent.iterdir()] == ["cabs"]


@pytest.mark.parametrize(
    ("change", "where", "problem", "fix"),
    [
        pytest.param(
            config(ALERTS="ops@cabs.example"),
            f"{CONFIG}:",
            "`ALERTS` is a key of your own",
            "grep",
            id="own key",
        ),
        pytest.param(
            config(MODEL_BASE_NAME="x", IOTHUB_NAME="y"),
            f"{CONFIG}:",
            "wants IOTHUB_NAME",
            "ENV_NAME",
            id="two hubs",
        ),
        pytest.param(
            remove("model/nyc_taxi/sample-request.json"),
            f"{CONFIG}:28",
            "no sample request",
            "checks.yml",
            id="no sample",
        ),
        pytest.param(
            write("test/test_nyc.py", "\nfrom mlops.common import get_compute\n"),
            "test/test_nyc.py:2",
            "imports `mlops`",
            "take the line out",
            id="tests of what is gone",
        ),
        pytest.param(
            replace("src/nyc_src/predict/predict.py", '"predicted_cost"', "name"),
            "predict.py:1",
            "which column",
            "prediction_column",
            id="unclear column",
        ),
        pytest.param(
            replace("src/nyc_src/predict/predict.py", '"predictions.csv"', "name"),
            "predict.py:1",
            "which file",
            "held_out",
            id="unclear file",
        ),
        pytest.param(
            replace("src/nyc_src/register/register.py", "mlflow.register_model", "mlflow.publish"),
            "mlops_pipeline.py:",
            "no step of nyc_taxi registers",
            "last step",
            id="nothing registers",
        ),
        pytest.param(
            replace(
                "src/nyc_src/prep/prep.py",
                "clean(pd.concat(parts, ignore_index=True))",
                "clean(a.append(b, ignore_index=True))",
            ),
            "prep.py:",
            "gone since pandas 2",
            "pd.concat",
            id="old pandas",
        ),
        pytest.param(
            replace("model/nyc_taxi/dockerfile", "RUN pip install", "RUN apt-get install x; pip"),
            "dockerfile:9",
            "RUN apt-get",
            "Dockerfile",
            id="system packages",
        ),
        pytest.param(
            write("src/nyc_src/score/score.py", "print 'x'\n"),
            "score.py:1",
            "cannot read",
            "correct",
            id="Python 2",
        ),
        pytest.param(
            replace("mlops/nyc_taxi/environment/conda.yml", "scikit-learn==1.9.1", "scikit-learn==1.0.2"),
            "conda.yml:",
            "scikit-learn==1.0.2",
            "run your tests",
            id="old library",
        ),
    ],
)
def test_what_is_carried_over_but_not_whole_is_an_edit(
    team: Path, change: Change, where: str, problem: str, fix: str
) -> None:
    change(team)
    imported = carry(team, team.with_name("new"))
    works = [work for work in imported.works if problem in work.problem]
    assert len(works) == 1, [work.problem for work in imported.works]
    assert any(where in str(place) for place in works[0].places)
    assert fix in works[0].fix
    assert (team.with_name("new") / "IMPORT.md").is_file()


def test_an_environment_more_is_a_file_more(team: Path) -> None:
    path = team / CONFIG
    document = json.loads(path.read_text())
    other = {"ENV_NAME": "prod", "IOTHUB_NAME": "prodhub", "CLUSTER_NAME": "prod-cpu"}
    prod = [{**entry, **other} for entry in document["models"]]
    path.write_text(json.dumps({"models": document["models"] + prod}))
    imported = carry(team, team.with_name("new"))
    assert imported.environments == ("dev", "prod")
    text = (team.with_name("new") / "environments" / "prod.toml").read_text()
    settings = tomllib.loads(text)
    assert (settings["hub"]["host"], settings["azureml"]["compute"]) == (
        "prodhub.azure-devices.net",
        "prod-cpu",
    )
    assert "default_compute" not in (team.with_name("new") / "models/nyc_taxi/pipeline.yml").read_text()


def test_the_references_own_files_are_carried_over_with_few_edits(team: Path) -> None:
    if not REFERENCE.is_dir():
        pytest.skip("the reference's files are not here: ../shared/reference")
    places = {
        "model_config.json": CONFIG,
        "deployment.template.json": "edge/deployment.template.json",
        "conda.yml": "mlops/MODEL/environment/conda.yml",
        "sample-request.json": "model/MODEL/sample-request.json",
        **{f"components/{name}.yml": f"mlops/MODEL/components/{name}.yml" for name in STEPS},
    }
    for model in ("nyc_taxi", "london_taxi"):
        city = model.removesuffix("_taxi")
        for file, place in places.items():
            text = (REFERENCE / file).read_text().replace("src.nyc_src.", f"src.{city}_src.")
            (team / place.replace("MODEL", model)).write_text(text)
    imported = carry(team, team.with_name("new"))
    assert imported.ok, imported.findings
    assert len(imported.works) <= 5, [work.problem for work in imported.works]


@pytest.mark.parametrize("inside", ["cabs/new", "cabs", "cabs/mlops/x"])
def test_the_project_itself_is_no_target(team: Path, inside: str) -> None:
    with pytest.raises(UsageError, match="inside of"):
        carry(team, team.parent / inside)


def test_a_folder_with_something_in_it_is_no_target_and_an_empty_one_is(team: Path) -> None:
    new = team.with_name("new")
    new.mkdir()
    (new / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        carry(team, new)
    assert snapshot(new) == {"mine.txt": b"mine"}
    (new / "mine.txt").unlink()
    carry(team, new)
    assert (new / "edgeferry.toml").is_file()


def test_a_folder_without_that_layout_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match=r"there is no config/model_config.json"):
        carry(tmp_path / "x", tmp_path / "new")


def test_whatever_interrupts_it_leaves_nothing(team: Path) -> None:
    def interrupted() -> None:
        with new_project(team.with_name("new"), team) as target:
            target.write("edgeferry.toml", "")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in team.parent.iterdir()] == ["cabs"]


def test_a_json_file_with_tabs_has_lines_too(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{\n\t"a": {\n\t\t"b": 1\n\t}\n}\n')
    document = load_json(tmp_path / "c.json", refuse_found)
    assert document is not None
    assert (document.content, document.line(("a", "b"))) == ({"a": {"b": 1}}, 3)
