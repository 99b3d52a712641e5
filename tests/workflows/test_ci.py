"""The pipelines of a project: valid, started by what a model is made of, secrets only where needed."""

from __future__ import annotations

import fnmatch
import json
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
from edgeferry.adapters.text_folder import LocalTextFolder
from edgeferry.domain.pipeline import PATHS
from edgeferry.errors import DefinitionError, UsageError
from edgeferry.settings import environment_names, load_settings
from edgeferry.workflows.ci import Layout, Written, read_fleet, write_pipelines
from tests.needs import need

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parent / "shared" / "schemas" / "azure-pipelines-service-schema.json"
EXTENSION_TASKS = {"AzureMLJobWaitTask@1"}
"""Tasks of the Azure Machine Learning extension: Microsoft's schema knows built-in ones only."""

AZURE = """
[hub]
host = "contoso.azure-devices.net"
[registry]
host = "contoso.azurecr.io"
[ledger]
url = "https://dev.azure.com/contoso/fleet/_git/ledger"
trusted_keys = "keys"
signing_key = "keyvault://contoso/ledger-signing-key"
[train]
place = "azureml"
[azure]
resource_group = "rg-fleet"
workspace = "ml-fleet"
"""
OWN = """
[registry]
host = "registry.plant.example:5000"
username = "pusher"
[ledger]
url = "/srv/ledger.git"
"""


@pytest.fixture(params=["taxi", "digits"])
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy("taxi", tmp_path)


def copy(example: str, folder: Path) -> Path:
    target = folder / "repository" / "fleet" / example
    ignore = shutil.ignore_patterns(".edgeferry", "__pycache__", ".azure-pipelines")
    shutil.copytree(ROOT / "examples" / example, target, ignore=ignore)
    subprocess.run(["git", "init", "--quiet", str(folder / "repository")], check=True)
    shutil.rmtree(target / "environments", ignore_errors=True)
    (target / "environments").mkdir()
    (target / "environments" / "azure.toml").write_text(AZURE)
    (target / "environments" / "own.toml").write_text(OWN)
    return target


def write(
    project: Path,
    environment: str = "",
    *,
    check: bool = False,
    folder: str = "",
    platform: str = "azure-devops",
) -> list[Written]:
    settings = load_settings(project, environment=environment)
    place = (project / (folder or ".azure-pipelines")).resolve()
    return write_pipelines(
        ProjectFolder(project),
        LocalTextFolder(place),
        Layout(project.parents[1], project, place),
        read_fleet(environment, settings.written),
        environment_names(project),
        "1.2.3",
        platform=platform,
        check=check,
    )


def documents(project: Path) -> dict[str, Any]:
    """The pipelines by file, every scalar a text, as Azure Pipelines and its schema take them."""
    folder = project / ".azure-pipelines"
    return {path.name: yaml.load(path.read_text(), yaml.BaseLoader) for path in sorted(folder.glob("*"))}


def steps_of(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if {"bash", "task", "checkout"} & set(node):
            yield node
            return
        for value in node.values():
            yield from steps_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from steps_of(value)


@pytest.mark.parametrize("environment", ["", "azure", "own"])
def test_every_pipeline_is_valid_by_microsofts_schema(tmp_path: Path, example: str, environment: str) -> None:
    if not SCHEMA.is_file():
        pytest.skip("Microsoft's schema is not here: ../shared/schemas")
    project = copy(example, tmp_path)
    write(project, environment)
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    for name, document in documents(project).items():
        tasks = {step.get("task") for step in steps_of(document)} - {None}
        for step in steps_of(document):
            if step.get("task") in EXTENSION_TASKS:
                step.update(task="Delay@1", inputs={"delayForMinutes": "1"})
            for key, text in step.get("inputs", {}).items():  # the schema takes these, alone, as YAML types
                step["inputs"][key] = {"true": True, "false": False}.get(text, text)
        problems = [error.message[:300] for error in validator.iter_errors(document)]
        assert problems == [], name
        assert all(re.fullmatch(r"\w+@\d+", task) for task in tasks), "tasks are pinned by major version"


def test_the_schema_check_can_fail(project: Path) -> None:
    if not SCHEMA.is_file():
        pytest.skip("Microsoft's schema is not here: ../shared/schemas")
    write(project)
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    document = documents(project)["nyc_taxi_main.yml"]
    document["stages"][0]["jobs"][0]["step"] = document["stages"][0]["jobs"][0].pop("steps")
    assert list(validator.iter_errors(document))


def matches(filters: list[str], path: str) -> bool:
    """Whether a change of `path` starts a pipeline with these path filters."""
    return any(path == each or path.startswith(f"{each}/") or fnmatch.fnmatch(path, each) for each in filters)


@pytest.mark.parametrize("kind", ["pr", "main"])
def test_a_change_of_anything_a_model_is_made_of_starts_its_pipelines(
    tmp_path: Path, example: str, kind: str
) -> None:
    project = copy(example, tmp_path)
    write(project)
    folder = ProjectFolder(project)
    for name in folder.model_names():
        document = documents(project)[f"{name}_{kind}.yml"]
        filters = document["trigger" if kind == "main" else "pr"]["paths"]["include"]
        definition = folder.load_model(name)
        pipeline = folder.load_pipeline(definition)
        used = [path for path in Path(definition.folder).rglob("*") if path.is_file()]
        for step in pipeline.steps:
            used.append(Path(step.component.environment.conda_file))
            used += [path for path in Path(step.component.code).rglob("*") if path.is_file()]
        used += [Path(str(s.default)) for s in pipeline.inputs.values() if s.type in PATHS]
        used += [project / "edgeferry.toml", project / "environments" / "own.toml"]
        used.append(project / ".azure-pipelines" / f"{name}_{kind}.yml")
        assert [
            str(path)
            for path in used
            if not matches(filters, path.relative_to(project.parents[1]).as_posix())
        ] == []


def test_a_change_of_one_model_starts_nothing_of_the_other(project: Path) -> None:
    write(project)
    for name, other in (("nyc_taxi", "london_taxi"), ("london_taxi", "nyc_taxi")):
        filters = documents(project)[f"{name}_pr.yml"]["pr"]["paths"]["include"]
        assert matches(filters, f"fleet/taxi/models/{name}/src/{name}/prepare.py")
        assert not matches(filters, f"fleet/taxi/models/{other}/src/{other}/prepare.py")
        assert not matches(filters, "fleet/taxi/shared/README.md")
        assert matches(filters, "fleet/taxi/shared/components/train.yml")
        assert not matches(filters, "README.md")


def test_writing_twice_changes_nothing_and_check_tells_a_difference(project: Path) -> None:
    assert {each.state for each in write(project, check=True)} == {"differs"}
    assert not (project / ".azure-pipelines").exists()
    assert {each.state for each in write(project)} == {"written"}
    assert {each.state for each in write(project)} == {"unchanged"}
    assert {each.state for each in write(project, check=True)} == {"unchanged"}
    (project / "models" / "nyc_taxi" / "tests").rename(project / "models" / "nyc_taxi" / "spec")
    assert [each.name for each in write(project, check=True) if each.state == "differs"] == [
        "nyc_taxi_pr.yml"
    ]


def test_edits_in_marked_places_are_kept_and_others_are_not(project: Path) -> None:
    write(project)
    path = project / ".azure-pipelines" / "nyc_taxi_main.yml"
    text = path.read_text()
    place = "          # >>> your steps: before push\n"
    edited = text.replace(place, f"{place}          - bash: ./sign.sh\n            displayName: Sign\n")
    edited = edited.replace("vmImage: ubuntu-24.04", "name: plant-agents")
    assert edited != text
    path.write_text(edited.replace("timeoutInMinutes: 120", "timeoutInMinutes: 5"))
    assert {each.name for each in write(project, check=True) if each.state == "differs"} == {path.name}
    write(project)
    assert path.read_text() == edited
    jobs = yaml.safe_load(edited)["stages"][0]["jobs"]
    assert "Sign" in [step.get("displayName") for step in jobs[0]["steps"]]


def test_a_broken_marker_stops_it_before_anything_is_written(project: Path) -> None:
    write(project)
    path = project / ".azure-pipelines" / "nyc_taxi_pr.yml"
    lines = path.read_text().splitlines()
    number = lines.index("pool:") + 1
    del lines[number + 1]  # the end of "your agents"
    path.write_text("\n".join(lines))
    (project / ".azure-pipelines" / "london_taxi_pr.yml").unlink()
    with pytest.raises(DefinitionError, match=r"nyc_taxi_pr.yml:\d+: the place `your agents`"):
        write(project)
    assert not (project / ".azure-pipelines" / "london_taxi_pr.yml").exists()


def test_a_file_that_is_not_ours_is_not_overwritten(project: Path) -> None:
    (project / ".azure-pipelines").mkdir()
    own = project / ".azure-pipelines" / "nyc_taxi_pr.yml"
    own.write_text("trigger: none\n")
    with pytest.raises(UsageError, match="not written by edgeferry"):
        write(project)
    assert own.read_text() == "trigger: none\n"


def test_data_outside_the_repository_is_refused_with_the_way_out(project: Path, tmp_path: Path) -> None:
    pipeline = project / "models" / "nyc_taxi" / "pipeline.yml"
    (tmp_path / "elsewhere").mkdir()
    pipeline.write_text(pipeline.read_text().replace("path: ./data", f"path: {tmp_path}/elsewhere"))
    with pytest.raises(UsageError, match="not in the repository") as caught:
        write(project)
    assert "trainInputs" in caught.value.fix


NEEDS = {
    "Push model and companion": {"registry"},
    "Release": {"registry", "ledger"},
    "Plan": {"hub", "registry", "ledger"},
    "Record the approval": {"hub", "registry", "ledger", "token"},
    "Roll out": {"hub", "registry", "ledger"},
    "Smoke test": {"hub", "registry"},
}


@pytest.mark.parametrize(("place", "logged_in"), [("local", False), ("azureml", True)])
def test_a_models_own_code_runs_logged_in_only_where_azure_ml_ran_it(
    project: Path, place: str, logged_in: bool
) -> None:
    settings = AZURE.replace('place = "azureml"', f'place = "{place}"')
    (project / "environments" / "azure.toml").write_text(settings)
    write(project, "azure")
    steps = steps_of(documents(project)["nyc_taxi_azure_main.yml"])
    asks = {step["displayName"]: step.get("task") == "AzureCLI@2" for step in steps if "displayName" in step}
    for title in ("Train", "Package", "Verify"):
        assert asks[title] is logged_in, title
    for title in ("Push model and companion", "Release", "Plan", "Roll out", "Smoke test"):
        assert asks[title], title


@pytest.mark.parametrize("environment", ["", "azure", "own"])
def test_secrets_are_mapped_only_in_the_steps_that_need_them(project: Path, environment: str) -> None:
    write(project, environment)
    for name, document in documents(project).items():
        for step in steps_of(document):
            title = step.get("displayName", "")
            env = " ".join(step.get("env", {}))
            kinds = {
                kind
                for kind, word in (
                    ("registry", "REGISTRY__"),
                    ("hub", "HUB__"),
                    ("ledger", "LEDGER__"),
                    ("token", "SYSTEM_ACCESSTOKEN"),
                )
                if word in env
            }
            allowed = set() if name.endswith("_pr.yml") else NEEDS.get(title, set())
            assert kinds <= allowed, (name, title)
            if environment == "" and name.endswith("_main.yml"):
                assert kinds == allowed, (name, title)
            shell = step.get("bash", "") + str(step.get("inputs", {}).get("inlineScript", ""))
            assert "password" not in shell
            assert "signing-key" not in shell
            assert "System.AccessToken" not in shell


def test_in_azure_there_is_no_secret_at_all_but_the_runs_token(project: Path) -> None:
    write(project, "azure")
    document = documents(project)["nyc_taxi_azure_main.yml"]
    assert not any("group" in entry for entry in document["variables"])
    for step in steps_of(document):
        macros = set(re.findall(r"\$\(([\w.-]+)\)", " ".join(step.get("env", {}).values())))
        assert macros <= {"System.AccessToken", "System.CollectionUri"}
    asked = [
        step["inputs"]["azureSubscription"] for step in steps_of(document) if step.get("task") == "AzureCLI@2"
    ]
    assert set(asked) == {"edgeferry-azure"}
    assert {"name": "AZURE_TOKEN_CREDENTIALS", "value": "dev"} in document["variables"]


def test_a_service_connection_may_have_a_name_of_its_own(project: Path) -> None:
    named = AZURE + '[ci]\nservice_connection = "azure_connection"\n'
    (project / "environments" / "azure.toml").write_text(named)
    write(project, "azure")
    asked = {
        step["inputs"].get("azureSubscription", step["inputs"].get("serviceConnection"))
        for step in steps_of(documents(project)["nyc_taxi_azure_main.yml"])
        if step.get("task") in ("AzureCLI@2", *EXTENSION_TASKS)
    }
    assert asked == {"azure_connection"}


def test_the_login_by_which_iot_edge_pulls_is_known_to_the_rollout_alone(project: Path) -> None:
    own = OWN.replace('username = "pusher"', 'username = "pusher"\npull_username = "devices"')
    (project / "environments" / "own.toml").write_text(own)
    write(project, "own")
    steps = list(steps_of(documents(project)["nyc_taxi_own_main.yml"]))
    name = "EDGEFERRY_REGISTRY__PULL_PASSWORD"
    assert [s["displayName"] for s in steps if name in s.get("env", {})] == ["Roll out"]


def test_the_agents_own_identity_does_not_come_before_the_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("azure.identity", "azure-identity")
    from azure import identity

    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
    with identity.DefaultAzureCredential() as chain:
        names = [type(each).__name__ for each in chain.credentials]
    assert "AzureCliCredential" in names
    assert "ManagedIdentityCredential" not in names


def test_azure_ml_is_waited_for_without_an_agent(project: Path) -> None:
    write(project, "azure")
    submit, wait, build = documents(project)["nyc_taxi_azure_main.yml"]["stages"][0]["jobs"]
    assert [job["job"] for job in (submit, wait, build)] == ["submit", "wait", "build"]
    assert wait["pool"] == "server"
    assert build["dependsOn"] == ["submit", "wait"]
    (task,) = wait["steps"]
    assert task["inputs"] == {
        "serviceConnection": "edgeferry-azure",
        "resourceGroupName": "rg-fleet",
        "azureMLWorkspaceName": "ml-fleet",
        "azureMLJobName": "$(trainRun)",
    }


def test_the_build_goes_on_with_the_very_run_that_was_submitted(project: Path) -> None:
    write(project, "azure")
    _, _, build = documents(project)["nyc_taxi_azure_main.yml"]["stages"][0]["jobs"]
    assert build["variables"] == [
        {"name": "trainRun", "value": "$[ dependencies.submit.outputs['submit.run'] ]"}
    ]
    (train,) = [step for step in build["steps"] if step.get("displayName") == "Train"]
    assert 'edgeferry runs wait "$TRAINRUN"' in train["inputs"]["inlineScript"]


def test_the_shell_is_the_same_with_an_azure_login_and_without(project: Path) -> None:
    write(project, "azure")
    write(project, "own")

    def scripts(name: str) -> dict[str, str]:
        stage = documents(project)[name]["stages"][1]
        return {
            step["displayName"]: step.get("bash") or step["inputs"].get("inlineScript", "")
            for step in steps_of(stage)
            if "displayName" in step
        }

    assert scripts("nyc_taxi_azure_main.yml") == scripts("nyc_taxi_own_main.yml")


def test_a_rollout_waits_for_the_environments_checks(project: Path) -> None:
    write(project, "own")
    for model in ("nyc_taxi", "london_taxi"):
        build, rollout = documents(project)[f"{model}_own_main.yml"]["stages"]
        assert rollout["dependsOn"] == "build"
        assert [job["environment"] for job in rollout["jobs"]] == ["edgeferry-own"]
        assert all("environment" not in job for job in build["jobs"])


def test_an_azureml_environment_without_a_workspace_says_what_to_write(project: Path) -> None:
    (project / "environments" / "half.toml").write_text('[train]\nplace = "azureml"\n')
    with pytest.raises(UsageError, match=r"azure.resource_group and azure.workspace"):
        write(project, "half")
