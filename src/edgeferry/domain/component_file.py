"""Component and conda files: documents in, components out, every fault reported.

A component file is a plain Azure ML v2 one (schema commandComponent). Of that schema this reads the part that
can run on any machine; a key outside it is refused by name instead of being ignored. Stricter than Azure
ML's own client is offline: unknown keys, kinds of defaults, what the command refers to.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.fields import check_keys, flag, mapping, nearest, text
from edgeferry.domain.finding import At, Fault, Report, refuse
from edgeferry.domain.pipeline import (
    GROUP,
    LITERALS,
    PATHS,
    REFERENCE,
    SHELL,
    Component,
    Input,
    StepEnvironment,
    Value,
    inputs_in,
)
from edgeferry.domain.secret import is_secret, masked

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAGS = ("$schema", "name", "version", "display_name", "description", "tags")
UNKNOWN = ""
"""The type of an input or output whose own type could not be read: it fits everything."""


def parse_component(document: Mapping[str, Any], report: Report = refuse) -> Component:
    """The component; paths stay as written and the environment has no requirements yet (`parse_conda`)."""
    known = ("type", "inputs", "outputs", "command", "code", "environment", "environment_variables")
    check_keys(document, (*TAGS, *known, "is_deterministic"), report=report)
    if text(document, "type", "command", report=report) != "command":
        report(
            Fault("unsupported-job", "not a command component", "only `type: command` runs here", ("type",))
        )
    inputs = {
        name: _parse_input(name, spec, report)
        for name, spec in mapping(document, "inputs", report=report).items()
    }
    outputs = {
        name: parse_output(name, spec, report)
        for name, spec in mapping(document, "outputs", report=report).items()
    }
    command = text(document, "command", report=report)
    if isinstance(document.get("command"), str):
        _check_command(command, inputs, outputs, report)
    return Component(
        name=text(document, "name", report=report),
        command=command,
        inputs=inputs,
        outputs=outputs,
        code=text(document, "code", "", report=report),
        environment=_parse_environment(document, report),
        variables=parse_variables(document, (), report),
        deterministic=flag(document, "is_deterministic", True, report=report),
    )


def parse_conda(document: Mapping[str, Any], report: Report = refuse) -> tuple[str, tuple[str, ...]]:
    """The Python version (empty: any) and the pip requirements, sorted, of a conda file.

    Step environments on this machine are made from pip's packages alone, so other conda packages are refused.
    """

    def wrong(problem: str, fix: str, key: At) -> None:
        report(Fault("conda-requirement", problem, fix, key))

    check_keys(document, ("name", "channels", "dependencies"), report=report)
    dependencies = document.get("dependencies")
    if not isinstance(dependencies, list):
        wrong("`dependencies` is not a list", "list python, pip and pip's packages", ("dependencies",))
        return "", ()
    python, requirements = "", set()
    for index, item in enumerate(dependencies):
        at: At = ("dependencies", index)
        if isinstance(item, dict) and set(item) == {"pip"} and isinstance(item["pip"], list):
            for number, requirement in enumerate(item["pip"]):
                if not isinstance(requirement, str) or not re.match(r"[A-Za-z0-9]", requirement):
                    fix = "write `name==version`; set indexes in uv's own configuration"
                    wrong(f"`{masked(requirement)}` is not a package requirement", fix, (*at, "pip", number))
                else:
                    requirements.add(requirement.strip())
        elif isinstance(item, str) and re.fullmatch(r"pip\b.*", item):
            continue
        elif isinstance(item, str) and re.match(r"python\b", item):
            match = re.fullmatch(r"python(?:\s*={1,2}\s*(3\.\d+)(?:\.[\d*]+)?)?", item.strip())
            if not match:
                wrong(f"cannot read `{item}`", "write it like `python=3.11`", at)
            python = (match and match[1]) or ""
        else:
            fix = "move it below `- pip:` as a pip requirement"
            wrong(f"`{masked(item)}` is not a pip package", fix, at)
    return python, tuple(sorted(requirements))


def parse_output(name: str, spec: object, report: Report) -> str:
    """The type of a declared output of a component or pipeline."""
    at: At = ("outputs", name)
    if not isinstance(spec, dict):
        _no_type(name, at, report)
        return UNKNOWN
    check_port(name, spec, ("type", "description", "mode"), at, report)
    return parse_type(spec, PATHS, f"`{spec.get('type')}` is no type of an output", at, report, "uri_folder")


def parse_type(
    spec: Mapping[str, Any],
    types: tuple[str, ...],
    problem: str,
    at: At,
    report: Report,
    default: str | None = None,
) -> str:
    """The type that `spec` names, UNKNOWN when it is none of `types`."""
    type_ = text(spec, "type", default, at, report)
    if type_ and type_ not in types:
        report(Fault("wrong-value", problem, nearest(type_, types), (*at, "type")))
    return type_ if type_ in types else UNKNOWN


def check_port(name: str, spec: Mapping[str, Any], known: tuple[str, ...], at: At, report: Report) -> None:
    """Reports what is wrong with an input's or output's name and keys."""
    if not NAME.fullmatch(name):
        report(Fault("wrong-name", f"`{name}` is no name", "use letters, digits and _", at))
    check_keys(spec, known, at, report)


def check_literal(name: str, value: object, type_: str, at: At, report: Report) -> Value:
    """The literal; reported when it does not fit the type."""
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        UNKNOWN: True,
    }
    if not fits[type_]:
        shown = "…" if is_secret(name, value) else masked(value)
        fix = "put it in quotes" if type_ == "string" else f"write a {type_}"
        report(Fault("kind-mismatch", f"`{shown}` is no {type_} for `{name}`", fix, at))
    return value if isinstance(value, str | int | float | bool) else ""


def parse_variables(document: Mapping[str, Any], at: At, report: Report) -> Mapping[str, str]:
    """The environment variables of a component or step."""
    field = "environment_variables"
    variables = mapping(document, field, at, report)
    return {name: text(variables, name, at=(*at, field), report=report) for name in variables}


def _parse_input(name: str, spec: object, report: Report) -> Input:
    at: At = ("inputs", name)
    if not isinstance(spec, dict):
        _no_type(name, at, report)
        return Input(UNKNOWN)
    check_port(name, spec, ("type", "description", "default", "optional", "mode"), at, report)
    types = PATHS + LITERALS
    type_ = parse_type(spec, types, f"unknown type `{spec.get('type')}`", at, report)
    default = spec.get("default")
    if default is not None:
        if type_ in PATHS:
            problem = f"`{name}` is a path and cannot have a default"
            report(Fault("fixed-path", problem, "give the path in the pipeline's inputs", (*at, "default")))
        else:
            default = check_literal(name, default, type_, (*at, "default"), report)
    return Input(type_, default, flag(spec, "optional", at=at, report=report))


def _no_type(name: str, at: At, report: Report) -> None:
    report(Fault("missing-key", f"`{name}` says nothing about its type", "write `type: …` below it", at))


def _parse_environment(document: Mapping[str, Any], report: Report) -> StepEnvironment:
    spec, at = document.get("environment"), ("environment",)
    if isinstance(spec, str):
        problem = f"environment `{masked(spec)}` is known to an Azure ML workspace only"
        fix = "write `conda_file:` and `image:` below `environment:`"
        report(Fault("workspace-only", problem, fix, at))
    elif spec is None:
        fix = "add it, with `image:` and `conda_file:` below"
        report(Fault("missing-key", "`environment` is missing", fix, at))
    elif environment := mapping(document, "environment", report=report):
        check_keys(environment, ("conda_file", "image"), at, report)
        return StepEnvironment(
            text(environment, "conda_file", at=at, report=report),
            text(environment, "image", at=at, report=report),
        )
    return StepEnvironment("", "")


def _check_command(
    command: str, inputs: Mapping[str, Input], outputs: Mapping[str, str], report: Report
) -> None:
    def wrong(rule: str, problem: str, fix: str) -> None:
        report(Fault(rule, problem, fix, ("command",)))

    for reference in dict.fromkeys(REFERENCE.findall(command)):
        where, _, name = reference.partition(".")
        declared = {"inputs": inputs, "outputs": outputs}.get(where)
        written = f"${{{{{reference}}}}}"
        if declared is None:
            fix = "use ${{inputs.…}} or ${{outputs.…}}"
            wrong("undeclared-in-command", f"cannot fill in {written}", fix)
        elif name not in declared:
            problem = f"{written} is not declared in `{where}`"
            wrong("undeclared-in-command", problem, nearest(name, declared))
    for name in sorted(inputs_in(GROUP.sub("", command)) & inputs.keys()):
        if inputs[name].optional and inputs[name].default is None:
            fix = f"write $[[--{name} ${{{{inputs.{name}}}}}]]"
            wrong("optional-outside-group", f"optional input `{name}` may be absent", fix)
    if not SHELL.search(REFERENCE.sub("", GROUP.sub(r"\1", command))):
        try:
            if not shlex.split(REFERENCE.sub("x", GROUP.sub(r"\1", command))):
                wrong("unreadable-command", "the command is empty", "write what the step runs")
        except ValueError as error:
            problem = f"the command cannot be read: {error}"
            wrong("unreadable-command", problem, "close the quotation mark")
