"""Runs Azure Pipelines YAML on this machine, step by step, as far as our pipelines use it.

What it does not know, it refuses: a task, condition or expression that is not simulated raises UnknownError.
Each job gets a fresh workspace and a fresh copy of the repository; state lives from one run to the next
only where the YAML caches it. Group variables are secret: steps see them where their own `env` maps them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

_MACRO = re.compile(r"\$\(([^()]+)\)")
_CARRIED = re.compile(r"\$\[ (?:dependencies|stageDependencies\.(\w+))\.(\w+)\.outputs\['(\w+)\.(\w+)'\] \]")
_TOUCHED = re.compile(
    r"and\(succeeded\(\), or\(ne\(variables\['Build\.Reason'\], 'PullRequest'\), "
    r"contains\(dependencies\.(\w+)\.outputs\['(\w+\.\w+)'\], '([^']+)'\)\)\)"
)
"""The one condition of a job that is known: by hand, or the pull request touches it."""
_COMMAND = re.compile(r"^##vso\[task\.setvariable variable=(\w+)(;isOutput=true)?\](.*)$", re.MULTILINE)
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


@dataclass
class Run:
    """One run of a pipeline, so far."""

    steps: list[StepRun] = field(default_factory=list)
    cases: list[ElementTree.Element] = field(default_factory=list)
    """Test cases that were published."""
    known: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    outputs: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

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


@dataclass(frozen=True)
class Start:
    """Where to start instead of at the beginning: in the workspace that an earlier run left, with the
    variables it had at that step."""

    stage: str
    title: str


@dataclass
class Machine:
    """An organization with one repository, its variable groups, and as many agents as a run needs."""

    folder: Path
    repository: Path
    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    predefined: dict[str, str] = field(default_factory=dict)
    token: str = "token"
    environment: dict[str, str] = field(default_factory=dict)
    """Further environment of the agents' machine."""
    layers: Path = Path()
    """The cache of image layers, the only one there is. Runs find it in its place, not a copy of it, and
    what they add is kept at once."""
    _known: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    """The variables ahead of each step of the last run from the beginning."""
    _outputs: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """And what its jobs put out."""

    def run(
        self,
        file: str,
        start: Start | None = None,
        *,
        variables: Mapping[str, str] | None = None,
        before: Mapping[str, Callable[[Path], None]] | None = None,
    ) -> Run:
        """The pipeline's run. `before` is called ahead of a step, by its title, with the sources' folder.
        `variables` are set as at queue time."""
        document = yaml.safe_load((self.repository / file).read_text("utf-8"))
        stages = document.get("stages") or [{"stage": "__default", "jobs": document["jobs"]}]
        run = Run(outputs={job: dict(outputs) for job, outputs in self._outputs.items()})
        good: dict[str, bool] = {}
        waiting = start
        for number, stage in enumerate(stages):
            name = stage["stage"]
            wanted = stage.get("dependsOn", [stages[number - 1]["stage"]] if number else [])
            wanted = [wanted] if isinstance(wanted, str) else wanted
            if waiting and waiting.stage != name:
                good[name] = True
                continue
            good[name] = all(good[each] for each in wanted)
            for job in stage["jobs"]:
                if good[name] and self._is_due(job, run, name):
                    agent = _Agent(self, run, document, name, job, dict(variables or {}), before or {})
                    good[name] = agent.work(waiting.title if waiting else "")
                else:
                    steps = _steps(job)
                    run.steps += [StepRun(name, _title(step), "skipped") for step in steps]
            waiting = None
        if start is None:
            self._known, self._outputs = run.known, run.outputs
        return run

    def _is_due(self, job: Mapping[str, Any], run: Run, stage: str) -> bool:
        """Whether the job's own condition lets it run."""
        condition = job.get("condition", "succeeded()")
        match = _TOUCHED.fullmatch(condition)
        if condition == "succeeded()":
            return True
        if not match:
            raise UnknownError(f"condition {condition} of a job")
        needed, output, text = match.groups()
        if self.predefined.get("Build.Reason", "PullRequest") != "PullRequest":
            return True
        return text in run.outputs[stage, needed].get(output, "")


@dataclass
class _Agent:
    machine: Machine
    run: Run
    document: dict[str, Any]
    stage: str
    job: dict[str, Any]
    queued: dict[str, str]
    before: Mapping[str, Callable[[Path], None]]

    def work(self, start: str) -> bool:
        """Whether the job succeeded."""
        self.name = self.job.get("job") or self.job["deployment"]
        self.place = self.machine.folder / "agents" / f"{self.stage}.{self.name}"
        self.bin = ""
        self.secrets = {"system.accesstoken": self.machine.token}
        self.variables = self._variables()
        if not start:
            shutil.rmtree(self.place, ignore_errors=True)
            for name in ("s", "a", "temp"):
                (self.place / name).mkdir(parents=True)
        good, waiting = True, start
        for step in _steps(self.job):
            title = _title(step)
            if waiting and waiting != title:
                if step.get("task") == "UsePythonVersion@0":
                    self._use_python(step["inputs"])
                continue
            if waiting:
                waiting = ""
                self.variables |= self.machine._known[self.stage, self.name, title] | self.queued
            self.run.known[self.stage, self.name, title] = dict(self.variables)
            if not runs_after(step.get("condition", "succeeded()"), good):
                self.run.steps.append(StepRun(self.stage, title, "skipped"))
                continue
            if title in self.before:
                self.before[title](self.place / "s")
            since = time.monotonic()
            done, output = self._do(step)
            state, seconds = "succeeded" if done else "failed", time.monotonic() - since
            self.run.steps.append(StepRun(self.stage, title, state, output, seconds))
            good = good and done
        if waiting:
            raise UnknownError(f"no step {waiting} in {self.stage}")
        return good

    def _variables(self) -> dict[str, str]:
        known = {
            "System.StageName": self.stage,
            "System.JobAttempt": "1",
            "Agent.OS": "Linux",
            "Agent.TempDirectory": str(self.place / "temp"),
            "Pipeline.Workspace": str(self.place),
            "Build.SourcesDirectory": str(self.place / "s"),
            "Build.ArtifactStagingDirectory": str(self.place / "a"),
            **self.machine.predefined,
        }
        for entry in [*self.document.get("variables", []), *self.job.get("variables", [])]:
            if "group" in entry:
                self.secrets |= {k.lower(): v for k, v in self.machine.groups[entry["group"]].items()}
                continue
            value = str(entry["value"])
            if value.startswith("$["):
                value = self._carry(value)
            known[entry["name"]] = value
        known = {name: self._expand(value, known) for name, value in known.items()}
        return {**known, **self.queued}

    def _carry(self, expression: str) -> str:
        match = _CARRIED.fullmatch(expression)
        if not match:
            raise UnknownError(f"expression {expression}")
        stage, job, step, name = match.groups()
        return self.run.outputs[stage or self.stage, job].get(f"{step}.{name}", "")

    def _expand(self, text: str, variables: Mapping[str, str] | None = None) -> str:
        """Macros filled in; one of a variable that nobody set stays as it is, as on the real agent."""
        known = {k.lower(): v for k, v in (self.variables if variables is None else variables).items()}
        known = {**self.secrets, **known}
        return _MACRO.sub(lambda match: known.get(match[1].lower(), match[0]), text)

    def _do(self, step: dict[str, Any]) -> tuple[bool, str]:
        if "checkout" in step:
            shutil.copytree(self.machine.repository, self.place / "s", dirs_exist_ok=True)
            return True, ""
        if "bash" in step:
            return self._shell(step)
        inputs = {name: self._expand(str(value)) for name, value in step.get("inputs", {}).items()}
        known = {
            "UsePythonVersion@0": self._use_python,
            "Cache@2": self._cache,
            "PublishPipelineArtifact@1": self._publish_artifact,
            "PublishTestResults@2": self._publish_results,
        }
        if step.get("task") not in known:
            raise UnknownError(f"step {step}")
        known[step["task"]](inputs)
        return True, ""

    def _shell(self, step: dict[str, Any]) -> tuple[bool, str]:
        shown = {re.sub(r"[. ]", "_", name).upper(): value for name, value in self.variables.items()}
        mapped = {name: self._expand(str(value)) for name, value in step.get("env", {}).items()}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}" if self.bin else os.environ["PATH"]
        environment = {
            **inherited(),
            "PATH": path,
            **self.machine.environment,
            **shown,
            **mapped,
        }
        script = self.place / "temp" / "step.sh"
        script.write_text(self._expand(step["bash"]), "utf-8")
        place = self._expand(step.get("workingDirectory", "$(Build.SourcesDirectory)"))
        done = run_bash(script, place, environment)
        outputs = self.run.outputs.setdefault((self.stage, self.name), {})
        for name, is_output, value in _COMMAND.findall(done.stdout):
            if is_output:
                outputs[f"{step['name']}.{name}"] = value
            else:
                self.variables[name] = value
        return done.returncode == 0, done.stdout

    def _use_python(self, inputs: Mapping[str, str]) -> None:
        if inputs["versionSpec"] != f"{sys.version_info.major}.{sys.version_info.minor}":
            raise UnknownError(f"Python {inputs['versionSpec']}")
        self.bin = str(Path(sys.executable).parent)

    def _cache(self, inputs: Mapping[str, str]) -> None:
        target = Path(inputs["path"])
        if target.name != "images":
            raise UnknownError(f"a cache of {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(self.machine.layers)

    def _publish_artifact(self, inputs: Mapping[str, str]) -> None:
        target = self.machine.folder / "artifacts" / inputs["artifact"]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(inputs["targetPath"], target)

    def _publish_results(self, inputs: Mapping[str, str]) -> None:
        assert inputs["testResultsFormat"] == "JUnit"
        for file in sorted(Path(inputs["searchFolder"]).glob(inputs["testResultsFiles"])):
            self.run.cases += ElementTree.parse(file).iter("testcase")


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


def _steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    if "deployment" in job:
        steps: list[dict[str, Any]] = job["strategy"]["runOnce"]["deploy"]["steps"]
        return steps
    return list(job["steps"])


def _title(step: dict[str, Any]) -> str:
    return str(step.get("displayName") or ("Checkout" if "checkout" in step else step))


def runs_after(condition: str, good: bool) -> bool:
    if condition in ("always()", "succeededOrFailed()"):  # nothing is cancelled here
        return True
    if condition == "succeeded()":
        return good
    raise UnknownError(f"condition {condition}")
