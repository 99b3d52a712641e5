"""Which models and steps a change of a real repository touches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.adapters.git_history import GitHistory
from edgeferry.adapters.project import ProjectFolder
from edgeferry.workflows.affected import Affected, find_touched
from tests.repositories import Repository, make_repository

ROOT = Path(__file__).parents[2]
TAXI = "fleet/taxi"
NYC, LONDON = f"{TAXI}/models/nyc_taxi", f"{TAXI}/models/london_taxi"
STEPS = ["prepare", "transform", "train", "predict", "score", "register"]
Touched = dict[str, list[str]]

BOTH: Touched = {"london_taxi": [], "nyc_taxi": []}
SHARED_CODE: Touched = {"london_taxi": STEPS[2:], "nyc_taxi": STEPS[2:]}


def look(repository: Repository, since: str) -> Affected:
    project = repository.root / TAXI
    return find_touched(ProjectFolder(project), GitHistory(project), project, since)


def touched(found: Affected) -> Touched:
    return {model.name: [step.name for step in model.steps] for model in found.models}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = make_repository(tmp_path_factory.mktemp("affected").resolve() / "r")
    ignore = shutil.ignore_patterns(".edgeferry", "__pycache__", ".azure-pipelines")
    shutil.copytree(ROOT / "examples" / "taxi", made.root / TAXI, ignore=ignore)
    made.write(f"{NYC}/src/.amlignore", "*.md\nscratch/\n")
    made.write(f"{NYC}/src/notes.md", "not code\n" * 9)
    made.write("README.md", "a repository\n")
    made.commit()
    return made


def edit(*paths: str) -> Callable[[Repository], None]:
    return lambda repository: [repository.append(path, "\n# more\n") for path in paths] and None


def git(*words: str) -> Callable[[Repository], None]:
    return lambda repository: repository.git(*words) and None


COMMITS: list[tuple[str, Callable[[Repository], None], Touched]] = [
    ("nothing of a model", edit("README.md"), {}),
    ("a model's code", edit(f"{NYC}/src/nyc_taxi/transform.py"), {"nyc_taxi": STEPS}),
    ("the other model's code", edit(f"{LONDON}/src/london_taxi/prepare.py"), {"london_taxi": STEPS}),
    ("what .amlignore keeps from the code", edit(f"{NYC}/src/notes.md"), {}),
    ("the ignore file", edit(f"{NYC}/src/.amlignore"), {"nyc_taxi": STEPS}),
    ("shared code", edit(f"{TAXI}/shared/src/regression/train.py"), SHARED_CODE),
    (
        "a shared component",
        edit(f"{TAXI}/shared/components/score.yml"),
        {"london_taxi": ["score", "register"], "nyc_taxi": ["score", "register"]},
    ),
    (
        "the last shared component",
        edit(f"{TAXI}/shared/components/register.yml"),
        {"london_taxi": ["register"], "nyc_taxi": ["register"]},
    ),
    ("a component of its own", edit(f"{NYC}/components/transform.yml"), {"nyc_taxi": STEPS[1:]}),
    (
        "the environment",
        edit(f"{TAXI}/shared/environment/conda.yml"),
        {"london_taxi": STEPS, "nyc_taxi": STEPS},
    ),
    ("pipeline.yml", edit(f"{LONDON}/pipeline.yml"), {"london_taxi": STEPS}),
    ("model.yaml", edit(f"{NYC}/model.yaml"), {"nyc_taxi": []}),
    ("smoke checks", edit(f"{LONDON}/smoke/checks.yml"), {"london_taxi": []}),
    ("a model's tests", edit(f"{NYC}/tests/test_nyc_taxi.py"), {"nyc_taxi": []}),
    ("shared tests", edit(f"{TAXI}/shared/tests/test_regression.py"), BOTH),
    ("data", edit(f"{NYC}/data/green_synthetic.csv"), {"nyc_taxi": STEPS}),
    ("the project's settings", edit(f"{TAXI}/edgeferry.toml"), BOTH),
    ("an environment", lambda r: r.write(f"{TAXI}/environments/new.toml", ""), BOTH),
    (
        "code that moved from one model to the other",
        git("mv", f"{NYC}/src/nyc_taxi/prepare.py", f"{LONDON}/src/london_taxi/moved.py"),
        {"london_taxi": STEPS, "nyc_taxi": STEPS},
    ),
    ("code that is deleted", git("rm", "-q", f"{TAXI}/shared/src/regression/score.py"), SHARED_CODE),
]


@pytest.fixture(scope="module")
def commits(repository: Repository) -> dict[str, Affected]:
    """What each commit touches, by its message, on a branch of its own."""
    assert len(COMMITS) == 20
    found = {}
    for message, change, _ in COMMITS:
        change(repository)
        repository.commit(message)
        found[message] = look(repository, "HEAD^")
    return found


@pytest.mark.parametrize(("message", "expected"), [(name, touches) for name, _, touches in COMMITS])
def test_a_commit_touches_exactly(commits: dict[str, Affected], message: str, expected: Touched) -> None:
    found = commits[message]
    assert touched(found) == expected
    assert set(found.untouched) == {"london_taxi", "nyc_taxi"} - set(expected)
    assert {reason.kind for model in found.models for reason in model.reasons} <= {"added", "changed"}


def test_many_commits_touch_what_each_of_them_does(
    commits: dict[str, Affected], repository: Repository
) -> None:
    assert touched(look(repository, "HEAD~20")) == {"london_taxi": STEPS, "nyc_taxi": STEPS}


def test_work_that_is_not_committed_counts_and_a_broken_model_is_not_silent(
    commits: dict[str, Affected], repository: Repository
) -> None:
    repository.write(f"{NYC}/src/nyc_taxi/new.py", "")
    assert touched(look(repository, "HEAD")) == {"nyc_taxi": STEPS}
    repository.write(f"{LONDON}/model.yaml", "tolerance: [\n")
    found = {model.name: model for model in look(repository, "HEAD").models}
    assert "london_taxi/model.yaml:" in found["london_taxi"].fault
    repository.git("rm", "-rqf", LONDON)
    assert look(repository, "HEAD").removed == ("london_taxi",)
    repository.git("reset", "--quiet", "--hard")


def test_many_files_cost_no_more_than_git_itself_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10 models and 5,000 changed files: what we add to git's own time, and to reading the models' files."""
    repository = make_repository(tmp_path.resolve() / "r")
    project = repository.root / TAXI
    shutil.copytree(
        ROOT / "examples" / "taxi", project, ignore=shutil.ignore_patterns(".edgeferry", "__pycache__")
    )
    for number in range(8):
        shutil.copytree(project / "models" / "nyc_taxi", project / "models" / f"model_{number}")
    repository.commit()
    for number in range(5000):
        repository.write(f"{TAXI}/shared/src/regression/many/{number % 50}/{number}.py", str(number))
    since = time.monotonic()
    changes = GitHistory(project).changes_since("HEAD")
    git_s = time.monotonic() - since
    since = time.monotonic()
    folder = ProjectFolder(project)
    for name in folder.model_names():
        folder.find_reading(folder.load_model(name))
    reading_s = time.monotonic() - since
    since = time.monotonic()
    found = look(repository, "HEAD")
    whole_s = time.monotonic() - since
    with capsys.disabled():
        print(
            f"\naffected, 10 models, 5,000 files: {whole_s:.2f} s (git {git_s:.2f}, reading {reading_s:.2f})"
        )
    assert len(changes.files) == 5000
    assert len(found.models) == 10
    assert whole_s < 4 * (git_s + reading_s)
