"""A factory: a hub, a registry, a ledger and two devices on this machine, and a repository whose pipelines
reach them by addresses and secrets, as a self-hosted fleet is reached."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests import repositories
from tests.ci import github_stub, platform_stub
from tests.ci.azure_runner import Machine
from tests.ci.github_runner import Repository
from tests.ci.github_stub import GitHub
from tests.ci.pipelines import ENVIRONMENT, PROJECT, AzurePipeline, GitHubPipeline, Pipeline
from tests.ci.platform_stub import Platform
from tests.typed import clean_environment, typed

ROOT = Path(__file__).parents[2]
PULL_REQUEST = f"{PROJECT}/.azure-pipelines/nyc_taxi_pr.yml"
GITHUB_PULL_REQUEST = ".github/workflows/fleet-taxi_pr.yml"
SHARED = f"{PROJECT}/.azure-pipelines/shared_factory_pr.yml"
PLATFORMS = ("azure-devops", "github")


def edgeferry(project: Path, *arguments: str, **extra: str) -> str:
    """What the command printed; it must succeed."""
    words = ("--project", str(project), *arguments)
    done = typed(*words, environment=clean_environment(**extra), timeout_s=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Factory:
    """The sandbox that stands for the fleet, and the machines that run pipelines for it."""

    home: Path
    machine: Machine
    """Of Azure DevOps."""
    repository: Repository
    """The same repository, at GitHub."""
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    """By platform: what takes nyc_taxi to the fleet."""

    def __call__(self, *arguments: str) -> str:
        return edgeferry(self.home / "own", *arguments, EDGEFERRY_STATE=str(self.home / "state"))

    def pid(self, name: str) -> int:
        return int(json.loads((self.home / "state" / "run" / f"{name}.json").read_text())["pid"])

    def send(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pid(name), number)


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Factory]:
    """The factory, with a device that shall have nyc_taxi; all of it is gone afterwards."""
    home = tmp_path_factory.mktemp("factory")
    ignore = shutil.ignore_patterns(".edgeferry", "__pycache__", ".azure-pipelines")
    shutil.copytree(ROOT / "examples" / "taxi", home / "own", ignore=ignore)
    repository = home / "repository"
    project = repository / PROJECT
    shutil.copytree(ROOT / "examples" / "taxi", project, ignore=ignore)
    git = repositories.make_repository(repository)
    assert pytestconfig.cache is not None
    caches = {
        "layers": pytestconfig.cache.mkdir("images"),
        "environments": pytestconfig.cache.mkdir("step-environments"),
    }
    machine = Machine(home / "machine", repository, token=platform_stub.TOKEN, **caches)
    machine.defaults["Build.Repository.Uri"] = str(home / "nowhere.git")
    platform = Platform(home / "platform")
    machine.environment["SSL_CERT_FILE"] = platform.ca_file
    github = GitHub(home / "github")
    at_github = Repository(home / "github-machine", repository, token=github_stub.TOKEN, **caches)
    at_github.environment["SSL_CERT_FILE"] = github.ca_file
    built = Factory(home, machine, at_github)
    try:
        built("up", "--devices", "2")
        built("devices", "tag", "device-1", "models.nyc_taxi=true")
        machine.secrets[ENVIRONMENT] = _write_environment(built, project)
        known = {n.upper().replace("-", "_"): t for n, t in machine.secrets[ENVIRONMENT].items()}
        at_github.secrets = {ENVIRONMENT: known, f"{ENVIRONMENT}-build": known}
        for name in PLATFORMS:
            edgeferry(project, "ci", name, "--env", "factory")
        request(git, f"{PROJECT}/models/nyc_taxi/README.md")
        both = (AzurePipeline(machine, platform), GitHubPipeline(at_github, github))
        built.pipelines = dict(zip(PLATFORMS, both, strict=True))
        yield built
    finally:
        for name in ("device-1", "device-2"):
            if (home / "state" / "run" / f"{name}.json").exists():
                built.send(name, signal.SIGCONT)
        for left in machine.folder.glob("agents/*/edgeferry/sandbox.json"):  # of a run that was interrupted
            edgeferry(home / "own", "down", "--wipe", EDGEFERRY_STATE=str(left.parent))
        built("down", "--wipe")
        platform.close()
        github.close()
        for place in (home / "machine", home / "github-machine", home / "state"):
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session", params=PLATFORMS)
def pipeline(factory: Factory, request: pytest.FixtureRequest) -> Pipeline:
    """The pipeline on each platform; it has run from nothing, with a person's approval. Both have the same
    fleet, and what one rolls out takes the other's approval away: so pytest runs all tests of one, then all
    of the other, and whoever's turn it is begins with a run of its own."""
    pipeline = factory.pipelines[request.param]
    pipeline.ask_anew()
    pipeline.green = pipeline.run()
    assert pipeline.green.red == [], str(pipeline.green)
    return pipeline


def request(repository: repositories.Repository, *paths: str) -> None:
    """HEAD is what platforms make of a pull request that changes these files: its merge into main."""
    repository.commit("what is on main")
    repository.git("checkout", "--quiet", "-b", "work")
    for path in paths:
        repository.append(path, "more\n")
    repository.commit("the change")
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--no-edit", "work")


def _write_environment(factory: Factory, project: Path) -> dict[str, str]:
    """environments/factory.toml and keys/ci.pem in the project; the secrets, as a variable group has them."""
    known = json.loads((factory.home / "state" / "sandbox.json").read_text())["settings"]
    key = ec.generate_private_key(ec.SECP256R1())
    (project / "keys").mkdir()
    (project / "keys" / "ci.pem").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    secrets = {
        "hub-connection-string": known["hub.connection_string"],
        "registry-username": known["registry.username"],
        "registry-password": known["registry.password"],
        "ledger-signing-key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    }
    tables: dict[str, dict[str, str]] = {}
    addresses = {
        "hub.ca_file": known["hub.ca_file"],
        "registry.host": known["registry.host"],
        "registry.ca_file": known["registry.ca_file"],
        "ledger.url": known.get("ledger.url", str(factory.home / "state" / "ledger.git")),
        "ledger.trusted_keys": "keys",
    }
    if known.get("engine.url"):
        addresses["engine.url"] = known["engine.url"]
    for name, text in addresses.items():
        table, _, key_name = name.partition(".")
        tables.setdefault(table, {})[key_name] = text
    lines = []
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{name} = {json.dumps(text)}" for name, text in values.items())]
    (project / "environments").mkdir(exist_ok=True)
    (project / "environments" / "factory.toml").write_text("\n".join(lines) + "\n")
    return secrets
