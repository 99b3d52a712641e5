"""What can be wrong with a project's files: the rules by name, and what was found against them. Pure values.

A fault is found where a document is read, which knows keys but no files; whoever read the file makes it a
finding, with its line. What runs a model stops at the first error; `validate` collects all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeferry.errors import DefinitionError

At = tuple[str | int, ...]
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Rule:
    """One thing that is looked for."""

    name: str
    severity: Severity
    says: str
    """What breaks it."""


RULES = {
    rule.name: rule
    for rule in (
        Rule("not-yaml", "error", "a file is no YAML 1.1, not UTF-8, or no mapping of names"),
        Rule("duplicate-key", "error", "a key stands twice in one mapping"),
        Rule("unknown-key", "error", "a key that nothing reads; the nearest known one is named"),
        Rule("missing-key", "error", "a key that must be there is not"),
        Rule("wrong-value", "error", "a value of another kind than its key takes"),
        Rule(
            "wrong-name",
            "error",
            "a model, step, input or output whose name cannot be referred to, or is a program's of ours",
        ),
        Rule("workspace-only", "error", "a component or environment that only an Azure ML workspace knows"),
        Rule("unsupported-job", "error", "a job that is no pipeline of commands"),
        Rule("outside-model", "error", "a path of model.yaml that leads out of the model's folder"),
        Rule(
            "missing-file",
            "error",
            "a file or folder that is named and not there, or is the other of the two",
        ),
        Rule(
            "dangling-reference", "error", "a reference to a step, an output or an input that does not exist"
        ),
        Rule("kind-mismatch", "error", "a file where a folder is wanted, text where a number is, and so on"),
        Rule(
            "unknown-input",
            "error",
            "a step gives a value to an input, or binds an output, that is not declared",
        ),
        Rule("missing-input", "error", "a step leaves an input without value, or a pipeline input has none"),
        Rule("fixed-path", "error", "a path inside a step, which no run could replace"),
        Rule(
            "unprovided-output", "error", "an output of the pipeline that no step provides, or more than one"
        ),
        Rule("cycle", "error", "steps that wait for each other, or for themselves"),
        Rule("undeclared-in-command", "error", "a command refers to what its component does not declare"),
        Rule("optional-outside-group", "error", "a command needs an input that may be absent"),
        Rule("unreadable-command", "error", "a command that is empty or leaves a quotation mark open"),
        Rule("conda-requirement", "error", "a conda file that pip cannot satisfy"),
        Rule("missing-column", "error", "rows given with a model lack a column that the model takes"),
        Rule("wrong-sample", "error", "rows given with a model are none that it could be asked"),
        Rule("serving-conflict", "error", "`runtime` excludes another key or what the model's folder has"),
        Rule("plain-secret", "error", "a password, key or token in the clear"),
        Rule("key-in-code", "error", "a file that looks like a key would leave with a step's code"),
        Rule("unused-input", "warning", "a declared input that no command, or no step, uses"),
        Rule("unused-output", "warning", "a declared output that its command is never told of"),
        Rule("no-compute", "warning", "a step for which Azure ML would have no compute"),
        Rule("absolute-path", "warning", "a path that holds on this machine only"),
        Rule("outside-project", "warning", "a path that leads out of the project's folder"),
        Rule("wide-code", "warning", "a code folder takes along what no code is made of, such as `.git`"),
        Rule("directory-order", "warning", "a step reads a folder in whatever order the machine lists it"),
        Rule("log-model", "warning", "a step uses an interface of MLflow that Azure ML's server lacks"),
        Rule("unportable-condition", "warning", "a target condition that Azure IoT Hub would not take"),
        Rule(
            "missing-tag",
            "warning",
            "a target condition that excludes a tag's value, and with it who lacks it",
        ),
        Rule("not-python", "warning", "a `.py` file that Python cannot read"),
    )
}


@dataclass(frozen=True)
class Fault:
    """What is wrong at `key` of a document (mapping keys, list indexes), by which rule, and the way out."""

    rule: str
    problem: str
    fix: str
    key: At = ()


Report = Callable[[Fault], None]
"""What is told of each fault in a document; when it returns, reading goes on with a stand-in."""


@dataclass(frozen=True)
class Finding:
    """A fault in its place."""

    file: str
    line: int
    rule: str
    severity: Severity
    problem: str
    fix: str
    key: At = ()


Found = Callable[[Finding], None]
"""What is told of each finding; when it returns, reading goes on with a stand-in."""


def refuse(fault: Fault) -> None:
    """Raises the fault as a DefinitionError: for those who need documents without any."""
    raise DefinitionError(fault.problem, fix=fault.fix, key=fault.key)


def refuse_found(finding: Finding) -> None:
    """Raises the finding as a DefinitionError with file and line: for those who need files without any."""
    raise DefinitionError(
        finding.problem, fix=finding.fix, key=finding.key, file=finding.file, line=finding.line
    )


def place(fault: Fault, file: str, line: int) -> Finding:
    """The fault with its file and line."""
    severity = RULES[fault.rule].severity
    return Finding(file, line, fault.rule, severity, fault.problem, fault.fix, fault.key)
