"""The pipeline that takes nyc_taxi to the fleet, on each platform that it is written for: what a test asks of
it is the same on all of them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from tests.ci.azure_runner import Machine
from tests.ci.github_runner import Repository
from tests.ci.github_stub import GitHub, review
from tests.ci.platform_stub import Platform, approved
from tests.ci.steps import Run, Start

PROJECT = "fleet/taxi"
ENVIRONMENT = "edgeferry-factory"


class Pipeline(ABC):
    """One of them, with its secrets, the people who approve its runs, and what its runs leave."""

    always: tuple[str, str]
    """Titles of the steps that run whatever failed before them in their job: they keep the evidence of the
    build and the JUnit reports of the rollout."""
    person: str
    """Who approves, as the ledger names them."""
    recorded: str
    """What the ledger says of where that was recorded."""

    def __init__(self, folder: Path, sources: Path, secrets: dict[str, str], token: str) -> None:
        self.folder = folder
        """All that its runs leave."""
        self.sources = sources
        """The project, as it was checked out to build."""
        self.secrets = secrets
        self.token = token
        self.green = Run()
        """The last run from nothing, which a person approved. What else is run starts in what it left."""
        self.ask_anew()

    @abstractmethod
    def run(self, start: Start | None = None, variables: Mapping[str, str] | None = None) -> Run:
        """A run, with the test cases of all JUnit reports that it kept; `variables` are in the environment of
        all of its steps."""

    @abstractmethod
    def ask_anew(self) -> None:
        """What runs next is a new run, which a person approved."""

    @abstractmethod
    def unapproved(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile nobody who counts has approved the rollout."""

    @abstractmethod
    def spell(self, secret: str) -> str:
        """What the platform calls a secret."""


class AzurePipeline(Pipeline):
    """At Azure DevOps."""

    always = ("Keep the evidence", "Publish the results")
    person, recorded = "ann@contoso.com", "recorded by Azure DevOps"

    def __init__(self, machine: Machine, platform: Platform) -> None:
        self._machine, self._platform, self._runs = machine, platform, 40
        sources = machine.folder / "agents" / "build.build" / "s" / PROJECT
        super().__init__(machine.folder, sources, machine.secrets[ENVIRONMENT], machine.token)

    def run(self, start: Start | None = None, variables: Mapping[str, str] | None = None) -> Run:
        file = f"{PROJECT}/.azure-pipelines/nyc_taxi_factory_main.yml"
        return self._machine.run(file, start, variables=variables)

    def ask_anew(self) -> None:
        self._runs += 1
        self._platform.build = str(self._runs)
        self._platform.approvals = {"rollout": [approved(f"approval-{self._runs}", self.person)]}
        self._machine.defaults |= {
            "System.CollectionUri": self._platform.collection,
            "System.TeamProject": self._platform.project,
            "Build.BuildId": self._platform.build,
        }

    @contextlib.contextmanager
    def unapproved(self) -> Iterator[None]:
        kept, self._platform.approvals = self._platform.approvals, {}
        try:
            yield
        finally:
            self._platform.approvals = kept

    def spell(self, secret: str) -> str:
        return secret


class GitHubPipeline(Pipeline):
    """At GitHub. Eve may review what is built, and an app has its say: neither lets a rollout go."""

    always = ("Keep the evidence", "Keep the results")
    person = "bea@github.com"
    recorded = "recorded by GitHub, https://github.com/contoso/fleet/actions/runs/"

    def __init__(self, repository: Repository, github: GitHub) -> None:
        self._repository, self._github = repository, github
        sources = repository.folder / "runners" / "build" / "work" / PROJECT
        super().__init__(repository.folder, sources, repository.secrets[ENVIRONMENT], repository.token)

    def run(self, start: Start | None = None, variables: Mapping[str, str] | None = None) -> Run:
        file = ".github/workflows/fleet-taxi_nyc_taxi_factory_main.yml"
        run = self._repository.run(file, start, variables=variables)
        reports = [body for name, body in run.artifacts.items() if name.startswith("results-1/")]
        run.cases = [case for body in reports for case in ElementTree.fromstring(body).iter("testcase")]
        return run

    def ask_anew(self) -> None:
        self._github.run = str(int(self._github.run) + 1)
        stated = self._github.environment("")
        self._repository.defaults = {
            name: text
            for name, text in stated.items()
            if name.startswith("GITHUB_") and name != "GITHUB_TOKEN"
        }
        self._github.reviews = [
            review("eve", f"{ENVIRONMENT}-build"),
            review("bea", ENVIRONMENT),
        ]

    @contextlib.contextmanager
    def unapproved(self) -> Iterator[None]:
        kept = self._github.reviews
        self._github.reviews = [review("eve", f"{ENVIRONMENT}-build"), review("app", ENVIRONMENT, kind="Bot")]
        try:
            yield
        finally:
            self._github.reviews = kept

    def spell(self, secret: str) -> str:
        return secret.upper().replace("-", "_")
