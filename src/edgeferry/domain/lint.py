"""What a project's files should not say although a run would begin: secrets, what nothing uses,
what should not leave with the code. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.fields import mapping
from edgeferry.domain.finding import At, Fault, Report
from edgeferry.domain.pipeline import REFERENCE, REGISTERED
from edgeferry.domain.portability import find_missing_tag, find_unportable, find_untargetable
from edgeferry.domain.secret import is_secret, is_secret_value
from edgeferry.domain.snapshot import Upload
from edgeferry.errors import ConditionError

_VAULT = "keep it in a vault and write keyvault://VAULT/NAME"


def check_secrets(content: object, report: Report) -> None:
    """Reports literals of inputs and variables that are secrets by name, and any text that is one by form."""
    for at, value in _leaves(content, ()):
        name = _carrier(at)
        if name and is_secret(name, value):
            report(Fault("plain-secret", f"`{name}` holds a secret in the clear", _VAULT, at))
        elif isinstance(value, str) and is_secret_value(value):
            where = next((part for part in reversed(at) if isinstance(part, str)), "this line")
            report(Fault("plain-secret", f"`{where}` contains what looks like a key or password", _VAULT, at))


def check_component_use(document: Mapping[str, Any], report: Report) -> None:
    """Reports inputs and outputs of a component that nothing in it refers to."""
    used = set(_references(document))
    for name in mapping(document, "inputs", report=_nowhere):
        if f"inputs.{name}" not in used:
            fix = f"pass ${{{{inputs.{name}}}}} to the command, or take the input away"
            report(Fault("unused-input", f"the command does not use `{name}`", fix, ("inputs", name)))
    for name in mapping(document, "outputs", report=_nowhere):
        if f"outputs.{name}" not in used:
            fix = f"pass ${{{{outputs.{name}}}}} to the command, or take the output away"
            report(Fault("unused-output", f"the command is not told of `{name}`", fix, ("outputs", name)))


def check_pipeline_use(document: Mapping[str, Any], report: Report) -> None:
    """Reports inputs of a pipeline that no step takes, and one without an output for what it registered."""
    used = set(_references(document.get("jobs")))
    named = REGISTERED in mapping(document, "outputs", report=_nowhere)
    if used and not named and f"parent.outputs.{REGISTERED}" not in used:  # else that reference is told
        problem = f"`{REGISTERED}` is missing: the pipeline does not say which model version it registered"
        fix = f"add the output, and bind the register step's file to ${{{{parent.outputs.{REGISTERED}}}}}"
        report(Fault("missing-key", problem, fix, ("outputs",)))
    for name in mapping(document, "inputs", report=_nowhere):
        if f"parent.inputs.{name}" not in used:
            fix = f"bind it in a step: ${{{{parent.inputs.{name}}}}}, or take it away"
            report(Fault("unused-input", f"no step uses the input `{name}`", fix, ("inputs", name)))


def check_compute(document: Mapping[str, Any], report: Report) -> None:
    """Reports steps that name no compute when the pipeline names none for all: Azure ML refuses those."""
    if document.get("compute") or mapping(document, "settings", report=_nowhere).get("default_compute"):
        return
    for name, step in mapping(document, "jobs", report=_nowhere).items():
        if isinstance(step, dict) and not step.get("compute"):
            fix = "add `default_compute: azureml:CLUSTER` below `settings:`"
            report(Fault("no-compute", f"step `{name}` has no compute on Azure ML", fix, ("jobs", name)))


def check_condition(text: str, report: Report) -> None:
    """Reports what Azure would not take in a model's target condition, and devices that it leaves out for
    want of a tag. One that cannot be read has none of that."""
    try:
        expression = parse_condition(text).expression
    except ConditionError:
        return  # whoever read the model has said it
    unportable = [*find_unportable(expression), *find_untargetable(expression)]
    remarks = [("unportable-condition", remark) for remark in unportable]
    remarks += [("missing-tag", remark) for remark in find_missing_tag(expression)]
    for rule, remark in remarks:
        problem = f"{remark.problem} (column {remark.column})"
        report(Fault(rule, problem, remark.fix, ("target_condition",)))


def check_upload(upload: Upload, report: Report) -> None:
    """Reports files that look like keys, and folders that are no code, among what would leave with a step."""
    for file in upload.refused:
        problem = f"{file.path} would leave with the code: it is {file.reason}"
        if not file.reason.startswith("named"):
            problem = f"{file.path} would leave with the code: it {file.reason}"
        fix = (
            f"move it elsewhere, or add `{file.path}` to {upload.ignore_file or '.amlignore'} of that folder"
        )
        report(Fault("key-in-code", problem, fix, ("code",)))
    if upload.passengers:
        names = ", ".join(upload.passengers)
        fix = "name a narrower folder, or list them in its .amlignore"
        report(Fault("wide-code", f"the code folder takes {names} along", fix, ("code",)))


def _carrier(at: At) -> str:
    """The name of the input or variable whose literal stands at `at`; "" when none does."""
    if len(at) >= 3 and at[-3] == "inputs" and at[-1] == "default":
        return str(at[-2])
    return str(at[-1]) if len(at) >= 2 and at[-2] in ("inputs", "environment_variables") else ""


def _references(content: object) -> Iterator[str]:
    for _, value in _leaves(content, ()):
        if isinstance(value, str):
            yield from REFERENCE.findall(value)


def _leaves(content: object, at: At) -> Iterator[tuple[At, object]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, (*at, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _leaves(value, (*at, index))
    else:
        yield at, content


def _nowhere(_: Fault) -> None:
    """Parsing has said it already."""
