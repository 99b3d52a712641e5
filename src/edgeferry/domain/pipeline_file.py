"""Pipeline files: a document and its components in, the graph out, every fault reported.

A pipeline file is a plain Azure ML v2 one (schema pipelineJob): what `az ml job create -f pipeline.yml`
takes. Stricter than Azure ML's own client is offline: unknown keys, dangling references, kinds of inputs,
cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from edgeferry.domain.component_file import (
    NAME,
    TAGS,
    UNKNOWN,
    check_literal,
    check_port,
    parse_output,
    parse_type,
    parse_variables,
)
from edgeferry.domain.fields import check_keys, flag, mapping, nearest, text
from edgeferry.domain.finding import At, Fault, Report, refuse
from edgeferry.domain.pipeline import (
    FOLDERS,
    PATHS,
    REFERENCE,
    Component,
    Input,
    ParentInput,
    Pipeline,
    Step,
    StepEnvironment,
    StepOutput,
    Value,
)
from edgeferry.domain.secret import masked

_UNREAD = Component("", "", {}, {}, "", StepEnvironment("", ""), {})
"""Stands in for a component that could not be read: nothing is known of it, so nothing is wrong with it."""


def component_paths(document: Mapping[str, Any], report: Report = refuse) -> Mapping[str, str]:
    """The path of each step's component file, as written, by step name; steps without one are absent."""
    jobs = mapping(document, "jobs", report=report)
    if not document.get("jobs"):
        report(Fault("missing-key", "the pipeline has no steps", "add them below `jobs:`", ("jobs",)))
    paths = {}
    for name in jobs:
        step = mapping(jobs, name, ("jobs",), report)
        if not isinstance(jobs[name], dict | None):
            continue
        path = text(step, "component", at=("jobs", name), report=report)
        if path.startswith("azureml:"):
            problem = f"`{path}` is known to an Azure ML workspace only"
            fix = "name a component file, for example ./components/train.yml"
            report(Fault("workspace-only", problem, fix, ("jobs", name, "component")))
        elif path:
            paths[name] = path
    return paths


def parse_pipeline(
    document: Mapping[str, Any], components: Mapping[str, Component], report: Report = refuse
) -> Pipeline:
    """The pipeline, its steps in running order; `components` holds each step's, by step name.

    With a `report` that returns, steps whose component is absent are left out of the pipeline.
    """
    known = ("type", "experiment_name", "compute", "settings", "inputs", "outputs", "jobs")
    check_keys(document, (*TAGS, *known), report=report)
    if text(document, "type", report=report) not in ("pipeline", ""):
        report(Fault("unsupported-job", "not a pipeline job", "write `type: pipeline`", ("type",)))
    settings = mapping(document, "settings", report=report)
    check_keys(settings, ("default_compute", "default_datastore", "force_rerun"), ("settings",), report)
    inputs = {
        name: _parse_parent_input(name, spec, report)
        for name, spec in mapping(document, "inputs", report=report).items()
    }
    outputs = {
        name: parse_output(name, spec, report)
        for name, spec in mapping(document, "outputs", report=report).items()
    }
    jobs = {
        name: spec
        for name, spec in mapping(document, "jobs", report=lambda _: None).items()
        if isinstance(spec, dict)
    }
    graph = _Graph({name: components.get(name, _UNREAD) for name in jobs}, inputs, outputs, report)
    steps = {name: _parse_step(name, spec, graph) for name, spec in jobs.items()}
    _check_provided(outputs, steps, report)
    order = _order(steps, report)
    name = text(document, "display_name", text(document, "name", "pipeline", report=report), report=report)
    return Pipeline(
        name=name,
        experiment=text(document, "experiment_name", name, report=report),
        inputs=inputs,
        steps=tuple(steps[step] for step in order if step in components),
        reuse=not flag(settings, "force_rerun", at=("settings",), report=report),
    )


@dataclass(frozen=True)
class _Graph:
    """What a step's references may lead to."""

    components: Mapping[str, Component]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    report: Report


def _parse_parent_input(name: str, spec: object, report: Report) -> Input:
    """An input of the pipeline job: a literal, or a mapping with a path."""
    at: At = ("inputs", name)
    if not isinstance(spec, dict):
        check_port(name, {}, (), at, report)
        for type_, kinds in (("boolean", bool), ("integer", int), ("number", float), ("string", str)):
            if isinstance(spec, kinds):
                return Input(type_, spec)
        fix = "write a literal, or `type:` and `path:`"
        report(Fault("missing-input", f"input `{name}` has no value", fix, at))
        return Input(UNKNOWN)
    check_port(name, spec, ("type", "path", "mode"), at, report)
    problem = f"`{spec.get('type')}` is no type of a path"
    type_ = parse_type(spec, PATHS, problem, at, report, "uri_folder")
    return Input(type_, text(spec, "path", at=at, report=report))


def _parse_step(name: str, spec: Mapping[str, Any], graph: _Graph) -> Step:
    at: At = ("jobs", name)
    component, report = graph.components[name], graph.report
    if not NAME.fullmatch(name):
        report(Fault("wrong-name", f"`{name}` is no name of a step", "use letters, digits and _", at))
    known = ("type", "component", "inputs", "outputs", "compute", "display_name", "environment_variables")
    check_keys(spec, known, at, report)
    if text(spec, "type", "command", at, report) != "command":
        fix = "only `type: command` runs here"
        report(Fault("unsupported-job", f"step `{name}` is no command", fix, (*at, "type")))
    inputs = {}
    bound = mapping(spec, "inputs", at, report)
    provided = mapping(spec, "outputs", at, report)
    if component is not _UNREAD:
        check_keys(bound, component.inputs, (*at, "inputs"), report, rule="unknown-input")
        check_keys(provided, component.outputs, (*at, "outputs"), report, rule="unknown-input")
    for input_, value in bound.items():
        declared = component.inputs.get(input_, Input(UNKNOWN))
        binding = _parse_binding(value, declared, graph, (*at, "inputs", input_))
        if binding is not None:
            inputs[input_] = binding
    for input_, declared in component.inputs.items():
        if input_ not in bound and declared.default is None and not declared.optional:
            problem = f"step `{name}` gives no value to the input `{input_}`"
            fix = f"add `{input_}: …` to its inputs"
            report(Fault("missing-input", problem, fix, (*at, "inputs")))
    outputs = {}
    for output in provided:
        target = _parse_provision(provided, output, component, graph, (*at, "outputs"))
        if target:
            outputs[output] = target
    return Step(name, component, inputs, outputs, parse_variables(spec, at, report))


def _parse_provision(
    provided: Mapping[str, Any], output: str, component: Component, graph: _Graph, at: At
) -> str:
    """The pipeline output that a step's own `output` provides; "" when it is none."""
    written = text(provided, output, at=at, report=graph.report)
    match = REFERENCE.fullmatch(written)
    target = match[1].removeprefix("parent.outputs.") if match else ""
    if target in graph.outputs:
        given = component.outputs.get(output, UNKNOWN)
        _check_kind(given, graph.outputs[target], (*at, output), graph.report)
        return target
    if isinstance(provided[output], str):
        problem, fix = f"`{written}` is no output of the pipeline", nearest(target, graph.outputs)
        graph.report(Fault("dangling-reference", problem, fix, (*at, output)))
    return ""


def _parse_binding(
    value: object, declared: Input, graph: _Graph, at: At
) -> Value | ParentInput | StepOutput | None:
    """What a step's input is bound to; None when that cannot be followed."""
    report = graph.report
    if isinstance(value, dict):
        check_keys(value, ("path", "mode", "type"), at, report)
        value = text(value, "path", at=at, report=report)
        if not value:
            return None
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if declared.type in PATHS:
            fix = "make it an input of the pipeline, so that it can be overridden"
            report(Fault("fixed-path", f"`{masked(value)}` is a fixed path", fix, at))
            return None
        return check_literal(str(at[-1]), value, declared.type, at, report)
    parts = match[1].split(".")
    if parts[:2] == ["parent", "inputs"] and len(parts) == 3:
        return _follow_parent(parts[2], declared, graph, at)
    if parts[:2] == ["parent", "jobs"] and len(parts) == 5 and parts[3] == "outputs":
        return _follow_step(parts[2], parts[4], declared, graph, at)
    fix = "use ${{parent.inputs.…}} or ${{parent.jobs.….outputs.…}}"
    report(Fault("dangling-reference", f"cannot follow {value}", fix, at))
    return None


def _follow_parent(name: str, declared: Input, graph: _Graph, at: At) -> ParentInput | None:
    if name not in graph.inputs:
        problem = f"the pipeline has no input `{name}`"
        graph.report(Fault("dangling-reference", problem, nearest(name, graph.inputs), at))
        return None
    _check_kind(graph.inputs[name].type, declared.type, at, graph.report)
    return ParentInput(name)


def _follow_step(step: str, output: str, declared: Input, graph: _Graph, at: At) -> StepOutput | None:
    component = graph.components.get(step)
    if component is None:
        problem = f"the pipeline has no step `{step}`"
        graph.report(Fault("dangling-reference", problem, nearest(step, graph.components), at))
        return None
    if component is not _UNREAD and output not in component.outputs:
        problem = f"step `{step}` has no output `{output}`"
        graph.report(Fault("dangling-reference", problem, nearest(output, component.outputs), at))
        return None
    _check_kind(component.outputs.get(output, UNKNOWN), declared.type, at, graph.report)
    return StepOutput(step, output)


def _check_kind(given: str, wanted: str, at: At, report: Report) -> None:
    same = (
        UNKNOWN in (given, wanted)
        or given == wanted
        or (given in FOLDERS and wanted in FOLDERS)
        or (given, wanted) == ("integer", "number")
    )
    if not same:
        problem = f"{given} is given where {wanted} is wanted"
        report(Fault("kind-mismatch", problem, "make both the same type", at))


def _check_provided(outputs: Mapping[str, str], steps: Mapping[str, Step], report: Report) -> None:
    for output in outputs:
        providers = [
            step.name for step in steps.values() for given in step.outputs.values() if given == output
        ]
        if len(providers) != 1:
            problem = f"output `{output}` is provided by " + (" and ".join(providers) or "no step")
            fix = f"bind exactly one step's output to ${{{{parent.outputs.{output}}}}}"
            report(Fault("unprovided-output", problem, fix, ("outputs", output)))


def _order(steps: Mapping[str, Step], report: Report) -> tuple[str, ...]:
    """The steps' names, each after those it needs; of steps in a circle, those that are left without them."""
    graph = {
        name: sorted({source.step for source in step.inputs.values() if isinstance(source, StepOutput)})
        for name, step in steps.items()
    }
    while True:
        try:
            return tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = error.args[1][:-1]  # each is needed by the next
            report(_circle_fault(circle, steps))
            graph = {
                name: [source for source in sources if source not in circle]
                for name, sources in graph.items()
                if name not in circle
            }


def _circle_fault(circle: list[str], steps: Mapping[str, Step]) -> Fault:
    """Placed at the reference that closes the circle, in the step that stands first in the file."""
    first = next(name for name in steps if name in circle)
    at = circle.index(first)
    ring = [*circle[at:], *circle[:at]]
    needs = ring[-1]
    input_ = next(
        name
        for name, source in steps[first].inputs.items()
        if isinstance(source, StepOutput) and source.step == needs
    )
    problem = "the steps wait for each other: " + " → ".join([first, *reversed(ring)])
    return Fault("cycle", problem, "take one of these references away", ("jobs", first, "inputs", input_))
