"""The pipeline job that an accelerator project's `@pipeline` function makes, as `pipeline.yml`. Pure.

What comes in is plain data of the job that azure-ai-ml built: steps, their component files and bindings.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from edgeferry.domain.accelerator import CONFIG_FILE, Edit, Origin, Placed
from edgeferry.domain.accelerator_component import PREDICTIONS
from edgeferry.domain.pipeline import REFERENCE, REGISTERED
from edgeferry.errors import DefinitionError

FILL_IN = "edgeferry-fill-in-"
"""Begins a value that nobody gave: what follows is the option of the team's script that was left open."""
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json"
_STEP_OUTPUT = re.compile(r"parent\.jobs\.(\w+)\.outputs\.(\w+)")


@dataclass(frozen=True)
class Job:
    """What the function made."""

    origin: Origin
    """The function."""
    steps: Mapping[str, Mapping[str, Any]]
    """`component` (a path below the project), `inputs`, `outputs`, `environment_variables`, by name."""
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    display_name: str = ""
    description: str = ""
    experiment_name: str = ""
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Carried:
    """What the rest of the import knows of the job's surroundings."""

    model: str
    registering: str
    """The step that registers; "" when none does."""
    predictions: tuple[str, str]
    """The step and its output that hold the predictions; ("", "") when there is none."""
    component_of: Callable[[str], str]
    """The new place of a component file, from the pipeline's folder."""
    place_data: Callable[[str], str | None]
    """The new place of a path input, from the pipeline's folder; None when it is not in the project."""


def parse_job(facts: Mapping[str, Any], origin: Origin) -> Job:
    """The job; DefinitionError when a step has no component file or the steps wait for each other."""
    steps = facts["steps"]
    for name, step in steps.items():
        if not step.get("component"):
            raise DefinitionError(
                f"step `{name}` is made in Python, and not loaded from a component file",
                fix="write it as mlops/MODEL/components/STEP.yml and load it by load_component(source=…)",
                file=origin.file,
                line=origin.line,
            )
    job = Job(
        origin,
        steps,
        facts["inputs"],
        facts["outputs"],
        facts["settings"],
        facts.get("display_name") or "",
        facts.get("description") or "",
        facts.get("experiment_name") or "",
        facts.get("tags"),
    )
    try:
        tuple(TopologicalSorter({name: _needs(step) for name, step in steps.items()}).static_order())
    except CycleError as error:
        raise DefinitionError(
            f"the steps wait for each other: {' → '.join(error.args[1])}",
            fix="take one of these bindings out of the pipeline function",
            file=origin.file,
            line=origin.line,
        ) from error
    return job


def find_predictions(
    job: Job, predicting: Sequence[str], folders: Callable[[str], Sequence[str]]
) -> tuple[str, str]:
    """The step and output with the predictions: of a step that predicts and has one folder output, the last
    such; `folders`: a step's folder outputs. ("", "") when there is none."""
    found = [(step, folders(step)[0]) for step in predicting if len(folders(step)) == 1]
    return found[-1] if found else ("", "")


def model_name_of(job: Job, step: str) -> tuple[str, str]:
    """The registering step's input that is the model's name, and the literal it gets; ("", "") when none."""
    for name, value in job.steps[step]["inputs"].items():
        if re.fullmatch(r"(registered_)?model_?name", name):
            match = REFERENCE.fullmatch(str(value))
            parent = match[1].removeprefix("parent.inputs.") if match else ""
            return name, str(job.inputs.get(parent, "")) if match else str(value)
    return "", ""


def make_pipeline(job: Job, carried: Carried) -> tuple[dict[str, Any], list[Placed], list[Edit]]:
    """The pipeline file's document, where the job's own settings went, and what was left open."""
    placed: list[Placed] = []
    edits: list[Edit] = []
    file = f"models/{carried.model}/pipeline.yml"

    def keep(what: str, value: object, place: str, reason: str) -> None:
        placed.append(Placed(what, str(value), place, reason, job.origin))

    document: dict[str, Any] = {
        "$schema": _SCHEMA,
        "type": "pipeline",
        "display_name": job.display_name or carried.model,
        "experiment_name": job.experiment_name or carried.model,
    }
    if job.description:
        document["description"] = job.description
    if job.tags:
        document["tags"] = {name: str(value) for name, value in job.tags.items()}
        keep("tags", ", ".join(job.tags), f"{file}: tags", "as they are")
    document["inputs"] = {
        name: _input(name, value, carried, job, edits) for name, value in job.inputs.items()
    }
    outputs = {name: {"type": spec.get("type", "uri_folder")} for name, spec in job.outputs.items()}
    for name, spec in job.outputs.items():
        if spec.get("mode"):
            outputs[name]["mode"] = spec["mode"]
    if carried.registering:
        outputs[REGISTERED] = {"type": "uri_file"}
    if outputs:
        document["outputs"] = outputs
    settings = {
        name: str(value)
        for name, value in job.settings.items()
        if name in ("default_compute", "default_datastore") and value
    }
    for name, value in settings.items():
        keep(name, value, f"{file}: settings.{name}", "for runs on Azure ML")
    if settings:
        document["settings"] = settings
    if job.settings.get("force_rerun"):
        reason = "unchanged steps are reused; `force_rerun: true` below `settings:` brings it back"
        keep("force_rerun", "True", "", reason)
    document["jobs"] = {name: _step(name, step, carried) for name, step in job.steps.items()}
    keep("@pipeline", len(job.steps), file, "the graph that the function builds, as Azure ML YAML")
    return document, placed, edits


def _input(name: str, value: Any, carried: Carried, job: Job, edits: list[Edit]) -> Any:
    if not isinstance(value, Mapping):
        if isinstance(value, str) and value.startswith(FILL_IN):
            option = value.removeprefix(FILL_IN)
            problem = (
                f"the pipeline's input `{name}` comes from --{option}, which no key of {CONFIG_FILE} gives"
            )
            fix = f"models/{carried.model}/pipeline.yml: write its value below `inputs:`, in place of {value}"
            edits.append(Edit(job.origin, problem, fix))
        return value
    path = str(value.get("path") or "")
    place = carried.place_data(path)
    made = {"type": value.get("type") or "uri_folder", "path": place if place is not None else path}
    if place is None:
        problem = f"the pipeline's input `{name}` is {path or 'nothing'}, which is not in the project"
        fix = f"give a folder: edgeferry ship {carried.model} --input {name}=FOLDER; or write it into `path:`"
        edits.append(Edit(job.origin, problem, fix))
    return made


def _step(name: str, step: Mapping[str, Any], carried: Carried) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "command", "component": carried.component_of(step["component"])}
    inputs = dict(step["inputs"])
    outputs = dict(step["outputs"])
    if name == carried.registering:
        outputs[REGISTERED] = "${{parent.outputs.registered}}"
        if carried.predictions[0]:
            source, output = carried.predictions
            inputs[PREDICTIONS] = f"${{{{parent.jobs.{source}.outputs.{output}}}}}"
    for section, values in (
        ("inputs", inputs),
        ("outputs", outputs),
        ("environment_variables", step.get("environment_variables") or {}),
    ):
        if values:
            made[section] = values
    return made


def sources_of(step: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The step and output that each bound input takes, by the input's name."""
    found = {}
    for name, value in step["inputs"].items():
        reference = REFERENCE.fullmatch(str(value))
        match = _STEP_OUTPUT.fullmatch(reference[1]) if reference else None
        if match:
            found[name] = (match[1], match[2])
    return found


def _needs(step: Mapping[str, Any]) -> set[str]:
    """The steps whose outputs it is given."""
    return {source for source, _ in sources_of(step).values()}


def below(path: str, *, of: str) -> str:
    """A path of the project, from the folder `of` of it."""
    return posixpath.relpath(path, of)
