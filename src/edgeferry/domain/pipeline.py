"""The training graph: a pipeline of command components, and what became of one run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeferry.domain.fields import nearest
from edgeferry.domain.secret import is_secret, is_secret_value
from edgeferry.errors import UsageError

Value = str | int | float | bool
"""What a literal input holds; for a path input, the path as text."""

FOLDERS = ("uri_folder", "mlflow_model")
PATHS = (*FOLDERS, "uri_file")
LITERALS = ("string", "number", "integer", "boolean")

REGISTERED = "registered"
"""The pipeline output that names the registered model version: a JSON file with name, version, run_id."""

REFERENCE = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
GROUP = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
SHELL = re.compile(r"[|&;<>()$`*?~\n]")
"""Signs that only a shell can read."""


@dataclass(frozen=True)
class Input:
    """A declared input; `default` of a path input is a path."""

    type: str
    default: Value | None = None
    optional: bool = False


@dataclass(frozen=True)
class StepEnvironment:
    """The libraries a step runs in: a Python version (empty: any) and pip requirements."""

    conda_file: str
    image: str
    python: str = ""
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Component:
    """The reusable definition of a step: a command with declared inputs and outputs."""

    name: str
    command: str
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    """Output types by name."""
    code: str
    """The folder the command runs in; empty when it needs none."""
    environment: StepEnvironment
    variables: Mapping[str, str]
    """Environment variables of the command."""
    deterministic: bool = True
    """False when the same inputs may give other outputs: such a step is never reused."""


@dataclass(frozen=True)
class ParentInput:
    """A step's input bound to an input of the pipeline."""

    name: str


@dataclass(frozen=True)
class StepOutput:
    """A step's input bound to an output of an earlier step."""

    step: str
    output: str


@dataclass(frozen=True)
class Step:
    """One node of the graph; an input absent from `inputs` takes its component's default."""

    name: str
    component: Component
    inputs: Mapping[str, Value | ParentInput | StepOutput]
    outputs: Mapping[str, str]
    """The pipeline outputs that this step provides: pipeline output by own output."""
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Pipeline:
    """The graph, its steps in an order that can run one by one."""

    name: str
    experiment: str
    inputs: Mapping[str, Input]
    steps: tuple[Step, ...]
    reuse: bool = True
    """False when `settings.force_rerun` asks for every step to run."""

    @property
    def registering_step(self) -> Step | None:
        """The step that provides the output `registered`."""
        return next((step for step in self.steps if REGISTERED in step.outputs.values()), None)


@dataclass(frozen=True)
class Registration:
    """The model version that one run registered."""

    name: str
    version: str
    run_id: str


@dataclass(frozen=True)
class StepResult:
    """What became of one step."""

    name: str
    state: Literal["ran", "reused", "failed"]
    seconds: float
    outputs: Mapping[str, str]
    """Absolute paths by output name."""
    log: str
    """Absolute path of the step's log."""
    reason: str = ""
    """Why it failed, in words; empty otherwise."""


@dataclass(frozen=True)
class Run:
    """One execution of a pipeline; steps after a failed one are absent."""

    steps: tuple[StepResult, ...]
    registered: Registration | None = field(default=None)
    """What this very run's registering step recorded, whether it ran or was reused."""

    @property
    def failed(self) -> StepResult | None:
        """The step that failed, if one did."""
        return next((step for step in self.steps if step.state == "failed"), None)


def bind_inputs(pipeline: Pipeline, overrides: Mapping[str, str]) -> Mapping[str, Value]:
    """The value of every pipeline input, `overrides` (text, as typed) first.

    Raises UsageError when an override names no input or does not fit its type, or an input has no value or
    holds a secret: inputs stand in process lists, in what is sent, and in what is remembered of a run.
    """
    for name in overrides:
        if name not in pipeline.inputs:
            raise UsageError(f"the pipeline has no input `{name}`", fix=nearest(name, pipeline.inputs))
    values: dict[str, Value] = {}
    for name, spec in pipeline.inputs.items():
        value = _read(overrides[name], spec.type, name) if name in overrides else spec.default
        if value is None:
            raise UsageError(f"the pipeline's input `{name}` has no value", fix=f"give it: {name}=…")
        named_so = spec.type not in PATHS and is_secret(name, value)
        if isinstance(value, str) and (named_so or is_secret_value(value)):
            raise UsageError(
                f"the pipeline's input `{name}` holds a secret in the clear",
                fix="keep it in a vault, give keyvault://VAULT/NAME, and let the step fetch it",
            )
        values[name] = value
    return values


def render_command(
    component: Component, values: Mapping[str, str], outputs: Mapping[str, str]
) -> tuple[str, ...]:
    """The command as an argument vector; `values` lacks optional inputs without value.

    Values go in as they are, whatever characters they hold. A command that uses the shell's own signs
    becomes `/bin/bash -c`, as on Azure ML, with quoted values.
    """

    def fill(template: str, quote: bool) -> str:
        def one(match: re.Match[str]) -> str:
            where, _, name = match[1].partition(".")
            value = values[name] if where == "inputs" else outputs[name]
            return shlex.quote(value) if quote else value

        return REFERENCE.sub(one, template)

    def group(match: re.Match[str]) -> str:
        return match[1] if all(name in values for name in inputs_in(match[1])) else ""

    template = GROUP.sub(group, component.command).strip()
    if SHELL.search(REFERENCE.sub("", template)):
        return ("/bin/bash", "-c", fill(template, quote=True))
    tight = REFERENCE.sub(lambda match: "${{" + match[1] + "}}", template)
    return tuple(fill(word, quote=False) for word in shlex.split(tight))


def parse_registration(document: object) -> Registration:
    """What a registering step wrote: {"name", "version", "run_id"}; ValueError when it is something else."""
    if isinstance(document, dict):
        name, version, run_id = (document.get(key) for key in ("name", "version", "run_id"))
        if isinstance(name, str) and isinstance(version, str | int) and isinstance(run_id, str):
            return Registration(name, str(version), run_id)
    raise ValueError('expected a JSON object with "name", "version" and "run_id"')


def inputs_in(template: str) -> set[str]:
    """The names of the inputs that a command, or a part of it, refers to."""
    references = (match.partition(".") for match in REFERENCE.findall(template))
    return {name for where, _, name in references if where == "inputs"}


def _read(written: str, type_: str, name: str) -> Value:
    try:
        match type_:
            case "integer":
                return int(written)
            case "number":
                return float(written)
            case "boolean":
                return {"true": True, "false": False}[written.lower()]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"`{written}` is no {type_} for the input `{name}`", fix=f"give a {type_}"
        ) from error
    return written
