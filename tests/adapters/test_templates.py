"""What `edgeferry init` writes, and how later templates come into it: real copier, real git."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeferry.adapters.faults import find_faults
from edgeferry.adapters.templates import TEMPLATES, CopierTemplates
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports_projects import Carried
from edgeferry.workflows.begin_project import begin_project, example_part

PUMP = "models/pump"


def git(folder: Path, *arguments: str) -> str:
    told = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *told, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def commit_all(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "as it is")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project in a folder of a repository, committed. Copy it."""
    repository = tmp_path_factory.mktemp("repository")
    git(repository, "init", "--quiet")
    begin_project(CopierTemplates(), repository / "shop", example_part("pump"))
    commit_all(repository)
    return repository


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> CopierTemplates:
    """Templates with a next version: lines changed, a file added, one gone."""
    folder = tmp_path_factory.mktemp("templates")
    shutil.copytree(TEMPLATES, folder, dirs_exist_ok=True)
    newest = max(folder.iterdir(), key=lambda path: int(path.name[1:]))
    new = folder / f"v{int(newest.name[1:]) + 1}"
    shutil.copytree(newest, new)
    model, source = new / "model", new / "model/src/(@name@)"
    change(model / "model.yaml.jinja", "How much power", "The power that")
    change(model / "smoke/checks.yml", "low: 0\n", "low: 1\n")
    change(model / "README.md.jinja", "# (@ name @)\n", "# The model (@ name @)\n")
    change(source / "prepare.py.jinja", "weather, stock", "the weather, stock")
    change(source / "register.py.jinja", '"""Score the', '"""Judge the')
    change(model / "environment/conda.yml.jinja", "      - skops==", "      - joblib\n      - skops==")
    change(model / "tests/test_(@name@).py.jinja", "> 0.9\n", "> 0.95\n")
    (model / "NOTES.md.jinja").write_text("New in this version.\n")
    (model / "components/prepare.yml.jinja").rename(model / "components/make.yml.jinja")
    change(model / "pipeline.yml.jinja", "components/prepare.yml", "components/make.yml")
    change(new / "project/.gitignore.jinja", ".venv/\n", ".venv/\n.mypy_cache/\n")
    change(new / "project/README.md.jinja", "`edgeferry` alone says", "The command `edgeferry` alone says")
    change(new / "project/edgeferry.toml.jinja", 'prefix = "(@ name @)"', 'prefix = "edge-(@ name @)"')
    return CopierTemplates(folder)


@dataclass(frozen=True)
class Edit:
    """What a user did, and what must hold once the later templates are in."""

    do: Callable[[Path], object]
    holds: Callable[[Path], bool]


def holding(file: str, *texts: str) -> Callable[[Path], bool]:
    return lambda project: all(text in (project / file).read_text() for text in texts)


def both(*checks: Callable[[Path], bool]) -> Callable[[Path], bool]:
    return lambda project: all(check(project) for check in checks)


def missing(file: str) -> Callable[[Path], bool]:
    return lambda project: not (project / file).exists()


def reorder(project: Path) -> None:
    file = project / PUMP / "environment/conda.yml"
    change(file, "      - numpy==2.4.6\n", "")
    change(file, "      - scikit-learn==", "      - numpy==2.4.6\n      - scikit-learn==")


EDITS = {
    "a changed line": Edit(
        lambda p: change(p / PUMP / "model.yaml", "latency_ms: 250", "latency_ms: 90"),
        holding(f"{PUMP}/model.yaml", "latency_ms: 90", "The power that"),
    ),
    "an added key": Edit(
        lambda p: append(p / PUMP / "model.yaml", "smoke_cases: 5\n"),
        holding(f"{PUMP}/model.yaml", "smoke_cases: 5", "The power that"),
    ),
    "a deleted file that the template changed": Edit(
        lambda p: (p / PUMP / "smoke/checks.yml").unlink(), missing(f"{PUMP}/smoke/checks.yml")
    ),
    "a renamed file": Edit(
        lambda p: (p / PUMP / "README.md").rename(p / PUMP / "ABOUT.md"),
        both(missing(f"{PUMP}/README.md"), holding(f"{PUMP}/ABOUT.md", "# pump\n")),
    ),
    "an added file": Edit(
        lambda p: (p / PUMP / "src/pump/more.py").write_text("MORE = 1\n"),
        holding(f"{PUMP}/src/pump/more.py", "MORE = 1"),
    ),
    "changed code": Edit(
        lambda p: change(p / PUMP / "src/pump/prepare.py", "0.25 * outside_c", "0.5 * outside_c"),
        holding(f"{PUMP}/src/pump/prepare.py", "0.5 * outside_c", "the weather, stock"),
    ),
    "reordered requirements": Edit(
        reorder,
        holding(f"{PUMP}/environment/conda.yml", "numpy==2.4.6\n      - scikit-learn==", "- joblib\n"),
    ),
    "an edited README": Edit(
        lambda p: append(p / "README.md", "\nAsk ann.\n"),
        holding("README.md", "Ask ann.", "The command `edgeferry` alone"),
    ),
    "a changed .gitignore": Edit(
        lambda p: change(p / ".gitignore", ".edgeferry/\n", ".edgeferry/\nsecret.txt\n"),
        holding(".gitignore", "secret.txt", ".mypy_cache/"),
    ),
    "edited tests": Edit(
        lambda p: change(p / PUMP / "tests/test_pump.py", "make_rows(5, seed=1)\n", "make_rows(5, seed=2)\n"),
        holding(f"{PUMP}/tests/test_pump.py", "make_rows(5, seed=2)\n", "> 0.95"),
    ),
    "a changed environment": Edit(
        lambda p: change(p / "environments/prod.toml", "'prod'", "'production'"),
        holding("environments/prod.toml", "'production'"),
    ),
    "a second model by hand": Edit(
        lambda p: shutil.copytree(
            p / PUMP, p / "models/fan", ignore=shutil.ignore_patterns(".edgeferry-template.yml")
        ),
        holding("models/fan/model.yaml", "models.pump", "How much power"),
    ),
}


@pytest.fixture(scope="module")
def carried(
    begun: Path, later: CopierTemplates, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Carried]:
    """The project with every one of the edits, and later templates carried into it."""
    repository = tmp_path_factory.mktemp("edited") / "repository"
    shutil.copytree(begun, repository)
    project = repository / "shop"
    EDITS["a second model by hand"].do(project)
    for name, edit in EDITS.items():
        if name != "a second model by hand":
            edit.do(project)
    change(project / "edgeferry.toml", 'prefix = "shop"', 'prefix = "mine"')
    commit_all(repository)
    return project, later.carry(project)


@pytest.mark.parametrize("name", EDITS)
def test_later_templates_keep(name: str, carried: tuple[Path, Carried]) -> None:
    assert EDITS[name].holds(carried[0])


def test_what_nobody_edited_is_as_the_later_template_has_it(carried: tuple[Path, Carried]) -> None:
    project, told = carried
    assert holding(f"{PUMP}/src/pump/register.py", '"""Judge the')(project)
    assert (project / PUMP / "NOTES.md").read_text() == "New in this version.\n"
    assert (project / PUMP / "components/make.yml").exists()
    assert not (project / PUMP / "components/prepare.yml").exists()
    assert {folder for folder, _ in told.updated} == {".", PUMP}
    assert {f"{PUMP}/NOTES.md", "edgeferry.toml", f"{PUMP}/components/prepare.yml"} <= set(told.changed)
    assert not list(project.rglob("*.rej"))


def test_a_second_time_there_is_nothing_to_carry(
    carried: tuple[Path, Carried], later: CopierTemplates
) -> None:
    commit_all(carried[0])
    again = later.carry(carried[0])
    assert (again.updated, again.changed, again.conflicts) == ((), (), ())


def test_an_edit_of_the_same_line_stands_beside_the_templates_and_is_named(
    carried: tuple[Path, Carried],
) -> None:
    project, told = carried
    assert told.conflicts == ("edgeferry.toml",)
    text = (project / "edgeferry.toml").read_text()
    assert text.index("<<<<<<<") < text.index('"mine"') < text.index('"edge-shop"') < text.index(">>>>>>>")


def test_a_file_in_the_way_that_git_does_not_know_is_named_and_nothing_is_changed(
    begun: Path, later: CopierTemplates, tmp_path: Path
) -> None:
    shutil.copytree(begun, tmp_path / "repository")
    project = tmp_path / "repository" / "shop"
    (project / PUMP / "NOTES.md").write_text("mine\n")
    before = (project / "edgeferry.toml").read_text()
    with pytest.raises(RefusedError, match=r"NOTES\.md: already exists") as refused:
        later.carry(project)
    assert "nothing was changed" in refused.value.fix
    assert (project / PUMP / "NOTES.md").read_text() == "mine\n"
    assert (project / "edgeferry.toml").read_text() == before


def test_a_project_that_is_not_committed_is_not_touched(
    begun: Path, later: CopierTemplates, tmp_path: Path
) -> None:
    shutil.copytree(begun, tmp_path / "repository")
    project = tmp_path / "repository" / "shop"
    change(project / "README.md", "# shop", "# Shop")
    with pytest.raises(UsageError, match=r"differ from the last commit: shop/README\.md"):
        later.carry(project)
    shutil.rmtree(project.parent / ".git")
    with pytest.raises(UsageError, match="in no git repository") as refused:
        later.carry(project)
    assert "git init" in refused.value.fix
    assert not (project / PUMP / "NOTES.md").exists()


def test_a_new_model_is_sound_and_its_own_tests_pass(begun: Path) -> None:
    model = begun / "shop" / PUMP
    assert find_faults(begun / "shop", model) == []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(model / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=begun, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_nothing_is_left_when_it_is_interrupted(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "edgeferry", "init", "shop"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(scratch.glob("*/new")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)  # as on Ctrl-C, which a shell may have its children ignore
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "shop").exists()
    assert [path.name for path in scratch.iterdir() if path.name.startswith("edgeferry")] == []
