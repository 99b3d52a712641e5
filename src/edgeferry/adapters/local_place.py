"""This machine as a place to run pipelines: each run in a thread of this process, ended with it.

Nothing is lost by that: the steps that had ended are kept, and the next run takes them over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.step_process import CanceledError
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import Pipeline, StepResult
from edgeferry.domain.run import Capabilities, Preview, RunState, State, StepState
from edgeferry.errors import UsageError

_JOIN_S = 10.0


class LocalPlace:
    """Implements the `Place` port."""

    def __init__(self, runner: LocalRunner) -> None:
        self._runner = runner
        self._runs: dict[str, _Run] = {}

    def capabilities(self) -> Capabilities:
        """A run does not outlive this process."""
        return Capabilities("local", outlives_process=False, poll_s=0.05)

    def preview(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> Preview:
        """pipeline.yml as it is: nothing is sent."""
        self._runner.check(pipeline, inputs)
        return Preview(Path(model.pipeline).read_text("utf-8"), {}, ("it runs here: nothing is sent",))

    def submit(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> None:
        """Starts the thread; UsageError when an input is unknown, missing or not here."""
        self._runner.check(pipeline, inputs)
        run = _Run(run_id, self._runner, pipeline, inputs)
        self._runs[run_id] = run
        run.start()

    def poll(self, run_id: str) -> RunState:
        """Where the run stands; what its thread raised is raised here."""
        return self._find(run_id).look()

    def logs(self, run_id: str, step: str, after: int) -> bytes:
        """The step's log from byte `after` on."""
        return self._find(run_id).read_log(step, after)

    def cancel(self, run_id: str) -> None:
        """Ends the running step with all its processes."""
        self._find(run_id).cancel()

    def _find(self, run_id: str) -> _Run:
        if run_id not in self._runs:
            raise UsageError(
                f"no run {run_id} in this process",
                fix="a run on this machine ends with the command that started it: train again",
            )
        return self._runs[run_id]


class _Run:
    """One run and its thread; `_lock` guards what the thread writes and others read."""

    def __init__(self, id_: str, runner: LocalRunner, pipeline: Pipeline, inputs: Mapping[str, str]) -> None:
        self._runner = runner
        self._pipeline = pipeline
        self._inputs = inputs
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._logs: dict[str, Path] = {}
        self._state = RunState(
            id_, "queued", tuple(StepState(step.name, "queued") for step in pipeline.steps)
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=f"run {id_}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> RunState:
        with self._lock:
            if self._error is not None:
                raise self._error
            return self._state

    def read_log(self, step: str, after: int) -> bytes:
        with self._lock:
            path = self._logs.get(step)
        if path is None:
            return b""
        try:
            with path.open("rb") as file:
                file.seek(after)
                return file.read()
        except FileNotFoundError:  # on its way from the running step's folder to where it is kept
            return b""

    def cancel(self) -> None:
        self._end.set()
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        try:
            run = self._runner.run(
                self._pipeline, self._inputs, self._note_end, self._note_start, self._end.is_set
            )
        except CanceledError:
            self._change("canceled", lambda step: step if step.ended else replace(step, state="canceled"))
        except BaseException as error:  # noqa: BLE001 - whoever polls is told, whatever it was
            with self._lock:
                self._error = error
        else:
            with self._lock:
                self._state = replace(self._state, registered=run.registered)
            self._change("failed" if run.failed else "completed")

    def _note_start(self, name: str, log: Path) -> None:
        with self._lock:
            self._logs[name] = log
        self._change("running", lambda step: replace(step, state="running") if step.name == name else step)

    def _note_end(self, result: StepResult) -> None:
        ended = StepState(result.name, result.state, result.seconds, result.reason, result.log)
        with self._lock:
            self._logs[result.name] = Path(result.log)
        self._change("running", lambda step: ended if step.name == result.name else step)

    def _change(self, state: State, step: Callable[[StepState], StepState] = lambda step: step) -> None:
        with self._lock:
            steps = tuple(step(each) for each in self._state.steps)
            self._state = replace(self._state, state=state, steps=steps)
