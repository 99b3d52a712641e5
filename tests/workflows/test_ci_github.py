"""GitHub workflows of a project: valid, without findings of zizmor, of the same shell as Azure's pipelines,
secrets and rights only where needed."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edgeferry.adapters.project import ProjectFolder
from edgeferry.errors import UsageError
from edgeferry.wire.github_steps import CACHE, CHECKOUT, HELPER, LOGIN, SETUP_PYTHON, UPLOAD
from edgeferry.workflows.ci import Written
from tests.needs import lack
from tests.workflows.test_ci import AZURE, OWN, ROOT, copy, documents, steps_of
from tests.workflows.test_ci import write as write_for

SCHEMA = ROOT.parent / "shared" / "schemas" / "schemastore-github-workflow.json"
ENVIRONMENTS = ["", "azure", "own", "vault"]
WORKFLOWS = "../../.github/workflows"
MAIN, PULL_REQUEST = "fleet-taxi_nyc_taxi{}_main.yml", "fleet-taxi_pr.yml"
VAULT = '[vault]\nname = "contoso"\n[registry]\nhost = "r.example:5000"\nusername = "pusher"\n'


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with the workflows of every environment; tests only read it."""
    project = make(tmp_path_factory.mktemp("ci"))
    for environment in ENVIRONMENTS:
        write(project, environment)
    return project.parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path)


def make(folder: Path) -> Path:
    project = copy("taxi", folder.resolve())
    for name, text in (("azure", AZURE), ("own", OWN), ("vault", VAULT)):
        (project / "environments" / f"{name}.toml").write_text(text)
    return project


def write(project: Path, environment: str = "", *, check: bool = False) -> list[Written]:
    return write_for(project, environment, check=check, folder=WORKFLOWS, platform="github")


def texts(repository: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((repository / ".github/workflows").iterdir())}


def load(repository: Path, name: str) -> Any:
    return yaml.safe_load((repository / ".github/workflows" / name).read_text())


def jobs(repository: Path) -> Iterator[tuple[str, str, Any]]:
    for name in texts(repository):
        for key, job in load(repository, name)["jobs"].items():
            yield name, key, job


def test_every_workflow_is_valid_by_the_schema_and_the_check_can_fail(repository: Path) -> None:
    if not SCHEMA.is_file():
        pytest.skip("the schema of GitHub workflows is not here: ../shared/schemas")
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    for name in texts(repository):
        assert [error.message[:300] for error in validator.iter_errors(load(repository, name))] == [], name
    broken = load(repository, PULL_REQUEST)
    broken["jobs"]["affected"]["step"] = broken["jobs"]["affected"].pop("steps")
    assert list(validator.iter_errors(broken))


def zizmor(folder: Path) -> list[dict[str, Any]]:
    """What the strictest persona that knows no false alarms finds, without asking anybody."""
    program = ROOT / ".venv" / "bin" / "zizmor"
    found = str(program) if program.exists() else shutil.which("zizmor")
    if not found:
        lack("zizmor")
    command = [
        found,
        "--no-online-audits",
        "--no-config",
        "--strict-collection",
        "--persona",
        "pedantic",
        "--format",
        "json",
    ]
    done = subprocess.run(
        [*command, "--no-exit-codes", "--quiet", str(folder / "workflows")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def test_zizmor_finds_nothing_and_would(repository: Path, tmp_path: Path) -> None:
    assert zizmor(repository / ".github") == []
    shutil.copytree(repository / ".github", tmp_path / ".github")
    path = tmp_path / ".github" / "workflows" / PULL_REQUEST
    text = path.read_text()
    for right, wrong in (
        ("persist-credentials: false", "lfs: false"),
        (f"{CHECKOUT.value} # {CHECKOUT.comment}", "actions/checkout@v6"),
        ("edgeferry validate nyc_taxi", "edgeferry validate ${{ github.head_ref }}"),
        ("permissions: {}", "permissions: write-all"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    path.write_text(text)
    found = {finding["ident"] for finding in zizmor(tmp_path / ".github")}
    assert found >= {"artipacked", "unpinned-uses", "template-injection", "excessive-permissions"}


def test_actions_are_pinned_to_commits_with_the_version_behind_them(repository: Path) -> None:
    used = {
        line.strip() for text in texts(repository).values() for line in text.splitlines() if "uses:" in line
    }
    pinned = {f"{each.value} # {each.comment}" for each in (CHECKOUT, SETUP_PYTHON, CACHE, UPLOAD, LOGIN)}
    assert {each.partition("uses: ")[2] for each in used} == pinned
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in pinned)


def test_a_workflow_begins_without_rights_and_each_job_has_what_it_needs(repository: Path) -> None:
    rights = {}
    for name, key, job in jobs(repository):
        assert load(repository, name)["permissions"] == {}
        rights[name, key] = job["permissions"]
    assert rights[PULL_REQUEST, "affected"] == rights[PULL_REQUEST, "check_nyc_taxi"] == {"contents": "read"}
    expected = {
        "": ({"contents": "write"}, {"contents": "write", "actions": "read"}),
        "_own": ({"contents": "read"}, {"contents": "read", "actions": "read"}),
        "_azure": (
            {"contents": "read", "id-token": "write"},
            {"contents": "read", "actions": "read", "id-token": "write"},
        ),
    }
    for suffix, (build, rollout) in expected.items():
        assert rights[MAIN.format(suffix), "build"] == build
        assert rights[MAIN.format(suffix), "rollout"] == rollout


def test_no_expression_stands_in_a_script(repository: Path) -> None:
    scripts = [step["run"] for _, _, job in jobs(repository) for step in job["steps"] if "run" in step]
    assert len(scripts) > 50
    assert [script for script in scripts if "${{" in script] == []


NEEDS = {
    "Push model and companion": {"REGISTRY"},
    "Release": {"REGISTRY", "LEDGER"},
    "Plan": {"HUB", "REGISTRY", "LEDGER"},
    "Record the approval": {"HUB", "REGISTRY", "LEDGER", "github.token"},
    "Roll out": {"HUB", "REGISTRY", "LEDGER"},
    "Smoke test": {"HUB", "REGISTRY"},
}


def test_secrets_are_mapped_only_in_the_steps_that_need_them(repository: Path) -> None:
    for name, _, job in jobs(repository):
        assert "secrets." not in json.dumps(job.get("env", {}))
        for step in job["steps"]:
            env = step.get("env", {})
            kinds = {
                kind for kind in ("REGISTRY", "HUB", "LEDGER") if f"EDGEFERRY_{kind}__" in json.dumps(env)
            }
            kinds |= {"github.token"} if "GITHUB_TOKEN" in env else set()
            allowed = NEEDS.get(step["name"], set()) if name.endswith("_main.yml") else set()
            assert kinds <= allowed, (name, step["name"])
            if name == MAIN.format(""):
                assert kinds == allowed, step["name"]


def test_with_a_key_vault_there_is_no_secret_at_github(repository: Path) -> None:
    for suffix in ("_vault", "_azure"):
        text = texts(repository)[MAIN.format(suffix)]
        assert set(re.findall(r"secrets\.(\w+)", text)) <= {"LEDGER_TOKEN"}
        assert "id-token: write" in text
    assert "secrets." not in texts(repository)[MAIN.format("_vault")].replace("secrets.LEDGER_TOKEN", "")
    assert "keyvault://hub-connection-string" in texts(repository)[MAIN.format("_vault")]


def test_jobs_that_are_given_secrets_stand_in_an_environment(repository: Path) -> None:
    for name, key, job in jobs(repository):
        expected = {"build": "edgeferry{}-build", "rollout": "edgeferry{}"}.get(key, "")
        suffix = next((f"-{each}" for each in ENVIRONMENTS if each and f"_{each}_main" in name), "")
        assert job.get("environment", "") == expected.format(suffix), (name, key)


@pytest.mark.parametrize(
    ("suffix", "titles"),
    [
        pytest.param("", [], id="nobody is asked for"),
        pytest.param(
            "_vault", ["Push model and companion", "Record the approval"], id="secrets in a key vault"
        ),
        pytest.param(
            "_azure", ["Train", "Push model and companion", "Record the approval"], id="training on Azure ML"
        ),
    ],
)
def test_it_logs_in_to_azure_right_before_the_first_step_that_needs_it(
    repository: Path, suffix: str, titles: list[str]
) -> None:
    steps = [step for job in load(repository, MAIN.format(suffix))["jobs"].values() for step in job["steps"]]
    before = [after["name"] for step, after in itertools.pairwise(steps) if "azure/login" in str(step)]
    assert before == titles


def test_a_models_own_code_is_not_offered_the_jobs_identity(repository: Path) -> None:
    forgets = {}
    for suffix in ("", "_vault", "_azure"):
        steps = load(repository, MAIN.format(suffix))["jobs"]["build"]["steps"]
        forgets[suffix] = [step["name"] for step in steps if "unset ACTIONS_ID_TOKEN" in step.get("run", "")]
    assert forgets == {"": [], "_vault": ["Train", "Package", "Verify"], "_azure": []}


def test_one_runs_at_a_time_for_each_model_and_fleet(repository: Path) -> None:
    groups = {}
    for name in texts(repository):
        concurrency = load(repository, name)["concurrency"]
        assert concurrency["cancel-in-progress"] is name.endswith("_pr.yml")
        groups[name] = concurrency["group"]
    mains = [group for name, group in groups.items() if name.endswith("_main.yml")]
    assert len(set(mains)) == len(mains) == 2 * len(ENVIRONMENTS)


def test_what_goes_to_a_fleet_takes_nothing_from_a_cache(repository: Path) -> None:
    caching = {name for name, text in texts(repository).items() if "actions/cache@" in text}
    assert caching == {PULL_REQUEST}


def test_a_model_is_checked_if_the_pull_request_touches_it(repository: Path) -> None:
    document = load(repository, PULL_REQUEST)
    assert document["on"] == {"pull_request": {"branches": ["main"]}}
    checked = {key: job["if"] for key, job in document["jobs"].items() if "if" in job}
    assert checked == {
        f"check_{name}": f"contains(fromJSON(needs.affected.outputs.models), '{name}')"
        for name in ("london_taxi", "nyc_taxi")
    }
    assert document["jobs"]["affected"]["steps"][0]["with"]["fetch-depth"] == 2


def matches(filters: list[str], path: str) -> bool:
    return any(path == each or (each.endswith("/**") and path.startswith(each[:-2])) for each in filters)


def test_a_change_of_anything_a_model_is_made_of_starts_its_workflow(repository: Path) -> None:
    project = repository / "fleet" / "taxi"
    folder = ProjectFolder(project)
    for name, other in (("nyc_taxi", "london_taxi"), ("london_taxi", "nyc_taxi")):
        filters = load(repository, f"fleet-taxi_{name}_main.yml")["on"]["push"]["paths"]
        reading = folder.find_reading(folder.load_model(name))
        used = [Path(path) for path in reading.paths]
        files = [
            file
            for path in used
            for file in ([path] if path.is_file() else path.rglob("*"))
            if file.is_file()
        ]
        files += [project / "edgeferry.toml", project / "environments" / "own.toml"]
        files.append(repository / ".github" / "workflows" / f"fleet-taxi_{name}_main.yml")
        assert [f for f in files if not matches(filters, f.relative_to(repository).as_posix())] == []
        assert not matches(filters, f"fleet/taxi/models/{other}/model.yaml")
        assert not matches(filters, "README.md")


def scripts_of(node: Any) -> dict[str, str]:
    """The shell of each step by its title, without how it tells later jobs something."""
    found = {}
    for step in node:
        text = step.get("run") or step.get("bash") or step.get("inputs", {}).get("inlineScript", "")
        title = step.get("name") if "run" in step else step.get("displayName")
        if not text or title == "Install edgeferry":
            continue
        lines = [
            line
            for line in str(text).splitlines()
            if "GITHUB_OUTPUT" not in line and "##vso" not in line and not line.startswith("unset ACTIONS_ID")
        ]
        shell = (
            "\n".join(lines)
            .replace("--from github", "--from PLATFORM")
            .replace("--from azure-devops", "--from PLATFORM")
        )
        found[str(title)] = re.sub(r"--also \S+", "--also ITSELF", shell)
    return found


@pytest.mark.parametrize("environment", ["", "own", "vault"])
def test_the_shell_is_that_of_azures_pipelines_step_by_step(
    tmp_path: Path, repository: Path, environment: str
) -> None:
    project = make(tmp_path)
    write_for(project, environment)
    suffix = f"_{environment}" if environment else ""
    azure = documents(project)
    ours = load(repository, MAIN.format(suffix))["jobs"]
    build, rollout = azure[f"nyc_taxi{suffix}_main.yml"]["stages"]
    assert scripts_of(ours["build"]["steps"]) == scripts_of(steps_of(build))
    assert scripts_of(ours["rollout"]["steps"]) == scripts_of(steps_of(rollout))
    assert list(scripts_of(ours["rollout"]["steps"])) == ["Record the approval", "Roll out", "Smoke test"]
    if not environment:
        checks = load(repository, PULL_REQUEST)["jobs"]
        affected, check = azure["nyc_taxi_pr.yml"]["jobs"]
        assert scripts_of(checks["affected"]["steps"]) == scripts_of(affected["steps"])
        assert scripts_of(checks["check_nyc_taxi"]["steps"]) == scripts_of(check["steps"])


def test_edits_in_marked_places_are_kept_and_others_are_not(project: Path) -> None:
    write(project)
    assert {each.state for each in write(project, check=True)} == {"unchanged"}
    path = project.parents[1] / ".github" / "workflows" / MAIN.format("")
    place = "      # >>> your steps: before push\n"
    edited = path.read_text().replace(place, f"{place}      - name: Sign\n        run: ./sign.sh\n")
    edited = edited.replace("runs-on: ubuntu-24.04", "runs-on: [self-hosted, plant]", 1)
    path.write_text(edited.replace("timeout-minutes: 120", "timeout-minutes: 5", 1))
    assert {each.name for each in write(project, check=True) if each.state == "differs"} == {path.name}
    write(project)
    assert path.read_text() == edited
    build = yaml.safe_load(edited)["jobs"]["build"]
    assert build["runs-on"] == ["self-hosted", "plant"]
    assert "Sign" in [step["name"] for step in build["steps"]]


def test_a_workflow_of_somebody_else_is_not_overwritten(project: Path) -> None:
    folder = project.parents[1] / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / PULL_REQUEST).write_text("name: mine\n")
    with pytest.raises(UsageError, match="not written by edgeferry"):
        write(project)
    assert [path.name for path in folder.iterdir()] == [PULL_REQUEST]


def test_git_is_given_the_token_for_that_host_alone_and_asked_for_it_by_get() -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "credential.https://github.com.helper",
        "GIT_CONFIG_VALUE_0": HELPER,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LEDGER_TOKEN": "t0ken",
    }

    def fill(host: str) -> str:
        return subprocess.run(
            ["git", "credential", "fill"],
            input=f"protocol=https\nhost={host}\n\n",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "username=x-access-token\npassword=t0ken\n" in fill("github.com")
    assert "t0ken" not in fill("git.example")
