"""Train: run the model's pipeline where the settings say, and take the version that this very run registered.

Submitting and waiting are two halves: a run that outlives its process is waited for by whoever knows its id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.pipeline import REGISTERED, Pipeline, Step, bind_inputs
from edgeferry.domain.run import Preview, RunRecord, RunState, StepState, changes, pause_after
from edgeferry.errors import DefinitionError, LoginError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Services

LogLine = Callable[[str, str], None]
"""Told each line of a step's log: the step, the line."""

_PATIENCE_S = 600.0
_LAST_LINES = 15


@dataclass(frozen=True)
class Trained:
    """A run and the model version it registered; `created` is False when nothing had changed since."""

    run: RunState
    version: ModelVersion
    created: bool


def train(
    services: Services,
    definition: ModelDefinition,
    inputs: Mapping[str, str],
    on_log: LogLine | None = None,
    deadline_s: float = 0.0,
) -> Trained:
    """The version the run registered, found by that run and never by the highest number.

    `inputs` override the pipeline's own. RefusedError when a step fails, with the end of its log, or when it
    takes longer than `deadline_s` (0: as long as it takes).
    """
    return wait(services, definition, submit(services, definition, inputs), on_log, deadline_s)


def preview(services: Services, definition: ModelDefinition, inputs: Mapping[str, str]) -> Preview:
    """What training would send; nothing is sent."""
    pipeline, _ = _load(services, definition)
    return services.place.preview(_new_id(services, definition), definition, pipeline, inputs)


def submit(services: Services, definition: ModelDefinition, inputs: Mapping[str, str]) -> str:
    """The id of a run that is on its way; UsageError, and none remembered, when it cannot be."""
    pipeline, _ = _load(services, definition)
    bind_inputs(pipeline, inputs)  # before they are written down
    place = services.place.capabilities()
    run_id = _new_id(services, definition)
    if place.outlives_process:
        services.runs.add(
            RunRecord(run_id, definition.name, place.name, place.workspace, services.now(), dict(inputs))
        )
    try:
        services.place.submit(run_id, definition, pipeline, inputs)
    except (UsageError, LoginError):  # nothing was sent, so there is no run to remember
        services.runs.forget(run_id)
        raise
    return run_id


def find_run(services: Services, run_id: str) -> RunRecord:
    """What is remembered of the run; where nothing is, as on another machine than the one that submitted it,
    what its id says. UsageError when that is nothing, or the run is elsewhere than the settings say."""
    place = services.place.capabilities()
    model = run_id.rpartition("-")[0]
    record = services.runs.find(run_id)
    if record is None and model in services.project.model_names():
        return RunRecord(run_id, model, place.name, place.workspace, 0.0)
    if record is None:
        known = [each.id for each in services.runs.list_all()][-3:]
        raise UsageError(
            f"{run_id} is no run of this project: a run's id is its model's name, a dash, and more",
            fix=f"the last ones: {', '.join(known)}" if known else "edgeferry train MODEL --place azureml",
        )
    if (record.place, record.workspace) != (place.name, place.workspace):
        raise UsageError(
            f"{run_id} runs on {record.place} in {record.workspace}, not on {place.name} "
            f"{place.workspace}".rstrip(),
            fix="choose its environment with --env, or set azure.* to its workspace",
        )
    return record


def wait(
    services: Services,
    definition: ModelDefinition,
    run_id: str,
    on_log: LogLine | None = None,
    deadline_s: float = 0.0,
) -> Trained:
    """What the run registered, once it has ended. When this process is interrupted, a run that outlives it
    goes on, said aloud; another one is canceled."""
    _, last = _load(services, definition)
    place = services.place.capabilities()
    try:
        state = _Watch(services, run_id, on_log, deadline_s).until_end()
    except UsageError:  # there is no such run, or what it was started with is wrong
        raise
    except BaseException:
        if place.outlives_process:
            services.say(f"the run {run_id} is not ended by this")
            services.say(f"wait for it: edgeferry runs wait {run_id}; end it: edgeferry runs cancel {run_id}")
        else:
            services.place.cancel(run_id)
            services.say("the run is ended; steps that had ended are kept, and reused by the next one")
        raise
    if state.state != "completed":
        raise _refused(services, definition, state)
    return _find_trained(services, definition, last, state)


def _load(services: Services, definition: ModelDefinition) -> tuple[Pipeline, Step]:
    pipeline = services.project.load_pipeline(definition)
    last = pipeline.registering_step
    if last is None:
        raise DefinitionError(
            f"the pipeline does not say which model version it registered: it has no output `{REGISTERED}`",
            fix=f"bind the register step's file output to ${{{{parent.outputs.{REGISTERED}}}}}",
            key=("outputs",),
            file=definition.pipeline,
            line=1,
        )
    return pipeline, last


def _new_id(services: Services, definition: ModelDefinition) -> str:
    return f"{definition.name}-{services.new_id()[:12]}"


class _Watch:
    """Looks at a run until it has ended, tells what changed, and rides out a place that does not answer."""

    def __init__(self, services: Services, run_id: str, on_log: LogLine | None, deadline_s: float) -> None:
        self.services = services
        self.run_id = run_id
        self.on_log = on_log
        self.deadline_s = deadline_s
        self.read: dict[str, int] = {}
        self.whole: set[str] = set()  # logs told to their end
        self.cut: dict[str, bytes] = {}  # the begun last line of each log
        self.under_way = ExitStack()
        self.shown: dict[str, ExitStack] = {}

    def until_end(self) -> RunState:
        with self.under_way:
            return self._until_end()

    def _until_end(self) -> RunState:
        started = answered = self.services.now()
        pause = self.services.place.capabilities().poll_s
        far = self.services.place.capabilities().outlives_process
        before: RunState | None = None
        failures = 0
        while True:
            try:
                state = self.services.place.poll(self.run_id)
                news = changes(before, state)
                for step in news:
                    if not step.ended and (far or step.state == "running"):
                        self.services.say(_render(step))
                self._show(state)
                if self.on_log:
                    self._tell_logs(state, self.on_log)
                for step in news:
                    if step.ended:
                        self.services.say(_render(step))
                before, failures, answered = state, 0, self.services.now()
                if state.ended:
                    return state
            except OutsideError as error:
                # A run that lives in this process has ended with its error: it never answers again.
                if not (far and error.retryable) or self.services.now() - answered > _PATIENCE_S:
                    raise
                failures += 1
                self.services.say(f"asking again: {error.problem}")
            if self.deadline_s and self.services.now() - started > self.deadline_s:
                raise RefusedError(
                    f"the run {self.run_id} did not end within {self.deadline_s:g} s",
                    fix=f"edgeferry runs wait {self.run_id}" if far else "give it a longer --deadline",
                )
            self.services.sleep(pause_after(failures, pause))

    def _show(self, state: RunState) -> None:
        """Each step that runs is work under way."""
        for step in state.steps:
            if step.state == "running" and step.name not in self.shown:
                model = self.run_id.rpartition("-")[0]
                self.shown[step.name] = self.under_way.enter_context(ExitStack())
                self.shown[step.name].enter_context(self.services.work(f"train {model}: {step.name}"))
            elif step.ended and step.name in self.shown:
                self.shown.pop(step.name).close()

    def _tell_logs(self, state: RunState, tell: LogLine) -> None:
        for step in state.steps:
            if step.state not in ("running", "ran", "failed", "canceled") or step.name in self.whole:
                continue
            new = self.services.place.logs(self.run_id, step.name, self.read.get(step.name, 0))
            self.read[step.name] = self.read.get(step.name, 0) + len(new)
            *lines, rest = (self.cut.get(step.name, b"") + new).split(b"\n")
            if step.ended and rest:
                lines, rest = [*lines, rest], b""
            self.cut[step.name] = rest
            if step.ended:
                self.whole.add(step.name)
            for line in lines:
                tell(step.name, line.decode("utf-8", "replace").rstrip("\r"))


def _find_trained(services: Services, definition: ModelDefinition, last: Step, state: RunState) -> Trained:
    registered = state.registered
    version = services.tracking.find_version(registered.name, registered.version) if registered else None
    if registered is None:
        raise RefusedError(
            f"{definition.name}: the run {state.id} is completed, but recorded no model version",
            fix=f"let {last.name} write name, version and run_id of the version that it created",
        )
    if (
        version is None
        or version.run_id != registered.run_id
        or registered.name != definition.registered_model
    ):
        raise RefusedError(
            f"{definition.name}: step {last.name} recorded {registered.name} version {registered.version} of "
            f"run {registered.run_id}, which is not in the registry of {definition.registered_model}",
            fix=f"let {last.name} write name, version and run_id of the version that it created",
        )
    created = any(step.name == last.name and step.state == "ran" for step in state.steps)
    return Trained(state, version, created)


def _render(step: StepState) -> str:
    return f"{step.name}: {step.state}" + (f" ({step.seconds:.1f} s)" if step.ended else "")


def _refused(services: Services, definition: ModelDefinition, state: RunState) -> RefusedError:
    step = state.failed_step
    where = f": {state.page}" if state.page else ""
    if step is None:
        word = (
            "was canceled" if state.state == "canceled" else f"failed: {state.reason or 'no step says why'}"
        )
        return RefusedError(
            f"{definition.name}: the run {state.id} {word}",
            fix=f"look at it{where}" if where else "train again",
        )
    log = services.place.logs(state.id, step.name, 0).decode("utf-8", "replace").splitlines()
    tail = "".join(f"\n    {line}" for line in log[-_LAST_LINES:])
    return RefusedError(
        f"{definition.name}: step {step.name} failed: it {step.reason}{tail}",
        fix=f"its whole log: {step.log or f'edgeferry runs logs {state.id} {step.name}'}",
    )
