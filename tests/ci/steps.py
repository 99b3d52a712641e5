"""What runs of pipelines have in common on all platforms: steps, their shell, and where to start.

What a runner does not know, it refuses with UnknownError.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

_LIMIT_S = 600


class UnknownError(Exception):
    """The pipeline asks for something that is not simulated here."""


@dataclass(frozen=True)
class StepRun:
    """One step: `succeeded`, `failed` or `skipped`, and what it printed."""

    stage: str
    title: str
    state: str
    output: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Start:
    """Where to start instead of at the beginning: in the workspace that an earlier run left, with the
    variables and the evidence that the last run from the beginning had at that step."""

    stage: str
    title: str


@dataclass(frozen=True)
class Ahead:
    """What a job had ahead of a step: variables, and the files in the folders EVIDENCE and RESULTS."""

    variables: Mapping[str, str]
    folders: tuple[Path, ...]
    files: Mapping[Path, bytes]

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Ahead:
        named = [Path(variables[name]) for name in ("EVIDENCE", "RESULTS") if name in variables]
        folders = tuple(folder for folder in named if folder.is_dir())
        files = [file for folder in folders for file in folder.iterdir()]
        return cls(dict(variables), folders, {file: file.read_bytes() for file in files})

    def put_back(self) -> None:
        """The folders hold what they held, and nothing else."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for file, body in self.files.items():
            file.write_bytes(body)


@dataclass
class Run:
    """One run of a pipeline, so far."""

    steps: list[StepRun] = field(default_factory=list)
    cases: list[ElementTree.Element] = field(default_factory=list)
    """Test cases that were published."""
    artifacts: dict[str, bytes] = field(default_factory=dict)
    """Files that were kept, by the artifact's name and their own: `evidence-1/release.json`."""
    ahead: dict[tuple[str, str, str], Ahead] = field(default_factory=dict)
    """By stage, job and title of a step."""
    outputs: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """By stage and job."""

    def keep(self, artifact: str, folder: Path) -> None:
        """The folder's files are kept."""
        self.artifacts |= {f"{artifact}/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}

    @property
    def red(self) -> list[str]:
        return [step.title for step in self.steps if step.state == "failed"]

    def state(self, title: str) -> str:
        return next(step.state for step in self.steps if step.title == title)

    def output(self, title: str) -> str:
        return next(step.output for step in self.steps if step.title == title)

    def __str__(self) -> str:
        lines = [f"{step.state:>9} {step.seconds:6.1f} s  {step.stage}: {step.title}" for step in self.steps]
        return "\n".join(lines + [step.output[-3000:] for step in self.steps if step.state == "failed"])


@dataclass
class Host:
    """A platform with one repository, and as many runners as a run needs."""

    folder: Path
    root: Path
    """Of the repository."""
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    """By variable group or environment: secrets and variables, by name."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Variables that the platform itself sets."""
    token: str = "token"
    environment: dict[str, str] = field(default_factory=dict)
    """Further environment of the runners' machine."""
    layers: Path | None = None
    """Image layers, the only ones there are. Runs find them in their place, not a copy of them, and what they
    add is kept at once."""
    environments: Path | None = None
    """Environments of pipelines' steps, which take long to make: found in their place too."""
    _whole: dict[str, Run] = field(default_factory=dict)
    """The last run from the beginning of each pipeline, by its file."""

    def prepare(self, state: Path) -> None:
        """The new state folder has the environments of steps."""
        state.mkdir(parents=True)
        if self.environments:
            (state / "environments").symlink_to(self.environments)

    def read(self, file: str) -> dict[str, Any]:
        """The pipeline in the repository's file."""
        document: dict[str, Any] = yaml.safe_load((self.root / file).read_text("utf-8"))
        return document

    def begin(self, file: str, start: Start | None) -> tuple[Run, Run]:
        """A run, and the one from the beginning whose files and variables it starts with."""
        before = self._whole[file] if start else Run()
        run = Run(outputs={job: dict(outputs) for job, outputs in before.outputs.items()})
        return run, before

    def end(self, file: str, start: Start | None, run: Run) -> Run:
        """The run; later ones start with what it had, when it is one from the beginning."""
        if start is None:
            self._whole[file] = run
        return run


def inherited() -> dict[str, str]:
    """What steps have of this process's environment."""
    foreign = ("EDGEFERRY_", "SYSTEM_", "GIT_", "GITHUB_", "RUNNER_")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(foreign)}, "COLUMNS": "200"}


def run_bash(script: Path, place: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The script has run as steps' scripts do, both its outputs in one."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", str(script)],
        cwd=place,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )


def runs_after(condition: str, good: bool) -> bool:
    if condition in ("always()", "succeededOrFailed()"):  # nothing is cancelled here
        return True
    if condition == "succeeded()":
        return good
    raise UnknownError(f"condition {condition}")
