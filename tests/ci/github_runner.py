"""Runs GitHub workflows on this machine, step by step, as far as ours use them: the counterpart of `runner`,
with the same steps, runs and bash.

What it does not know, it refuses. Secrets are those of the job's environment, and steps see them where their
own `env` maps them; a job without an environment has none.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.ci.runner import Run, StepRun, UnknownError, inherited, run_bash, runs_after

_EXPRESSION = re.compile(r"\$\{\{ ([\w.-]+) \}\}")
_TOUCHED = re.compile(r"contains\(fromJSON\(needs\.(\w+)\.outputs\.(\w+)\), '(\w+)'\)")


@dataclass
class Repository:
    """One repository at GitHub, its environments' secrets, and as many runners as a run needs."""

    folder: Path
    root: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    """By environment: secrets and variables, by name."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Default variables of each step, as GitHub sets them."""
    token: str = "token"
    environment: dict[str, str] = field(default_factory=dict)
    """Further environment of the runners' machine."""
    layers: Path = Path()

    def run(
        self,
        file: str,
        *,
        needs: Mapping[str, Mapping[str, str]] | None = None,
        pretend: Collection[str] = (),
        before: Mapping[str, Callable[[Path], None]] | None = None,
    ) -> Run:
        """The workflow's run. Jobs in `needs` have run, with these outputs; of those in `pretend` it is only
        noted, as a step `due`, that they would. `before` is called ahead of a step, with the sources."""
        document = yaml.safe_load((self.root / file).read_text("utf-8"))
        if document["permissions"] != {}:
            raise UnknownError("permissions of a whole workflow")
        run, outputs = Run(), {job: dict(given) for job, given in (needs or {}).items()}
        good = dict.fromkeys(outputs, True)
        for key, job in document["jobs"].items():
            if key in outputs:
                continue
            wanted = job.get("needs", [])
            wanted = [wanted] if isinstance(wanted, str) else wanted
            if not all(good[each] for each in wanted) or not _is_due(job.get("if", ""), outputs):
                run.steps += [StepRun(key, step["name"], "skipped") for step in job["steps"]]
                good[key] = not wanted or all(good[each] for each in wanted)
            elif key in pretend:
                run.steps.append(StepRun(key, "(all)", "due"))
            else:
                runner = _Runner(self, run, document, key, job, outputs, before or {})
                good[key] = runner.work()
                outputs[key] = {n: runner.expand(str(v)) for n, v in job.get("outputs", {}).items()}
        return run


class _Runner:
    def __init__(
        self,
        repository: Repository,
        run: Run,
        document: Mapping[str, Any],
        key: str,
        job: Mapping[str, Any],
        outputs: Mapping[str, Mapping[str, str]],
        before: Mapping[str, Callable[[Path], None]],
    ) -> None:
        self.repository, self.run, self.job, self.key, self.before = repository, run, job, key, before
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
        for name, given in outputs.items():
            self.known |= {f"needs.{name}.outputs.{each}": text for each, text in given.items()}
        for name, text in repository.secrets.get(job.get("environment", ""), {}).items():
            self.known |= {f"secrets.{name}": text, f"vars.{name}": text}
        self.env = {n: self.expand(str(t)) for n, t in {**document["env"], **job.get("env", {})}.items()}

    def work(self) -> bool:
        """Whether the job succeeded."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.sources.mkdir(parents=True)
        self.temp.mkdir()
        good = True
        for step in self.job["steps"]:
            title = step["name"]
            if not runs_after(step.get("if", "succeeded()"), good):
                self.run.steps.append(StepRun(self.key, title, "skipped"))
                continue
            if title in self.before:
                self.before[title](self.sources)
            since = time.monotonic()
            done, output = self._shell(step) if "run" in step else (self._use(step), "")
            state = "succeeded" if done else "failed"
            self.run.steps.append(StepRun(self.key, title, state, output, time.monotonic() - since))
            good = good and done
        return good

    def expand(self, text: str) -> str:
        """Expressions filled in; an output that no step has given is empty, as at GitHub."""

        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self.known and not name.startswith("steps."):
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
            self.known[f"steps.{step['id']}.outputs.{name}"] = text
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
            case "actions/cache" if Path(given["path"]).name == "images":
                Path(given["path"]).parent.mkdir(parents=True, exist_ok=True)
                Path(given["path"]).symlink_to(self.repository.layers)
            case "actions/upload-artifact":
                target = self.repository.folder / "artifacts" / given["name"]
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(given["path"], target)
            case _:
                raise UnknownError(f"step {step}")
        return True


def _is_due(condition: str, outputs: Mapping[str, Mapping[str, str]]) -> bool:
    match = _TOUCHED.fullmatch(condition)
    if condition and not match:
        raise UnknownError(f"condition {condition} of a job")
    return not match or match[3] in yaml.safe_load(outputs[match[1]][match[2]])
