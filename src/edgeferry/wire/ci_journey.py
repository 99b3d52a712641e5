"""What a project's pipelines do, whatever runs them: the steps of each job, as shell.

The shell knows three variables that each renderer sets: `RESULTS`, a folder for JUnit reports, `EVIDENCE`,
one for what is kept of a build, and `EDGEFERRY_STATE`. `AFFECTEDOPTIONS`, `TRAININPUTS` and
`EDGEFERRYPACKAGE` may be set by the pipelines' owners.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgeferry.wire.yaml_text import Place

PYTHON = "3.11"
PROGRAMS_TO_PACK = ("mmdebstrap",)
"""What making image layers needs."""
PROGRAMS_OF_SANDBOX = ("mmdebstrap", "docker-registry")
_PACKAGES = {"mmdebstrap": "mmdebstrap debian-archive-keyring", "docker-registry": "docker-registry"}
"""Debian's packages of the programs that edgeferry runs, by program."""

Need = Literal["hub", "registry", "ledger", "pull", "approvals"]
Who = Literal["nobody", "model", "fleet"]


@dataclass(frozen=True)
class Command:
    """One step: bash in the project's folder, which ends at its first failing line."""

    title: str
    script: str
    needs: tuple[Need, ...] = ()
    """What it reaches, and so which secrets it is given."""
    runs_as: Who = "nobody"
    """`fleet`: logged in to Azure where the fleet asks for it; `model`: a model's own code runs in it,
    which is logged in only where it runs on Azure ML."""
    name: str = ""
    """By which later jobs know it."""
    output: str = ""
    """The shell variable that they are told, with its name as the output's."""
    always: bool = False
    """Whether it runs though a step before it failed."""


Steps = Sequence[Command | Place]


@dataclass(frozen=True)
class Source:
    """The project in its repository; paths are relative to the repository's root, "" is the root."""

    folder: str
    up: str
    """From there to the repository's root: "", or it ends in `/`."""
    settings: tuple[str, ...]
    """Files and folders that every model depends on; folders end in `/`."""
    pipelines: str
    """The folder that these pipelines stand in."""
    version: str
    """Of edgeferry."""


@dataclass(frozen=True)
class ModelSource:
    """One model in that repository."""

    name: str
    paths: tuple[str, ...]
    """Everything that the model is made of, relative to the repository: its folder, and what it uses
    outside of it. Folders end in `/`, the root is `/`."""
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
    """None when the training runs where the pipeline does."""
    identity: bool = False
    """Whether steps need a Microsoft Entra identity."""
    vault: bool = False
    """Whether the project names its Key Vault, so that `keyvault://NAME` means a secret in it."""
    secrets: Mapping[Need, Mapping[str, str]] = field(default_factory=dict)
    """By what is reached: names of secrets, as a key vault has them, by the variable they go into."""
    ledger_url: str = ""
    """Where the ledger is; "" for a branch of the pipelines' own repository."""
    service_connection: str = ""
    """What the Azure DevOps service connection is called; "" for `name`."""

    @property
    def connection(self) -> str:
        """What the Azure DevOps service connection is called."""
        return self.service_connection or self.name

    @property
    def name(self) -> str:
        """What the platform's environment, and what belongs to it, is called."""
        return f"edgeferry-{self.environment}" if self.environment else "edgeferry"

    @property
    def asks_secrets(self) -> bool:
        """Whether steps ask for any."""
        return any(self.secrets.values())


def affected_step(*also: str) -> Command:
    """Which models a pull request touches, as the output `models`: a JSON list of names. The commit is the
    pull request's merge, so that its first parent is the branch that it goes to. By `also` every one is."""
    options = "".join(f" --also {shlex.quote(path)}" for path in also)
    return Command(
        "What does it touch?",
        f"""
edgeferry affected --since HEAD^1{options} ${{AFFECTEDOPTIONS:-}}
models=$(edgeferry affected --since HEAD^1{options} ${{AFFECTEDOPTIONS:-}} --output json | python -c '
import json, sys
print(json.dumps([each["model"] for each in json.load(sys.stdin)["models"]]))')
""",
        name="affected",
        output="models",
    )


def install_script(version: str, extras: str, tools: str = "", programs: Sequence[str] = ()) -> str:
    """The shell that installs edgeferry, pip's `tools`, and the programs that are not there yet."""
    script = f'pip install --quiet "${{EDGEFERRYPACKAGE:-edgeferry[{extras}]=={version}}}" {tools}'.rstrip()
    for program in programs:
        script += f"""
command -v {program} > /dev/null || {{
  sudo apt-get update -qq
  sudo apt-get install -y -qq --no-install-recommends {_PACKAGES[program]}
}}"""
    return script


def check_steps(model: ModelSource, place: str = "") -> Steps:
    """What a change of the model must pass: the whole road, to a hub and a device on the agent. `place` ends
    the names of its places."""
    name, tag = shlex.quote(model.name), f"models.{model.name}"
    condition = shlex.quote(f"tags.{tag} = true")
    python = '"$EDGEFERRY_STATE"/tests/bin/python'
    tests = Command(
        "Unit tests",
        f"""
uv venv --quiet --clear "$EDGEFERRY_STATE"/tests
uv pip install --quiet --python {python} pytest {words(model.requirements)}
{python} -m pytest {words(model.tests)} --junitxml="$RESULTS"/tests.xml
""",
    )
    return (
        Place(f"your steps: before the checks{place}"),
        Command("Validate", f"edgeferry validate {name}"),
        Command("Lint", f"ruff check {words(model.code)}"),
        *((tests,) if model.tests else ()),
        Command("Start a hub and a device", "edgeferry up --devices 1"),
        Command("Train on the sample", f"edgeferry train {name} --place local"),
        Command("Package", f"edgeferry package {name} --place local"),
        Command("Verify", f"edgeferry verify {name} --place local"),
        Command(
            "Roll out to the device",
            f"""
edgeferry devices tag device-1 {shlex.quote(f"{tag}=true")}
edgeferry ship {name} --place local --approve-as pull-request --target-condition {condition}
""",
        ),
        Command("Smoke test", f'edgeferry smoke run {name} --junit "$RESULTS"/smoke.xml'),
        Place(f"your steps: after the checks{place}"),
        Command("Stop hub and device", "edgeferry down --wipe", always=True),
    )


def shared_steps(environments: Sequence[str], command: str) -> Steps:
    """What a change of the settings that all models share must pass; `command` writes the pipelines."""
    shows = "\n".join(f"edgeferry config show --env {shlex.quote(name)}" for name in environments)
    return (
        Command("Settings", shows or "edgeferry config show"),
        Command("Pipelines are as written", f"{command} --check"),
        Command("Validate all models", "edgeferry validate"),
        Place("your steps: after the checks"),
    )


def train_script(model: ModelSource, options: str = "") -> str:
    """The shell that trains, and answers in JSON."""
    return f"edgeferry train {shlex.quote(model.name)} {options}${{TRAININPUTS:-}} --output json"


def build_steps(model: ModelSource, train: str) -> Steps:
    """From training to a plan that people can look at; `train` answers with the version, in JSON."""
    name = shlex.quote(model.name)
    version = f'version=$({read("version")} < "$EVIDENCE"/train.json)'
    release = f'release=$({read("release")} < "$EVIDENCE"/release.json)'
    of_version = f'{name} --model-version "$version"'
    return (
        Place("your steps: before train"),
        Command("Train", f'{train} | tee "$EVIDENCE"/train.json', runs_as="model"),
        Command("Package", f"{version}\nedgeferry package {of_version}", runs_as="model"),
        Command(
            "Verify",
            f'{version}\nedgeferry verify {of_version} --output json | tee "$EVIDENCE"/verify.json',
            runs_as="model",
        ),
        Place("your steps: before push"),
        Command(
            "Push model and companion",
            f"{version}\nedgeferry push {of_version}",
            ("registry",),
            runs_as="fleet",
        ),
        Command(
            "Release",
            f"""
{version}
edgeferry release {of_version} --output json | tee "$EVIDENCE"/release.json
{release}
""",
            ("registry", "ledger"),
            runs_as="fleet",
            name="release",
            output="release",
        ),
        Command(
            "Plan",
            f'{release}\nedgeferry approve "$release" --ask | tee "$EVIDENCE"/plan.txt',
            ("hub", "registry", "ledger"),
            runs_as="fleet",
        ),
    )


def rollout_steps(model: ModelSource, platform: str) -> Steps:
    """The release of the variable `RELEASE`, approved by people on the platform, goes to the fleet."""
    return (
        Place("your steps: before rollout"),
        Command(
            "Record the approval",
            f'edgeferry approve "$RELEASE" --from {platform}',
            ("approvals", "hub", "registry", "ledger"),
            runs_as="fleet",
        ),
        Command(
            "Roll out",
            'edgeferry rollout "$RELEASE" --junit "$RESULTS"/rollout.xml',
            ("hub", "registry", "pull", "ledger"),
            runs_as="fleet",
        ),
        Command(
            "Smoke test",
            f'edgeferry smoke run {shlex.quote(model.name)} --junit "$RESULTS"/smoke.xml',
            ("hub", "registry"),
            runs_as="fleet",
        ),
        Place("your steps: after rollout"),
    )


def read(key: str) -> str:
    """A shell command that prints one value of the JSON on its input."""
    return f"""python -c 'import json, sys; print(json.load(sys.stdin)["{key}"])'"""


def words(texts: Sequence[str]) -> str:
    """The texts as arguments in bash."""
    return " ".join(shlex.quote(text) for text in texts)
