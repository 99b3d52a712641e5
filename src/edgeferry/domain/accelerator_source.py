"""What the Python of an accelerator project shows: where it registers, predicts and writes, and which lines
do not run with what is here. Pure; a reading by form, from the syntax tree alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from edgeferry.domain.accelerator import Edit, Origin

_REGISTERING = frozenset({"register_model", "create_model_version"})
_TEMPLATE_LOG = "MODEL_LOG_PATH"
_AZURE_SERVER = ("azureml.core", "inference_schema", "azureml.contrib", "azureml_inference_server_http")


@dataclass(frozen=True)
class Reading:
    """One module, read."""

    imports: frozenset[str]
    """Top-level packages."""
    registers: bool
    """Whether it registers a model version."""
    predicts: bool
    """Whether it asks a model for predictions."""
    columns: tuple[tuple[str, int], ...]
    """Columns of tables that are given what was predicted, with their lines."""
    files: tuple[tuple[str, int], ...]
    """Names of CSV files that it writes, with their lines."""
    saves: tuple[int, ...]
    """Lines that save a model of scikit-learn in whatever format MLflow likes best."""


def read_source(text: str, file: str) -> tuple[Reading | None, Edit | None]:
    """The reading; or, where Python cannot read the file, the edit that is needed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        problem = f"Python 3 cannot read this: {getattr(error, 'msg', error)}"
        return None, Edit(Origin(file, line), problem, "correct the line")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {_last(call.func) for call in calls}
    predicted = {name for name, value in _assigned(tree) if _asks(value)}
    columns = [
        (target.slice.value, target.lineno)
        for target, value in _stored(tree)
        if isinstance(target.slice, ast.Constant)
        and isinstance(target.slice.value, str)
        and (_asks(value) or _is_named(value, predicted) or "predict" in target.slice.value.lower())
    ]
    files = [
        (node.value.rpartition("/")[2], node.lineno)
        for call in calls
        if _last(call.func) == "to_csv"
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".csv")
    ]
    reading = Reading(
        frozenset(_imports(tree)),
        bool(names & _REGISTERING),
        "predict" in names,
        tuple(dict.fromkeys(columns)),
        tuple(dict.fromkeys(files)),
        tuple(
            call.lineno
            for call in calls
            if _last(call.func) in ("log_model", "save_model")
            and "sklearn" in ast.unparse(call.func)
            and "serialization_format" not in {word.arg for word in call.keywords}
        ),
    )
    return reading, None


def find_step_edits(text: str, file: str) -> Iterator[Edit]:
    """Lines of a step that current libraries refuse, or after which a model cannot be verified."""
    if (tree := _parse(text)) is None:
        return
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {word.arg for word in call.keywords}
        name = _last(call.func)
        if name == "append" and "ignore_index" in given:
            problem = "`DataFrame.append` is gone since pandas 2"
            yield Edit(
                Origin(file, call.lineno), problem, "write pd.concat([first, second], ignore_index=True)"
            )
        if name in ("log_model", "save_model") and not given & {"signature", "input_example"}:
            problem = f"`{name}` without a signature: nobody knows the model's columns"
            fix = "add signature=mlflow.models.infer_signature(inputs, predictions)"
            yield Edit(Origin(file, call.lineno), problem, fix)


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def find_score_edits(text: str, file: str) -> Iterator[Edit]:
    """Lines of a `score.py` that our server has no need of, or does not have."""
    if (tree := _parse(text)) is None:
        return
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for missing in sorted({"init", "run"} - functions):
        problem = f"there is no function `{missing}`, which the server calls"
        fix = "write init(), called once, and run(raw_data), called with each request's body as text"
        yield Edit(Origin(file, 1), problem, fix)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == _TEMPLATE_LOG:
            problem = (
                "requests are written to files here, and nobody removes them: a device has 16 MB in /tmp"
            )
            fix = "take the writing out: each request is captured by the server (docs/captures.md)"
            yield Edit(Origin(file, node.lineno), problem, fix)
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            for module in modules:
                if module.startswith(_AZURE_SERVER):
                    problem = f"`{module}` is Azure ML's own server, which does not run here"
                    fix = "take the import out, and what uses it: run(raw_data) gets the body as text"
                    yield Edit(Origin(file, node.lineno), problem, fix)


def find_pipeline_function(text: str) -> int:
    """The line of the function that `@pipeline` decorates; 0 when there is none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if _last(called) == "pipeline":
                    return node.lineno
    return 0


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _asks(value: ast.expr) -> bool:
    """Whether what is assigned is what a model answers."""
    return any(isinstance(node, ast.Call) and _last(node.func) == "predict" for node in ast.walk(value))


def _is_named(value: ast.expr, names: set[str]) -> bool:
    return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(value))


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _stored(tree: ast.Module) -> Iterator[tuple[ast.Subscript, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript):
                    yield target, node.value


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
