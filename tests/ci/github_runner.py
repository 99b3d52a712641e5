"""Runs GitHub workflows on this machine, step by step, as far as ours use them: the counterpart of
`azure_runner`, with the same steps, runs, starts and bash. A job is a stage of its own.

What it does not know, it refuses. Secrets are those of the job's environment, and steps see them where their
own `env` maps them; a job without an environment has none.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.ci.steps import Ahead, Host, Run, Start, StepRun, UnknownError, inherited, run_bash, runs_after

_EXPRESSION = re.compile(r"\$\{\{ ([\w.-]+) \}\}")
_TOUCHED = re.compile(r"contains\(fromJSON\(needs\.(\w+)\.outputs\.(\w+)\), '(\w+)'\)")

_STEPS = "steps."
"""How expressions begin that ask for what a step put out."""


class Repository(Host):
    """A repository at GitHub; `secrets` are those of its environments."""

    def run(
        self,
        file: str,
        start: Start | None = None,
        *,
        variables: Mapping[str, str] | None = None,
        pretend: Collection[str] = (),
    ) -> Run:
        """The workflow's run. `variables` are set in each job, as its `env` is. Of jobs in `pretend` it is
        only noted, as a step `due`, that they would run."""
        document = self.read(file)
        if document["permissions"] != {}:
            raise UnknownError("permissions of a whole workflow")
        run, before = self.begin(file, start)
        good: dict[str, bool] = {}
        waiting = start
        for key, job in document["jobs"].items():
            if waiting and waiting.stage != key:
                good[key] = True
                continue
            good[key] = all(good[each] for each in _needed(job))
            if not good[key] or not _is_due(job.get("if", ""), run):
                run.steps += [StepRun(key, step["name"], "skipped") for step in job["steps"]]
            elif key in pretend:
                run.steps.append(StepRun(key, "(all)", "due"))
            else:
                runner = _Runner(self, run, before, document, key, job, variables or {})
                good[key] = runner.work(waiting.title if waiting else "")
                outputs = {name: runner.expand(str(text)) for name, text in job.get("outputs", {}).items()}
                run.outputs[key, key] = outputs
            waiting = None
        return self.end(file, start, run)


class _Runner:
    def __init__(
        self,
        repository: Repository,
        run: Run,
        before: Run,
        document: Mapping[str, Any],
        key: str,
        job: Mapping[str, Any],
        variables: Mapping[str, str],
    ) -> None:
        self.repository, self.run, self.before, self.job, self.key = repository, run, before, job, key
        self.place = repository.folder / "runners" / key
        self.sources, self.temp = self.place / "work", self.place / "temp"
        self.bin = ""
        self.added: dict[str, str] = {}
        self.known = {
            "github.token": repository.token,
            "github.run_attempt": "1",
            "github.server_url": repository.defaults.get("GITHUB_SERVER_URL", ""),
            "github.repository": repository.defaults.get("GITHUB_REPOSITORY", ""),
            "runner.temp": str(self.temp),
            "runner.os": "Linux",
        }
        for name in _needed(job):
            given = run.outputs.get((name, name), {})
            self.known |= {f"needs.{name}.outputs.{each}": text for each, text in given.items()}
        for name, text in repository.secrets.get(job.get("environment", ""), {}).items():
            self.known |= {f"secrets.{name}": text, f"vars.{name}": text}
        env = {**document["env"], **job.get("env", {}), **variables}
        self.env = {name: self.expand(str(text)) for name, text in env.items()}

    def work(self, start: str) -> bool:
        """Whether the job succeeded."""
        if not start:
            self._clear()
        good, waiting = True, start
        for step in self.job["steps"]:
            title = step["name"]
            if waiting and waiting != title:
                if step.get("uses", "").startswith("actions/setup-python@"):
                    self._use(step)
                continue
            if waiting:
                waiting = ""
                ahead = self.before.ahead[self.key, self.key, title]
                ahead.put_back()
                self.added = {n: text for n, text in ahead.variables.items() if not n.startswith(_STEPS)}
                self.known |= {n: text for n, text in ahead.variables.items() if n.startswith(_STEPS)}
            told = {n: text for n, text in self.known.items() if n.startswith(_STEPS)}
            self.run.ahead[self.key, self.key, title] = Ahead.of({**self.added, **told})
            if not runs_after(step.get("if", "succeeded()"), good):
                self.run.steps.append(StepRun(self.key, title, "skipped"))
                continue
            since = time.monotonic()
            done, output = self._shell(step) if "run" in step else (self._use(step), "")
            state = "succeeded" if done else "failed"
            self.run.steps.append(StepRun(self.key, title, state, output, time.monotonic() - since))
            good = good and done
        if waiting:
            raise UnknownError(f"no step {waiting} in {self.key}")
        return good

    def _clear(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.sources.mkdir(parents=True)
        self.temp.mkdir()
        self.repository.prepare(self.temp / "edgeferry")
        if self.repository.layers:
            (self.temp / "edgeferry" / "images").symlink_to(self.repository.layers)

    def expand(self, text: str) -> str:
        """Expressions filled in; an output that no step has given is empty, as at GitHub."""

        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self.known and not name.startswith(_STEPS):
                raise UnknownError(f"{name} in job {self.key}")
            return self.known.get(name, "")

        filled = _EXPRESSION.sub(one, text)
        if "${{" in filled:
            raise UnknownError(f"expression {filled}")
        return filled

    def _shell(self, step: Mapping[str, Any]) -> tuple[bool, str]:
        if "${{" in step["run"]:
            raise UnknownError(f"an expression in the script of {step['name']}")
        settings = self.job["defaults"]["run"]
        script, told, added = (self.temp / f"step.{name}" for name in ("sh", "output", "env"))
        script.write_text(step["run"], "utf-8")
        told.write_text("")
        added.write_text("")
        environment = {
            **inherited(),
            **self.repository.environment,
            **self.repository.defaults,
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_OUTPUT": str(told),
            "GITHUB_ENV": str(added),
            **self.env,
            **self.added,
            **{name: self.expand(str(text)) for name, text in step.get("env", {}).items()},
        }
        environment["PATH"] = f"{self.bin}:{environment['PATH']}" if self.bin else environment["PATH"]
        done = run_bash(script, str(self.sources / settings.get("working-directory", "")), environment)
        self.added |= dict(line.split("=", 1) for line in added.read_text().splitlines())
        for line in told.read_text().splitlines():
            name, _, text = line.partition("=")
            self.known[f"{_STEPS}{step['id']}.outputs.{name}"] = text
        return done.returncode == 0, done.stdout

    def _use(self, step: Mapping[str, Any]) -> bool:
        action, _, commit = step["uses"].partition("@")
        given = {name: self.expand(str(text)) for name, text in step.get("with", {}).items()}
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise UnknownError(f"{action} at {commit}")
        match action:
            case "actions/checkout" if given["persist-credentials"] == "False":
                shutil.copytree(self.repository.root, self.sources, dirs_exist_ok=True)
            case "actions/setup-python":
                if given["python-version"] != f"{sys.version_info.major}.{sys.version_info.minor}":
                    raise UnknownError(f"Python {given['python-version']}")
                self.bin = str(Path(sys.executable).parent)
            case "actions/upload-artifact":
                self.run.keep(given["name"], Path(given["path"]))
            case _:
                raise UnknownError(f"step {step}")
        return True


def _needed(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


def _is_due(condition: str, run: Run) -> bool:
    match = _TOUCHED.fullmatch(condition)
    if condition and not match:
        raise UnknownError(f"condition {condition} of a job")
    return not match or match[3] in yaml.safe_load(run.outputs[match[1], match[1]][match[2]])
