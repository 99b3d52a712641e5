"""The files of a model: model.yaml, pipeline, components, conda. Faults are told with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgeferry.adapters.documents import Document, load_document
from edgeferry.domain.component_file import parse_component, parse_conda
from edgeferry.domain.condition import parse_condition
from edgeferry.domain.finding import At, Fault, Found, Report
from edgeferry.domain.model import ModelDefinition, parse_model
from edgeferry.domain.pipeline import PATHS, Component, Input, Pipeline
from edgeferry.domain.pipeline_file import component_paths, parse_pipeline
from edgeferry.domain.smoke_checks import KINDS, find_check_faults
from edgeferry.errors import ConditionError

MODEL_FILE = "model.yaml"


@dataclass(frozen=True)
class ModelFiles:
    """A model's own documents and what they say."""

    documents: tuple[Document, ...]
    definition: ModelDefinition


@dataclass(frozen=True)
class ComponentFiles:
    """A component's documents and what they say."""

    document: Document
    conda: Document | None
    component: Component


@dataclass(frozen=True)
class PipelineFiles:
    """A pipeline's document, those of its components, and what they say; steps that cannot be read are
    absent."""

    document: Document
    components: tuple[ComponentFiles, ...]
    pipeline: Pipeline
    step_files: Mapping[str, Path]
    """The component file of each step."""


def read_model(folder: Path, found: Found) -> ModelFiles | None:
    """The model in `folder`; None when its model.yaml cannot be read."""
    checks_file = folder / "smoke" / "checks.yml"
    checks = load_document(checks_file, found) if checks_file.exists() else None
    document = load_document(folder / MODEL_FILE, found)
    content = document.mapping(found) if document else None
    if document is None or content is None:
        return None
    report = document.reporting(found)
    definition = parse_model(content, folder.name, str(folder), _list_checks(checks, found), report)
    if kind_of(Path(definition.pipeline)) != "file":
        problem = f"{definition.pipeline} does not exist"
        report(Fault("missing-file", problem, "add the file, or set `pipeline:`", ("pipeline",)))
    try:
        parse_condition(definition.target_condition)
    except ConditionError as error:
        report(Fault("wrong-value", error.problem, error.fix, ("target_condition",)))
    documents = (document, checks) if checks else (document,)
    return ModelFiles(documents, _find_serving(definition, content, report))


def read_pipeline(file: Path, found: Found) -> PipelineFiles | None:
    """The pipeline in `file`, every path in it absolute, with its components; None when it cannot be read."""
    document = load_document(file, found)
    content = document.mapping(found) if document else None
    if document is None or content is None:
        return None
    report = document.reporting(found)
    read: dict[Path, ComponentFiles | None] = {}
    components: dict[str, Component] = {}
    step_files: dict[str, Path] = {}
    for step, written in component_paths(content, report).items():
        path = existing(file.parent / written, ("jobs", step, "component"), report)
        if path is None:
            continue
        if path not in read:
            read[path] = _read_component(path, found)
        files = read[path]
        if files:
            components[step], step_files[step] = files.component, path
    pipeline = parse_pipeline(content, components, report)
    inputs = {name: _place(spec, file.parent) for name, spec in pipeline.inputs.items()}
    return PipelineFiles(
        document,
        tuple(files for files in read.values() if files),
        replace(pipeline, inputs=inputs),
        step_files,
    )


def existing(path: Path, key: At, report: Report, *, folder: bool = False) -> Path | None:
    """The file (or folder) with links resolved; None when it is not there, or is the other of the two."""
    wanted = "folder" if folder else "file"
    there = kind_of(path)
    if there == wanted:
        return path.resolve()
    problem, fix = f"{path} is a {there}", f"name a {wanted}"
    if not there:
        problem, fix = f"{path} does not exist", "paths count from the file they stand in"
    report(Fault("missing-file", problem, fix, key))
    return None


def kind_of(path: Path) -> Literal["file", "folder", ""]:
    """What is at the path; "" when there is nothing, or nothing can be (a name too long, say)."""
    try:
        return "folder" if path.is_dir() else "file" if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def _read_component(file: Path, found: Found) -> ComponentFiles | None:
    document = load_document(file, found)
    content = document.mapping(found) if document else None
    if document is None or content is None:
        return None
    report = document.reporting(found)
    component = parse_component(content, report)
    code: Path | None = None
    if component.code:
        code = existing(file.parent / component.code, ("code",), report, folder=True)
    environment, conda, conda_file = component.environment, None, None
    if environment.conda_file:
        key = ("environment", "conda_file")
        conda_file = existing(file.parent / environment.conda_file, key, report)
    if conda_file:
        conda = load_document(conda_file, found)
        listed = conda.mapping(found) if conda else None
        if conda and listed is not None:
            python, requirements = parse_conda(listed, conda.reporting(found))
            environment = replace(environment, python=python, requirements=requirements)
        environment = replace(environment, conda_file=str(conda_file))
    return ComponentFiles(
        document, conda, replace(component, code=str(code) if code else "", environment=environment)
    )


def _find_serving(
    definition: ModelDefinition, document: Mapping[str, Any], report: Report
) -> ModelDefinition:
    """The definition with the paths of what serves it as they are here: "" for those that are not.

    Reports named ones that are missing, and what is here when `runtime` excludes it.
    """
    found: dict[str, str] = {}
    for field in ("score", "score_requirements", "dockerfile"):
        path = Path(getattr(definition, field))
        if field in document and kind_of(path) != "file":
            fix = "add the file, or leave the line out"
            report(Fault("missing-file", f"{path} does not exist", fix, (field,)))
        found[field] = str(path) if kind_of(path) == "file" else ""
    runtime = definition.runtime
    if runtime == "auto" and found["score"]:
        runtime = "score"
    if runtime in ("onnx", "library", "pyfunc") and found["score"]:
        problem = f"`runtime: {runtime}` and {found['score']} exclude each other"
        report(Fault("serving-conflict", problem, "keep one", ("runtime",)))
    needed = {"score": ("score", "score.py"), "own": ("dockerfile", "Dockerfile")}.get(runtime)
    if needed and not found[needed[0]]:
        problem = f"`runtime: {runtime}` needs a {needed[1]} in the model's folder"
        report(Fault("serving-conflict", problem, "add it", ("runtime",)))
    return replace(
        definition,
        runtime=runtime,
        score=found["score"],
        score_requirements=found["score_requirements"],
        dockerfile=found["dockerfile"],
    )


def _list_checks(document: Document | None, found: Found) -> tuple[Mapping[str, object], ...]:
    checks = (document.content or []) if document else []
    if document and not (isinstance(checks, list) and all(isinstance(check, dict) for check in checks)):
        fix = f"start each check with its kind, as in `- refused:`: {', '.join(KINDS)}"
        document.reporting(found)(Fault("wrong-value", "this is not a list of checks", fix))
        return ()
    if document and isinstance(checks, list):
        for error in find_check_faults(checks):
            problem = error.problem.removeprefix("smoke/checks.yml, ")
            document.reporting(found)(Fault("wrong-value", problem, error.fix, error.key))
    return tuple(checks) if isinstance(checks, Iterable) else ()


def _place(spec: Input, folder: Path) -> Input:
    if spec.type not in PATHS or not spec.default or str(spec.default).startswith(("azureml:", "https:")):
        return spec
    path = folder / str(spec.default)
    return replace(spec, default=str(path.resolve() if kind_of(path) else path))
