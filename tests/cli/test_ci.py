"""`edgeferry ci` and the options of approve, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.typed import clean_environment, typed

ROOT = Path(__file__).parents[2]


def run(project: Path, *arguments: str, **extra: str) -> tuple[int, str, str]:
    clean = {name: text for name, text in clean_environment().items() if not name.startswith("SYSTEM_")}
    done = typed("--project", str(project), *arguments, environment={**clean, **extra})
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns(".edgeferry", "__pycache__", "data", ".azure-pipelines")
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "digits", ignore=ignore)
    (tmp_path / "digits" / "environments").mkdir()
    (tmp_path / "digits" / "environments" / "prod.toml").write_text('[registry]\nhost = "r.example:5000"\n')
    return tmp_path / "digits"


def test_pipelines_are_written_and_check_says_when_they_are_not_as_written(project: Path) -> None:
    code, out, _ = run(project, "ci", "azure-devops", "--env", "prod", "--output", "json")
    assert code == 0
    written = [Path(each["file"]) for each in json.loads(out)]
    assert [path.name for path in written] == ["shared_prod_pr.yml", "digits_pr.yml", "digits_prod_main.yml"]
    assert all(path.parent == project / ".azure-pipelines" for path in written)
    assert run(project, "ci", "azure-devops", "--env", "prod", "--check")[0] == 0
    written[1].write_text(written[1].read_text().replace("timeoutInMinutes: 60", "timeoutInMinutes: 5"))
    code, _, err = run(project, "ci", "azure-devops", "--env", "prod", "--check")
    assert code == 1
    assert "digits_pr.yml" in err
    assert "edgeferry ci azure-devops --env prod" in err
    assert "timeoutInMinutes: 5\n" in written[1].read_text()


def test_what_this_machine_says_does_not_come_into_the_pipelines(project: Path) -> None:
    run(project, "ci", "azure-devops", "--env", "prod")
    again = run(
        project,
        *("ci", "azure-devops", "--env", "prod", "--check"),
        EDGEFERRY_HUB__HOST="elsewhere.azure-devices.net",
        EDGEFERRY_TRAIN__PLACE="azureml",
    )
    assert again[0] == 0


def test_a_broken_marker_is_named_with_its_line(project: Path) -> None:
    run(project, "ci", "azure-devops")
    path = project / ".azure-pipelines" / "digits_pr.yml"
    path.write_text(path.read_text().replace("# <<<", "", 1))
    code, _, err = run(project, "ci", "azure-devops")
    assert code == 2
    assert "digits_pr.yml:" in err
    assert "`your branches`" in err


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="neither"),
        pytest.param(["--by", "ann", "--from", "azure-devops"], id="both"),
        pytest.param(["--no", "--from", "azure-devops"], id="a no from the platform"),
    ],
)
def test_an_approval_is_a_persons_or_a_platforms(project: Path, options: list[str]) -> None:
    code, _, err = run(project, "approve", "digits", *options)
    assert code == 2
    assert "--by" in err
    assert "--from" in err
