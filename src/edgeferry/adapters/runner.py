"""Runs a pipeline on this machine: each step a process, in its own libraries, on a copy of its code.

What a step's result depends on is hashed: the command and its literals, the content of its input paths and
of its code, the exact versions in its environment. A step with a known hash is not run again; its
outputs are taken from `steps/<hash>/` of the state folder. The registering step is taken over only while
the version it registered still exists.

    environments/<hash>/   the libraries of steps (`step_environments.py`)
    steps/<hash>/          outputs/, log.txt, result.json: a step that succeeded
    steps/<hash>.failed/   log.txt of the last attempt
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeferry.adapters.lock import locked
from edgeferry.adapters.step_environments import StepEnvironments
from edgeferry.adapters.step_files import copy_code, hash_files, hash_path, list_code, list_files
from edgeferry.adapters.step_process import CanceledError, run_command
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.pipeline import (
    FOLDERS,
    PATHS,
    REGISTERED,
    ParentInput,
    Pipeline,
    Registration,
    Run,
    Step,
    StepOutput,
    StepResult,
    Value,
    bind_inputs,
    parse_registration,
    render_command,
)
from edgeferry.errors import UsageError
from edgeferry.surroundings import child_environment

_NOT_FOR_STEPS = re.compile(
    r"EDGEFERRY_|MLFLOW_|_MLFLOW_|VIRTUAL_ENV|PYTHONHOME|PYTHONPATH|PYTHONDONTWRITEBYTECODE"
)


def _nobody() -> bool:
    return False


class LocalRunner:
    """Implements the `Runner` port, and runs pipelines for `LocalPlace`.

    `state`: the state folder. `uv`: path of the uv program. `say`: a line for a person, before a long wait.
    """

    def __init__(self, state: Path, tracking: MlflowTracking, uv: str, say: Callable[[str], None]) -> None:
        self._state = state.resolve()
        self._tracking = tracking
        self._environments = StepEnvironments(self._state / "environments", uv, say)

    def check(self, pipeline: Pipeline, inputs: Mapping[str, str]) -> None:
        """UsageError when an input is unknown, missing, or names what is not on this machine."""
        _existing(pipeline, bind_inputs(pipeline, inputs))

    def run(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, str],
        on_step: Callable[[StepResult], None],
        on_start: Callable[[str, Path], None] = lambda step, log: None,
        asked_to_end: Callable[[], bool] = _nobody,
    ) -> Run:
        """The run, ended by its first failed step; UsageError when an input is unknown or missing.

        `on_start` learns each step that runs, and its log while it does. Whatever interrupts the run ends the
        running step with all its processes; CanceledError when it was `asked_to_end`.
        """
        values = _existing(pipeline, bind_inputs(pipeline, inputs))
        results: dict[str, StepResult] = {}
        for step in pipeline.steps:
            if asked_to_end():
                raise CanceledError
            result = self._step(pipeline, step, values, results, partial(on_start, step.name), asked_to_end)
            results[step.name] = result
            on_step(result)
            if result.state == "failed":
                break
        last = pipeline.registering_step
        done = last is not None and last.name in results and results[last.name].state != "failed"
        return Run(
            tuple(results.values()), _registration(last, results[last.name]) if last and done else None
        )

    def python_of(self, pipeline: Pipeline) -> Path:
        """The interpreter of the registering step's environment (made when missing)."""
        step = pipeline.registering_step or pipeline.steps[-1]
        return self._environments.settle(step.component.environment)[0]

    def versions_of(self, pipeline: Pipeline) -> Sequence[str]:
        """What that environment holds, as `name==version`."""
        step = pipeline.registering_step or pipeline.steps[-1]
        lines = self._environments.settle(step.component.environment)[1].splitlines()
        return tuple(line for line in lines if re.fullmatch(r"[\w.-]+==\S+", line))

    def trained_version(self, pipeline: Pipeline) -> str | None:
        """See the port. What a step kept is looked for under the name it would have now."""
        last = pipeline.registering_step
        if last is None or not any((self._state / "steps").glob("*/result.json")):
            return None
        values = _existing(pipeline, bind_inputs(pipeline, {}))
        results: dict[str, StepResult] = {}
        for step in pipeline.steps:
            place, _ = self._environments.place_of(step.component.environment)
            lock = place / "edgeferry.lock"
            if not lock.is_file():
                return ""
            key = _key(step, _arguments(step, values, results), lock.read_text("utf-8"))
            kept = self._kept(step, self._state / "steps" / key, registers=False)
            if kept is None:
                return ""
            results[step.name] = kept
        return _registration(last, results[last.name]).version

    def _step(
        self,
        pipeline: Pipeline,
        step: Step,
        values: Mapping[str, Value],
        results: Mapping[str, StepResult],
        on_start: Callable[[Path], None],
        asked_to_end: Callable[[], bool],
    ) -> StepResult:
        started = time.monotonic()
        python, lock = self._environments.settle(step.component.environment)
        arguments = _arguments(step, values, results)
        key = _key(step, arguments, lock)
        place = self._state / "steps" / key
        with locked(place.with_suffix(".lock")):
            if pipeline.reuse and step.component.deterministic:
                kept = self._kept(step, place, registers=step is pipeline.registering_step)
                if kept:
                    return replace(kept, seconds=time.monotonic() - started)
            self._tracking.prepare(pipeline.experiment)
            environment = self._variables(python, pipeline.experiment, step)
            on_start(place.with_suffix(".running") / "log.txt")
            registers = pipeline.registering_step is step
            result = _execute(step, place, arguments, environment, registers, asked_to_end)
            return replace(result, seconds=time.monotonic() - started)

    def _kept(self, step: Step, place: Path, *, registers: bool) -> StepResult | None:
        """The result kept at `place`, if it is complete, unchanged, and its model version still exists."""
        try:
            recorded = json.loads((place / "result.json").read_text("utf-8"))["outputs"]
        except (FileNotFoundError, ValueError, KeyError):
            return None
        outputs = {name: place / "outputs" / name for name in step.component.outputs}
        if any(not path.exists() or hash_path(path) != recorded.get(name) for name, path in outputs.items()):
            return None
        result = _result(step, "reused", place)
        if registers:
            mine = _registration(step, result)
            version = self._tracking.find_version(mine.name, mine.version)
            if version is None or version.run_id != mine.run_id:
                return None
        return result

    def _variables(self, python: Path, experiment: str, step: Step) -> dict[str, str]:
        inherited = {k: v for k, v in child_environment().items() if not _NOT_FOR_STEPS.match(k)}
        return {
            **inherited,
            "PATH": f"{python.parent}:{inherited.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(python.parent.parent),
            "PYTHONUNBUFFERED": "1",
            **self._tracking.step_environment(experiment),
            **step.component.variables,
            **step.variables,
        }


def _existing(pipeline: Pipeline, values: Mapping[str, Value]) -> Mapping[str, Value]:
    """The values, their paths absolute; UsageError when a path is not here or of the wrong kind."""
    placed = dict(values)
    for name, spec in pipeline.inputs.items():
        if spec.type not in PATHS:
            continue
        path = Path(str(values[name])).expanduser().resolve()
        kind = "folder" if spec.type in FOLDERS else "file"
        if not (path.is_dir() if kind == "folder" else path.is_file()):
            raise UsageError(
                f"the input `{name}` is no {kind} on this machine: {values[name]}",
                fix=f"give a {kind}: {name}=PATH",
            )
        placed[name] = str(path)
    return placed


def _arguments(
    step: Step, values: Mapping[str, Value], results: Mapping[str, StepResult]
) -> Mapping[str, Value]:
    """The value of each of the step's inputs; optional ones without value are absent."""
    arguments: dict[str, Value] = {}
    for name, declared in step.component.inputs.items():
        match step.inputs.get(name, declared.default):
            case None:
                continue
            case ParentInput(parent):
                arguments[name] = values[parent]
            case StepOutput(other, output):
                arguments[name] = results[other].outputs[output]
            case value:
                arguments[name] = value
    return arguments


def _key(step: Step, arguments: Mapping[str, Value], lock: str) -> str:
    """The hash of all that the step's outputs depend on."""
    component = step.component
    identity: dict[str, Any] = {
        "command": component.command,
        "inputs": {
            name: hash_path(Path(str(value))) if component.inputs[name].type in PATHS else value
            for name, value in arguments.items()
        },
        "outputs": dict(component.outputs),
        "variables": {**component.variables, **step.variables},
        "code": hash_files(Path(component.code), list_code(component)) if component.code else "",
        "lock": lock,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _execute(
    step: Step,
    place: Path,
    arguments: Mapping[str, Value],
    environment: Mapping[str, str],
    registers: bool,
    asked_to_end: Callable[[], bool],
) -> StepResult:
    """The result of running the step; when it succeeds, it is kept at `place`."""
    work = place.with_suffix(".running")
    failed = place.with_suffix(".failed")
    for old in (work, failed):
        shutil.rmtree(old, ignore_errors=True)
    try:
        reason = _call(step, work, arguments, environment, asked_to_end)
        result = _result(step, "ran", work)
        if not reason:
            reason = _wrong_outputs(step, result, registers)
        shutil.rmtree(work / "code", ignore_errors=True)
        if reason:
            shutil.rmtree(work / "outputs")
            work.rename(failed)
            return StepResult(step.name, "failed", 0, {}, str(failed / "log.txt"), reason)
        recorded = {name: hash_path(Path(path)) for name, path in result.outputs.items()}
        for path in result.outputs.values():
            for file in list_files(Path(path)):
                file.chmod(0o444)
        (work / "result.json").write_text(json.dumps({"outputs": recorded}), "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        work.rename(place)
        return _result(step, "ran", place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _call(
    step: Step,
    work: Path,
    arguments: Mapping[str, Value],
    environment: Mapping[str, str],
    asked_to_end: Callable[[], bool],
) -> str:
    """Why the step's command failed; "" when it did not."""
    outputs = {name: work / "outputs" / name for name in step.component.outputs}
    (work / "outputs").mkdir(parents=True)
    for name, path in outputs.items():
        if step.component.outputs[name] in FOLDERS:
            path.mkdir()
    copy_code(step.component, work / "code")
    command = render_command(
        step.component,
        {name: str(value) for name, value in arguments.items()},
        {name: str(path) for name, path in outputs.items()},
    )
    return run_command(command, work / "code", environment, work / "log.txt", asked_to_end)


def _wrong_outputs(step: Step, result: StepResult, registers: bool) -> str:
    for name, path in result.outputs.items():
        if not Path(path).exists():
            return f"ended well, but did not write its output `{name}`"
    if registers:
        try:
            _registration(step, result)
        except ValueError as error:
            return f"recorded no model version: {error}"
    return ""


def _registration(step: Step, result: StepResult) -> Registration:
    """What the registering step recorded; ValueError when it did not."""
    output = next(own for own, parent in step.outputs.items() if parent == REGISTERED)
    path = Path(result.outputs[output])
    try:
        return parse_registration(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ValueError(f"`{output}` cannot be read as a file") from error


def _result(step: Step, state: Any, place: Path) -> StepResult:
    outputs = {name: str(place / "outputs" / name) for name in step.component.outputs}
    return StepResult(step.name, state, 0, outputs, str(place / "log.txt"))
