"""The training graph: an Azure ML v2 pipeline job of command components, and what became of one run.

The documents are plain Azure ML v2 files (schemas pipelineJob and commandComponent): what
`az ml job create -f pipeline.yml` takes is what is parsed here. Of those schemas this reads the part that
can run on any machine; a key outside it is refused by name instead of being ignored. Checked beyond what
Azure ML's own client checks offline: unknown keys, dangling references, kinds of inputs, cycles.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from edgeferry.domain.fields import At, check_keys, flag, mapping, nearest, text
from edgeferry.errors import DefinitionError, UsageError

Value = str | int | float | bool
"""What a literal input holds; for a path input, the path as text."""

FOLDERS = ("uri_folder", "mlflow_model")
PATHS = (*FOLDERS, "uri_file")
LITERALS = ("string", "number", "integer", "boolean")

REGISTERED = "registered"
"""The pipeline output that names the registered model version: a JSON file with name, version, run_id."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_GROUP = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_SHELL = re.compile(r"[|&;<>()$`*?~\n]")
_TAGS = ("$schema", "name", "version", "display_name", "description", "tags")


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
    exit_status: int = 0
    reason: str = ""
    """Why it failed, in words; empty otherwise."""
    last_lines: tuple[str, ...] = ()
    """The end of a failed step's log."""


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


def parse_component(document: Mapping[str, Any]) -> Component:
    """The component; paths stay as written and the environment has no requirements yet (`parse_conda`)."""
    check_keys(
        document,
        (
            *_TAGS,
            "type",
            "inputs",
            "outputs",
            "command",
            "code",
            "environment",
            "environment_variables",
            "is_deterministic",
        ),
    )
    if text(document, "type", "command") != "command":
        raise DefinitionError("not a command component", fix="only `type: command` runs here", key=("type",))
    inputs = {name: _parse_input(name, spec) for name, spec in mapping(document, "inputs").items()}
    outputs = {
        name: _parse_output(name, spec, ("outputs",)) for name, spec in mapping(document, "outputs").items()
    }
    command = text(document, "command")
    _check_command(command, inputs, outputs)
    return Component(
        name=text(document, "name"),
        command=command,
        inputs=inputs,
        outputs=outputs,
        code=text(document, "code", ""),
        environment=_parse_environment(document),
        variables=_parse_variables(document, ()),
        deterministic=flag(document, "is_deterministic", True),
    )


def parse_conda(document: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The Python version (empty: any) and the pip requirements, sorted, of a conda file.

    Step environments on this machine are made from pip's packages alone, so other conda packages are refused.
    """
    check_keys(document, ("name", "channels", "dependencies"))
    dependencies = document.get("dependencies")
    if not isinstance(dependencies, list):
        raise DefinitionError(
            "`dependencies` is not a list", fix="list python, pip and pip's packages", key=("dependencies",)
        )
    python, requirements = "", set()
    for index, item in enumerate(dependencies):
        at: At = ("dependencies", index)
        if isinstance(item, dict) and set(item) == {"pip"} and isinstance(item["pip"], list):
            for number, requirement in enumerate(item["pip"]):
                if not isinstance(requirement, str) or not re.match(r"[A-Za-z0-9]", requirement):
                    raise DefinitionError(
                        f"`{requirement}` is not a package requirement",
                        fix="write `name==version`; set indexes in uv's own configuration",
                        key=(*at, "pip", number),
                    )
                requirements.add(requirement.strip())
        elif isinstance(item, str) and re.fullmatch(r"pip\b.*", item):
            continue
        elif isinstance(item, str) and re.match(r"python\b", item):
            match = re.fullmatch(r"python(?:\s*={1,2}\s*(3\.\d+)(?:\.[\d*]+)?)?", item.strip())
            if not match:
                raise DefinitionError(f"cannot read `{item}`", fix="write it like `python=3.11`", key=at)
            python = match[1] or ""
        else:
            raise DefinitionError(
                f"`{item}` is not a pip package", fix="move it below `- pip:` as a pip requirement", key=at
            )
    return python, tuple(sorted(requirements))


def component_paths(document: Mapping[str, Any]) -> Mapping[str, str]:
    """The path of each step's component file, as written, by step name."""
    jobs = mapping(document, "jobs")
    if not jobs:
        raise DefinitionError("the pipeline has no steps", fix="add them below `jobs:`", key=("jobs",))
    paths = {}
    for name in jobs:
        path = text(mapping(jobs, name, ("jobs",)), "component", at=("jobs", name))
        if path.startswith("azureml:"):
            raise DefinitionError(
                f"`{path}` is known to an Azure ML workspace only",
                fix="name a component file, for example ./components/train.yml",
                key=("jobs", name, "component"),
            )
        paths[name] = path
    return paths


def parse_pipeline(document: Mapping[str, Any], components: Mapping[str, Component]) -> Pipeline:
    """The pipeline, its steps in running order; `components` holds each step's, by step name."""
    check_keys(
        document,
        (*_TAGS, "type", "experiment_name", "compute", "settings", "inputs", "outputs", "jobs"),
    )
    if text(document, "type") != "pipeline":
        raise DefinitionError("not a pipeline job", fix="write `type: pipeline`", key=("type",))
    settings = mapping(document, "settings")
    check_keys(settings, ("default_compute", "default_datastore", "force_rerun"), ("settings",))
    inputs = {name: _parse_parent_input(name, spec) for name, spec in mapping(document, "inputs").items()}
    outputs = {
        name: _parse_output(name, spec, ("outputs",)) for name, spec in mapping(document, "outputs").items()
    }
    steps = {
        name: _parse_step(name, spec, components[name], components, inputs, outputs)
        for name, spec in mapping(document, "jobs").items()
    }
    for output in outputs:
        providers = [step.name for step in steps.values() if output in step.outputs.values()]
        if len(providers) != 1:
            raise DefinitionError(
                f"output `{output}` is provided by " + (" and ".join(providers) or "no step"),
                fix=f"bind exactly one step's output to ${{{{parent.outputs.{output}}}}}",
                key=("outputs", output),
            )
    name = text(document, "display_name", text(document, "name", "pipeline"))
    return Pipeline(
        name=name,
        experiment=text(document, "experiment_name", name),
        inputs=inputs,
        steps=_order(steps),
        reuse=not flag(settings, "force_rerun", at=("settings",)),
    )


def bind_inputs(pipeline: Pipeline, overrides: Mapping[str, str]) -> Mapping[str, Value]:
    """The value of every pipeline input, `overrides` (text, as typed) first.

    Raises UsageError when an override names no input or does not fit its type, or an input has no value.
    """
    for name in overrides:
        if name not in pipeline.inputs:
            raise UsageError(f"the pipeline has no input `{name}`", fix=nearest(name, pipeline.inputs))
    values: dict[str, Value] = {}
    for name, spec in pipeline.inputs.items():
        value = _read(overrides[name], spec.type, name) if name in overrides else spec.default
        if value is None:
            raise UsageError(f"the pipeline's input `{name}` has no value", fix=f"give it: {name}=…")
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

        return _REFERENCE.sub(one, template)

    def group(match: re.Match[str]) -> str:
        return match[1] if all(name in values for name in _inputs_in(match[1])) else ""

    template = _GROUP.sub(group, component.command).strip()
    if _SHELL.search(_REFERENCE.sub("", template)):
        return ("/bin/bash", "-c", fill(template, quote=True))
    tight = _REFERENCE.sub(lambda match: "${{" + match[1] + "}}", template)
    return tuple(fill(word, quote=False) for word in shlex.split(tight))


def parse_registration(document: object) -> Registration:
    """What a registering step wrote: {"name", "version", "run_id"}; ValueError when it is something else."""
    if isinstance(document, dict):
        name, version, run_id = (document.get(key) for key in ("name", "version", "run_id"))
        if isinstance(name, str) and isinstance(version, str | int) and isinstance(run_id, str):
            return Registration(name, str(version), run_id)
    raise ValueError('expected a JSON object with "name", "version" and "run_id"')


def _parse_input(name: str, spec: object) -> Input:
    at = _check_port(name, spec, ("inputs",), ("type", "description", "default", "optional", "mode"))
    assert isinstance(spec, dict)
    type_ = text(spec, "type", at=at)
    if type_ not in PATHS + LITERALS:
        raise DefinitionError(
            f"unknown type `{type_}`", fix=nearest(type_, PATHS + LITERALS), key=(*at, "type")
        )
    default = spec.get("default")
    if default is not None:
        if type_ in PATHS:
            raise DefinitionError(
                f"`{name}` is a path and cannot have a default",
                fix="give the path in the pipeline's inputs",
                key=(*at, "default"),
            )
        _check_literal(name, default, type_, (*at, "default"))
    return Input(type_, default, flag(spec, "optional", at=at))


def _parse_parent_input(name: str, spec: object) -> Input:
    """An input of the pipeline job: a literal, or a mapping with a path."""
    if not isinstance(spec, dict):
        for type_, kinds in (("boolean", bool), ("integer", int), ("number", float), ("string", str)):
            if isinstance(spec, kinds):
                _check_port(name, {}, ("inputs",), ())
                return Input(type_, spec)
        raise DefinitionError(
            f"input `{name}` has no value",
            fix="write a literal, or `type:` and `path:`",
            key=("inputs", name),
        )
    at = _check_port(name, spec, ("inputs",), ("type", "path", "mode"))
    type_ = text(spec, "type", "uri_folder", at)
    if type_ not in PATHS:
        raise DefinitionError(f"`{type_}` is no type of a path", fix=nearest(type_, PATHS), key=(*at, "type"))
    return Input(type_, text(spec, "path", at=at))


def _parse_output(name: str, spec: object, at: At) -> str:
    at = _check_port(name, spec, at, ("type", "description", "mode"))
    assert isinstance(spec, dict)
    type_ = text(spec, "type", "uri_folder", at)
    if type_ not in PATHS:
        raise DefinitionError(
            f"`{type_}` is no type of an output", fix=nearest(type_, PATHS), key=(*at, "type")
        )
    return type_


def _check_port(name: str, spec: object, at: At, known: tuple[str, ...]) -> At:
    at = (*at, name)
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"`{name}` is no name", fix="use letters, digits and _", key=at)
    if not isinstance(spec, dict):
        raise DefinitionError(f"`{name}` says nothing about its type", fix="write `type: …` below it", key=at)
    check_keys(spec, known, at)
    return at


def _parse_environment(document: Mapping[str, Any]) -> StepEnvironment:
    spec = document.get("environment")
    if isinstance(spec, str):
        raise DefinitionError(
            f"environment `{spec}` is known to an Azure ML workspace only",
            fix="write `conda_file:` and `image:` below `environment:`",
            key=("environment",),
        )
    spec = mapping(document, "environment")
    check_keys(spec, ("conda_file", "image"), ("environment",))
    return StepEnvironment(
        text(spec, "conda_file", at=("environment",)), text(spec, "image", at=("environment",))
    )


def _parse_variables(document: Mapping[str, Any], at: At) -> Mapping[str, str]:
    field_ = "environment_variables"
    variables = mapping(document, field_, at)
    return {name: text(variables, name, at=(*at, field_)) for name in variables}


def _check_command(command: str, inputs: Mapping[str, Input], outputs: Mapping[str, str]) -> None:
    def wrong(problem: str, fix: str) -> DefinitionError:
        return DefinitionError(problem, fix=fix, key=("command",))

    for reference in _REFERENCE.findall(command):
        where, _, name = reference.partition(".")
        declared = {"inputs": inputs, "outputs": outputs}.get(where)
        if declared is None:
            raise wrong(f"cannot fill in ${{{{{reference}}}}}", "use ${{inputs.…}} or ${{outputs.…}}")
        if name not in declared:
            raise wrong(f"${{{{{reference}}}}} is not declared in `{where}`", nearest(name, declared))
    for name in sorted(_inputs_in(_GROUP.sub("", command))):
        if inputs[name].optional and inputs[name].default is None:
            raise wrong(
                f"optional input `{name}` may be absent", f"write $[[--{name} ${{{{inputs.{name}}}}}]]"
            )
    if not _SHELL.search(_REFERENCE.sub("", _GROUP.sub(r"\1", command))):
        try:
            words = shlex.split(_REFERENCE.sub("x", _GROUP.sub(r"\1", command)))
        except ValueError as error:
            raise wrong(f"the command cannot be read: {error}", "close the quotation mark") from error
        if not words:
            raise wrong("the command is empty", "write what the step runs")


def _inputs_in(template: str) -> set[str]:
    references = (match.partition(".") for match in _REFERENCE.findall(template))
    return {name for where, _, name in references if where == "inputs"}


def _parse_step(
    name: str,
    spec: Mapping[str, Any],
    component: Component,
    components: Mapping[str, Component],
    parents: Mapping[str, Input],
    parent_outputs: Mapping[str, str],
) -> Step:
    at: At = ("jobs", name)
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"`{name}` is no name of a step", fix="use letters, digits and _", key=at)
    check_keys(
        spec,
        ("type", "component", "inputs", "outputs", "compute", "display_name", "environment_variables"),
        at,
    )
    if text(spec, "type", "command", at) != "command":
        raise DefinitionError(
            f"step `{name}` is no command", fix="only `type: command` runs here", key=(*at, "type")
        )
    bound = mapping(spec, "inputs", at)
    check_keys(bound, component.inputs, (*at, "inputs"))
    inputs = {
        input_: _parse_binding(value, component.inputs[input_], components, parents, (*at, "inputs", input_))
        for input_, value in bound.items()
    }
    for input_, declared in component.inputs.items():
        if input_ not in inputs and declared.default is None and not declared.optional:
            raise DefinitionError(
                f"step `{name}` gives no value to the input `{input_}`",
                fix=f"add `{input_}: …` to its inputs",
                key=(*at, "inputs"),
            )
    outputs = {}
    provided = mapping(spec, "outputs", at)
    check_keys(provided, component.outputs, (*at, "outputs"))
    for output in provided:
        match = _REFERENCE.fullmatch(text(provided, output, at=(*at, "outputs")))
        target = match[1].removeprefix("parent.outputs.") if match else ""
        if target not in parent_outputs:
            raise DefinitionError(
                f"`{provided[output]}` is no output of the pipeline",
                fix=nearest(target, parent_outputs),
                key=(*at, "outputs", output),
            )
        _check_kind(component.outputs[output], parent_outputs[target], (*at, "outputs", output))
        outputs[output] = target
    return Step(name, component, inputs, outputs, _parse_variables(spec, at))


def _parse_binding(
    value: object, declared: Input, components: Mapping[str, Component], parents: Mapping[str, Input], at: At
) -> Value | ParentInput | StepOutput:
    if isinstance(value, dict):
        check_keys(value, ("path", "mode", "type"), at)
        value = text(value, "path", at=at)
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if declared.type in PATHS:
            raise DefinitionError(
                f"`{value}` is a fixed path",
                fix="make it an input of the pipeline, so that it can be overridden",
                key=at,
            )
        return _check_literal(str(at[-1]), value, declared.type, at)
    parts = match[1].split(".")
    if parts[:2] == ["parent", "inputs"] and len(parts) == 3:
        if parts[2] not in parents:
            raise DefinitionError(
                f"the pipeline has no input `{parts[2]}`", fix=nearest(parts[2], parents), key=at
            )
        _check_kind(parents[parts[2]].type, declared.type, at)
        return ParentInput(parts[2])
    if parts[:2] == ["parent", "jobs"] and len(parts) == 5 and parts[3] == "outputs":
        step, output = parts[2], parts[4]
        if step not in components:
            raise DefinitionError(f"the pipeline has no step `{step}`", fix=nearest(step, components), key=at)
        if output not in components[step].outputs:
            raise DefinitionError(
                f"step `{step}` has no output `{output}`",
                fix=nearest(output, components[step].outputs),
                key=at,
            )
        _check_kind(components[step].outputs[output], declared.type, at)
        return StepOutput(step, output)
    raise DefinitionError(
        f"cannot follow {value}",
        fix="use ${{parent.inputs.…}} or ${{parent.jobs.….outputs.…}}",
        key=at,
    )


def _check_kind(given: str, wanted: str, at: At) -> None:
    same = (
        given == wanted
        or (given in FOLDERS and wanted in FOLDERS)
        or (given, wanted) == ("integer", "number")
    )
    if not same:
        raise DefinitionError(
            f"{given} is given where {wanted} is wanted", fix="make both the same type", key=at
        )


def _check_literal(name: str, value: object, type_: str, at: At) -> Value:
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not fits[type_]:
        raise DefinitionError(
            f"`{value}` is no {type_} for `{name}`",
            fix="put it in quotes" if type_ == "string" else f"write a {type_}",
            key=at,
        )
    assert isinstance(value, str | int | float | bool)
    return value


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


def _order(steps: Mapping[str, Step]) -> tuple[Step, ...]:
    graph = {
        name: sorted({source.step for source in step.inputs.values() if isinstance(source, StepOutput)})
        for name, step in steps.items()
    }
    try:
        return tuple(steps[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = error.args[1]
        raise DefinitionError(
            "the steps wait for each other: " + " → ".join(reversed(circle)),
            fix="take one of these references away",
            key=("jobs", circle[0]),
        ) from error
