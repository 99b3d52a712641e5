"""Azure Pipelines YAML for a project: for each model one pipeline that checks pull requests and one that
carries what was merged to the fleet, and one that checks what all models share.

Format: Azure Pipelines' YAML schema. Of its expressions only `$(macro)` is used and, to carry a name from
one job to another, `$[ dependencies… ]`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeferry.wire.azure_steps import (
    EVIDENCE,
    RESULTS,
    STATE,
    Steps,
    fields,
    in_shell,
    publish_artifact,
    publish_results,
    words,
)
from edgeferry.wire.yaml_text import Map, Node, Note, Place, Seq

HEADER = "Written by: edgeferry ci azure-devops"
"""How every file that we write begins."""
GIT_LOGIN = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "http.$(System.CollectionUri).extraheader",
    "GIT_CONFIG_VALUE_0": "Authorization: bearer $(System.AccessToken)",
}
"""Lets git log in to the run's own organization, and nowhere else, with the run's token."""

_TOKEN = {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)"}
_AS_CONNECTION = {"AZURE_TOKEN_CREDENTIALS": "dev"}
"""azure-identity's word for logins like that of `az`, here the service connection's: an agent that is a
machine in Azure has an identity of its own, which would come first."""
_LAYERS = ("mmdebstrap",)
_SANDBOX = ("mmdebstrap", "docker-registry")
_WAIT_MINUTES = 2880
"""Two days, the longest that Azure DevOps lets a job without an agent wait."""


@dataclass(frozen=True)
class Source:
    """The project in its repository; paths are relative to the repository's root, "" is the root."""

    folder: str
    settings: tuple[str, ...]
    """Files and folders that every model depends on."""
    pipelines: str
    """The folder that these pipelines stand in."""
    version: str
    """Of edgeferry."""

    def steps(self, connection: str = "") -> Steps:
        """The maker of steps for this project."""
        return Steps(self.folder, self.version, connection)


@dataclass(frozen=True)
class ModelSource:
    """One model in that repository."""

    name: str
    paths: tuple[str, ...]
    """Everything that the model is made of, relative to the repository: its folder, and what it uses
    outside of it."""
    code: tuple[str, ...]
    """Folders with Python code, relative to the project."""
    tests: tuple[str, ...]
    """Folders with tests, relative to the project."""
    requirements: tuple[str, ...]
    """What its steps, and so its tests, need; pip's words."""


@dataclass(frozen=True)
class Workspace:
    """Where Azure ML trains."""

    resource_group: str
    name: str


@dataclass(frozen=True)
class Fleet:
    """What a merged model meets: an environment of the project."""

    environment: str = ""
    """Its name; "" for a project without environments."""
    workspace: Workspace | None = None
    """None when the training runs on the agent."""
    identity: bool = False
    """Whether steps need a Microsoft Entra identity: the service connection's."""
    registry: Mapping[str, str] = field(default_factory=dict)
    """Environment of steps that reach the registry: macros by variable, never values."""
    hub: Mapping[str, str] = field(default_factory=dict)
    ledger: Mapping[str, str] = field(default_factory=dict)
    pull: Mapping[str, str] = field(default_factory=dict)
    """Of the rollout alone: the login by which devices with IoT Edge pull."""
    service_connection: str = ""
    """Of its own name; "" for `name`."""

    @property
    def connection(self) -> str:
        """What the Azure DevOps service connection is called."""
        return self.service_connection or self.name

    @property
    def name(self) -> str:
        """What the Azure DevOps environment and variable group are called."""
        return f"edgeferry-{self.environment}" if self.environment else "edgeferry"

    @property
    def has_variables(self) -> bool:
        """Whether steps ask for variables of the group."""
        kinds = (self.registry, self.hub, self.ledger, self.pull)
        macros = [macro for kind in kinds for macro in kind.values() if macro.startswith("$(")]
        return any("." not in macro for macro in macros)


def render_pull_request(source: Source, model: ModelSource, file: str) -> Map:
    """What a change of the model must pass: the whole road, to a hub and a device on the agent."""
    make = source.steps()
    name, tag = shlex.quote(model.name), f"models.{model.name}"
    condition = shlex.quote(f"tags.{tag} = true")
    python = f"{in_shell(STATE)}/tests/bin/python"
    tests = make.run(
        "Unit tests",
        f"""
uv venv --quiet --clear {in_shell(STATE)}/tests
uv pip install --quiet --python {python} pytest {words(model.requirements)}
{python} -m pytest {words(model.tests)} --junitxml={in_shell(RESULTS)}/tests.xml
""",
    )
    steps = (
        *make.start(programs=_SANDBOX, tools="ruff"),
        Place("your steps: before the checks"),
        make.run("Validate", f"edgeferry validate {name}"),
        make.run("Lint", f"ruff check {words(model.code)}"),
        *((tests,) if model.tests else ()),
        make.run("Start a hub and a device", "edgeferry up --devices 1"),
        make.run("Train on the sample", f"edgeferry train {name} --place local"),
        make.run("Package", f"edgeferry package {name} --place local"),
        make.run("Verify", f"edgeferry verify {name} --place local"),
        make.run(
            "Roll out to the device",
            f"""
edgeferry devices tag device-1 {shlex.quote(f"{tag}=true")}
edgeferry ship {name} --place local --approve-as pull-request --target-condition {condition}
""",
        ),
        make.run("Smoke test", f"edgeferry smoke run {name} --junit {in_shell(RESULTS)}/smoke.xml"),
        Place("your steps: after the checks"),
        make.run("Stop hub and device", "edgeferry down --wipe", when="always()"),
        publish_results(f"{model.name} in a pull request"),
    )
    job = fields(job="check", displayName=f"Check {model.name}", timeoutInMinutes=60, steps=Seq(steps))
    what = f"Pull requests that touch {model.name}: the whole road on the agent, without Azure."
    return _pull_request(source, what, job, model.paths, file)


def render_shared(source: Source, environments: tuple[str, ...], command: str, file: str) -> Map:
    """What a change of the settings that all models share must pass; `command` writes these pipelines."""
    make = source.steps()
    shows = "\n".join(f"edgeferry config show --env {shlex.quote(name)}" for name in environments)
    steps = (
        *make.start(),
        make.run("Settings", shows or "edgeferry config show"),
        make.run("Pipelines are as written", f"{command} --check"),
        make.run("Validate all models", "edgeferry validate"),
        Place("your steps: after the checks"),
    )
    job = fields(job="check", displayName="Check what is shared", timeoutInMinutes=20, steps=Seq(steps))
    what = "Pull requests that touch what all models share: settings, environments, pipelines."
    return _pull_request(source, what, job, (), file)


def render_main(source: Source, model: ModelSource, fleet: Fleet, file: str) -> Map:
    """What carries a merged model to the fleet: two stages, and a person's approval between them."""
    settings = {"EDGEFERRY_USER": "ci"}
    if fleet.environment:
        settings["EDGEFERRY_ENV"] = fleet.environment
    if fleet.identity:
        settings |= _AS_CONNECTION
    where = f"environment {fleet.environment}" if fleet.environment else "the project's own settings"
    waiting = _azureml_jobs(source, model, fleet, fleet.workspace) if fleet.workspace else ()
    build = fields(
        stage="build",
        displayName="Train, package, verify, push, release",
        jobs=Seq((*waiting, _build_job(source, model, fleet))),
    )
    rollout = fields(
        stage="rollout",
        displayName="Roll out",
        dependsOn="build",
        jobs=Seq((_rollout_job(source, model, fleet),)),
    )
    return Map(
        (
            _header(f"What was merged of {model.name} goes to the fleet: {where}."),
            ("trigger", _filters(source, model.paths, file, batch=True)),
            ("pr", "none"),
            *_pool(),
            _variables(settings, fleet.name if fleet.has_variables else ""),
            ("stages", Seq((build, rollout))),
        )
    )


def _build_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = source.steps(fleet.connection if fleet.identity else "")
    # A model's own code runs in these: they are logged in to Azure only where the run is Azure ML's.
    model_steps = source.steps(fleet.connection if fleet.workspace else "")
    name, evidence = shlex.quote(model.name), in_shell(EVIDENCE)
    version = '--model-version "$MODELVERSION"'
    job: dict[str, Node] = {"job": "build", "displayName": f"Build {model.name}", "timeoutInMinutes": 120}
    train = f"edgeferry train {name} ${{TRAININPUTS:-}}"
    if fleet.workspace:
        train = 'edgeferry runs wait "$TRAINRUN" --no-logs'
        job["dependsOn"] = Seq(("submit", "wait"))
        job["variables"] = _carried("trainRun", "dependencies.submit.outputs['submit.run']")
    job["steps"] = Seq(
        (
            *make.start(programs=_LAYERS),
            Place("your steps: before train"),
            model_steps.run(
                "Train",
                f"""
{train} --output json | tee {evidence}/train.json
version=$({_read("version")} < {evidence}/train.json)
echo "##vso[task.setvariable variable=modelVersion]$version"
""",
            ),
            model_steps.run("Package", f"edgeferry package {name} {version}"),
            model_steps.run(
                "Verify", f"edgeferry verify {name} {version} --output json | tee {evidence}/verify.json"
            ),
            Place("your steps: before push"),
            make.run("Push model and companion", f"edgeferry push {name} {version}", fleet.registry),
            make.run(
                "Release",
                f"""
edgeferry release {name} {version} --output json | tee {evidence}/release.json
release=$({_read("release")} < {evidence}/release.json)
echo "##vso[task.setvariable variable=name;isOutput=true]$release"
""",
                {**fleet.registry, **fleet.ledger},
                name="release",
            ),
            make.run(
                "Plan",
                f"""
release=$({_read("release")} < {evidence}/release.json)
edgeferry approve "$release" --ask | tee {evidence}/plan.txt
""",
                {**fleet.hub, **fleet.registry, **fleet.ledger},
            ),
            publish_artifact(
                "Keep the evidence", "evidence-$(System.JobAttempt)", EVIDENCE, when="succeededOrFailed()"
            ),
        )
    )
    return fields(**job)


def _azureml_jobs(source: Source, model: ModelSource, fleet: Fleet, workspace: Workspace) -> tuple[Map, Map]:
    """One job that submits the training, and one without an agent that waits for its end."""
    answer = '"$AGENT_TEMPDIRECTORY"/run.json'
    submit = source.steps(fleet.connection).run(
        "Submit",
        f"""
edgeferry train {shlex.quote(model.name)} --no-wait ${{TRAININPUTS:-}} --output json | tee {answer}
run=$({_read("run")} < {answer})
echo "##vso[task.setvariable variable=run;isOutput=true]$run"
""",
        name="submit",
    )
    wait = fields(
        task="AzureMLJobWaitTask@1",
        displayName="Wait",
        inputs=fields(
            serviceConnection=fleet.connection,
            resourceGroupName=workspace.resource_group,
            azureMLWorkspaceName=workspace.name,
            azureMLJobName="$(trainRun)",
        ),
    )
    return (
        fields(
            job="submit",
            displayName=f"Submit the training of {model.name}",
            steps=Seq((*source.steps().start(), submit)),
        ),
        fields(
            job="wait",
            displayName="Wait for Azure ML, holding no agent",
            dependsOn="submit",
            pool="server",
            timeoutInMinutes=_WAIT_MINUTES,
            variables=_carried("trainRun", "dependencies.submit.outputs['submit.run']"),
            steps=Seq((wait,)),
        ),
    )


def _rollout_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = source.steps(fleet.connection if fleet.identity else "")
    steps = (
        *make.start(),
        Place("your steps: before rollout"),
        make.run(
            "Record the approval",
            'edgeferry approve "$RELEASE" --from azure-devops',
            {**_TOKEN, **fleet.hub, **fleet.registry, **fleet.ledger},
        ),
        make.run(
            "Roll out",
            f'edgeferry rollout "$RELEASE" --junit {in_shell(RESULTS)}/rollout.xml',
            {**fleet.hub, **fleet.registry, **fleet.pull, **fleet.ledger},
        ),
        make.run(
            "Smoke test",
            f"edgeferry smoke run {shlex.quote(model.name)} --junit {in_shell(RESULTS)}/smoke.xml",
            {**fleet.hub, **fleet.registry},
        ),
        Place("your steps: after rollout"),
        publish_results(f"{model.name} on the devices"),
    )
    return Map(
        (
            ("deployment", "rollout"),
            ("displayName", f"Roll out {model.name}"),
            ("timeoutInMinutes", 120),
            Note(
                "The approval check of this environment is where a person says yes to the plan that the\n"
                "build wrote (plan.txt of its evidence); the stage waits for it."
            ),
            ("environment", fleet.name),
            ("variables", _carried("release", "stageDependencies.build.build.outputs['release.name']")),
            ("strategy", fields(runOnce=fields(deploy=fields(steps=Seq(steps))))),
        )
    )


def _pull_request(source: Source, what: str, job: Map, paths: tuple[str, ...], file: str) -> Map:
    return Map(
        (
            _header(what),
            ("trigger", "none"),
            Note("Azure Repos starts it by a branch policy (build validation) with these paths."),
            ("pr", _filters(source, paths, file)),
            *_pool(),
            _variables({"EDGEFERRY_USER": "ci"}),
            ("jobs", Seq((job,))),
        )
    )


def _filters(source: Source, paths: tuple[str, ...], file: str, **first: Node) -> Map:
    """Which changes start it: of these paths, of the settings, and of the pipeline itself."""
    own = f"{source.pipelines}/{file}" if paths else source.pipelines
    included = sorted({*paths, *source.settings, own})
    return fields(
        **first,
        branches=fields(include=Seq(("main", Place("your branches")))),
        paths=fields(include=Seq((*included, Place("your paths")))),
    )


def _pool() -> tuple[Place]:
    return (Place("your agents", ("pool:", "  vmImage: ubuntu-24.04")),)


def _variables(settings: Mapping[str, str], group: str = "") -> tuple[str, Node]:
    known = {"EDGEFERRY_STATE": STATE, **settings}
    return (
        "variables",
        Seq(
            (
                *((fields(group=group),) if group else ()),
                *(fields(name=name, value=value) for name, value in known.items()),
                Note(
                    "Also here: edgeferryPackage, what pip installs instead of this version; trainInputs,\n"
                    "options of edgeferry train, e.g. --input raw_data=PATH. Secrets belong in the group."
                ),
                Place("your variables"),
            )
        ),
    )


def _carried(name: str, expression: str) -> Seq:
    """The variable that brings another job's output into this one."""
    return Seq((fields(name=name, value=f"$[ {expression} ]"),))


def _read(key: str) -> str:
    """A shell command that prints one value of the JSON on its input."""
    return f"""python -c 'import json, sys; print(json.load(sys.stdin)["{key}"])'"""


def _header(what: str) -> Note:
    return Note(
        f"{HEADER}\n{what}\n"
        "Lines between a >>> and its <<< are yours and stay; anything else is written anew."
    )
