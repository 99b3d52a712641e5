"""Runs Azure Pipelines YAML on this machine, step by step, as far as our pipelines use it.

What it does not know, it refuses: a task, condition or expression that is not simulated raises UnknownError.
Each job gets a fresh workspace and a fresh copy of the repository; state lives from one run to the next
only where the YAML caches it. Group variables are secret: steps see them where their own `env` maps them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.ci.steps import Ahead, Host, Run, Start, StepRun, UnknownError, inherited, run_bash, runs_after

_MACRO = re.compile(r"\$\(([^()]+)\)")
_CARRIED = re.compile(r"\$\[ (?:dependencies|stageDependencies\.(\w+))\.(\w+)\.outputs\['(\w+)\.(\w+)'\] \]")
_TOUCHED = re.compile(
    r"and\(succeeded\(\), or\(ne\(variables\['Build\.Reason'\], 'PullRequest'\), "
    r"contains\(dependencies\.(\w+)\.outputs\['(\w+\.\w+)'\], '([^']+)'\)\)\)"
)
"""The one condition of a job that is known: by hand, or the pull request touches it."""
_COMMAND = re.compile(r"^##vso\[task\.setvariable variable=(\w+)(;isOutput=true)?\](.*)$", re.MULTILINE)


class Machine(Host):
    """An organization at Azure DevOps; `secrets` are its variable groups."""

    def run(
        self,
        file: str,
        start: Start | None = None,
        *,
        variables: Mapping[str, str] | None = None,
    ) -> Run:
        """The pipeline's run. `variables` are set as at queue time."""
        document = self.read(file)
        stages = document.get("stages") or [{"stage": "__default", "jobs": document["jobs"]}]
        run, before = self.begin(file, start)
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
                    agent = _Agent(self, run, before, document, name, job, dict(variables or {}))
                    good[name] = agent.work(waiting.title if waiting else "")
                else:
                    steps = _steps(job)
                    run.steps += [StepRun(name, _title(step), "skipped") for step in steps]
            waiting = None
        return self.end(file, start, run)

    def _is_due(self, job: Mapping[str, Any], run: Run, stage: str) -> bool:
        """Whether the job's own condition lets it run."""
        condition = job.get("condition", "succeeded()")
        match = _TOUCHED.fullmatch(condition)
        if condition == "succeeded()":
            return True
        if not match:
            raise UnknownError(f"condition {condition} of a job")
        needed, output, text = match.groups()
        if self.defaults.get("Build.Reason", "PullRequest") != "PullRequest":
            return True
        return text in run.outputs[stage, needed].get(output, "")


@dataclass
class _Agent:
    machine: Machine
    run: Run
    before: Run
    document: dict[str, Any]
    stage: str
    job: dict[str, Any]
    queued: dict[str, str]

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
            self.machine.prepare(self.place / "edgeferry")
        good, waiting = True, start
        for step in _steps(self.job):
            title = _title(step)
            if waiting and waiting != title:
                if step.get("task") == "UsePythonVersion@0":
                    self._use_python(step["inputs"])
                continue
            if waiting:
                waiting = ""
                ahead = self.before.ahead[self.stage, self.name, title]
                ahead.put_back()
                self.variables |= {**ahead.variables, **self.machine.defaults, **self.queued}
            self.run.ahead[self.stage, self.name, title] = Ahead.of(self.variables)
            if not runs_after(step.get("condition", "succeeded()"), good):
                self.run.steps.append(StepRun(self.stage, title, "skipped"))
                continue
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
            **self.machine.defaults,
        }
        for entry in [*self.document.get("variables", []), *self.job.get("variables", [])]:
            if "group" in entry:
                self.secrets |= {k.lower(): v for k, v in self.machine.secrets[entry["group"]].items()}
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
            shutil.copytree(self.machine.root, self.place / "s", dirs_exist_ok=True)
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
        target.symlink_to(self.machine.layers or Path())

    def _publish_artifact(self, inputs: Mapping[str, str]) -> None:
        self.run.keep(inputs["artifact"], Path(inputs["targetPath"]))

    def _publish_results(self, inputs: Mapping[str, str]) -> None:
        assert inputs["testResultsFormat"] == "JUnit"
        for file in sorted(Path(inputs["searchFolder"]).glob(inputs["testResultsFiles"])):
            self.run.cases += ElementTree.parse(file).iter("testcase")


def _steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    if "deployment" in job:
        steps: list[dict[str, Any]] = job["strategy"]["runOnce"]["deploy"]["steps"]
        return steps
    return list(job["steps"])


def _title(step: dict[str, Any]) -> str:
    return str(step.get("displayName") or ("Checkout" if "checkout" in step else step))
