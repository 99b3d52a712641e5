"""Train: run the model's pipeline and take the version that this very run registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.pipeline import REGISTERED, Run, StepResult
from edgeferry.errors import DefinitionError, RefusedError
from edgeferry.ports import Services


@dataclass(frozen=True)
class Trained:
    """A run and the model version it registered; `created` is False when nothing had changed since."""

    run: Run
    version: ModelVersion
    created: bool


def train(services: Services, definition: ModelDefinition, inputs: Mapping[str, str]) -> Trained:
    """The version the run registered, found by that run and never by the highest number.

    `inputs` override the pipeline's own. RefusedError when a step fails, with the end of its log.
    """
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
    run = services.runner.run(pipeline, inputs, lambda step: services.say(_render(step)))
    if run.failed:
        raise _refused(definition, run.failed)
    registered = run.registered
    assert registered is not None  # the runner fails a registering step that recorded nothing
    version = services.tracking.find_version(registered.name, registered.version)
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
    created = any(step.name == last.name and step.state == "ran" for step in run.steps)
    return Trained(run, version, created)


def _render(step: StepResult) -> str:
    return f"{step.name}: {step.state} ({step.seconds:.1f} s)"


def _refused(definition: ModelDefinition, step: StepResult) -> RefusedError:
    tail = "".join(f"\n    {line}" for line in step.last_lines)
    return RefusedError(
        f"{definition.name}: step {step.name} failed: it {step.reason}{tail}",
        fix=f"its whole log: {step.log}",
    )
