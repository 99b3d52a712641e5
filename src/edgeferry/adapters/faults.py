"""All that is wrong with the files of one model, the Python sources and the upload of its steps included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeferry.adapters.documents import Document
from edgeferry.adapters.files import (
    ComponentFiles,
    PipelineFiles,
    existing,
    kind_of,
    read_model,
    read_pipeline,
)
from edgeferry.adapters.given_model import find_sample_faults
from edgeferry.adapters.upload import list_upload
from edgeferry.domain.fields import mapping
from edgeferry.domain.finding import At, Fault, Finding, Found, Report, place
from edgeferry.domain.lint import (
    check_component_use,
    check_compute,
    check_condition,
    check_pipeline_use,
    check_secrets,
    check_upload,
)
from edgeferry.domain.secret import masked
from edgeferry.domain.step_source import find_source_faults
from edgeferry.errors import UsageError

_ADDRESS = re.compile(r"azureml:|[a-z][a-z0-9+.-]+://")


def find_faults(root: Path, folder: Path) -> Sequence[Finding]:
    """The findings of the model in `folder` of the project `root`, each once, by file and line."""
    findings: list[Finding] = []
    found = findings.append
    model = read_model(folder, found)
    if model:
        for document in model.documents:
            check_secrets(document.content, document.reporting(found))
        check_condition(model.definition.target_condition, model.documents[0].reporting(found))
        file = Path(model.definition.pipeline)
        pipeline = read_pipeline(file, found) if kind_of(file) == "file" else None
        if pipeline:
            _check_pipeline(root, pipeline, found)
    for sample, misfit in find_sample_faults(folder):
        rule = "missing-column" if misfit.lacks else "wrong-sample"
        found(place(Fault(rule, misfit.problem, misfit.fix), str(sample), misfit.line))
    return sorted(set(findings), key=lambda each: (each.file, each.line, each.rule, each.problem))


def _check_pipeline(root: Path, files: PipelineFiles, found: Found) -> None:
    document, report = files.document, files.document.reporting(found)
    content = document.mapping(found) or {}
    check_secrets(content, report)
    check_pipeline_use(content, report)
    check_compute(content, report)
    for name, spec in mapping(content, "inputs", report=_said).items():
        path = spec.get("path") if isinstance(spec, dict) else None
        if isinstance(path, str) and not _ADDRESS.match(path):
            key, folder = ("inputs", name, "path"), spec.get("type") != "uri_file"
            if existing(document.file.parent / path, key, report, folder=folder):
                _check_place(root, document, path, key, report)
    for name, step in mapping(content, "jobs", report=_said).items():
        if isinstance(step, dict) and isinstance(step.get("component"), str):
            _check_place(root, document, step["component"], ("jobs", name, "component"), report)
    for component in files.components:
        _check_component(root, component, found)
    by_file = sorted(files.components, key=lambda component: component.document.file)
    codes = {one.component.code: one.document for one in reversed(by_file) if one.component.code}
    for code, named_by in sorted(codes.items()):
        _check_code(root, Path(code), named_by, found)


def _check_component(root: Path, files: ComponentFiles, found: Found) -> None:
    document, report = files.document, files.document.reporting(found)
    content = document.mapping(found) or {}
    check_secrets(content, report)
    check_component_use(content, report)
    if isinstance(content.get("code"), str):
        _check_place(root, document, content["code"], ("code",), report)
    conda_file = mapping(content, "environment", report=_said).get("conda_file")
    if isinstance(conda_file, str):
        _check_place(root, document, conda_file, ("environment", "conda_file"), report)
    if files.conda:
        check_secrets(files.conda.content, files.conda.reporting(found))


def _check_place(root: Path, document: Document, written: str, key: At, report: Report) -> None:
    """Reports a path that is there, but would not be on another machine."""
    path = document.file.parent / written
    if not kind_of(path):
        return
    if Path(written).is_absolute():
        fix = "write it relative to the file that it stands in"
        report(Fault("absolute-path", f"{masked(written)} holds on this machine only", fix, key))
    elif not path.resolve().is_relative_to(root):
        fix = "move what it names into the project"
        report(Fault("outside-project", f"{masked(written)} leads out of the project", fix, key))


def _check_code(root: Path, code: Path, named_by: Document, found: Found) -> None:
    """Checks what would leave of a code folder; faults of the whole are told where `named_by` names it."""
    report = named_by.reporting(found)
    if root != code and root.is_relative_to(code):
        fix = "name the folder that holds the step's code alone"
        report(Fault("wide-code", f"{code} holds this project and more", fix, ("code",)))
        return
    try:
        upload = list_upload(code)
    except UsageError as error:
        report(Fault("missing-file", error.problem, error.fix, ("code",)))
        return
    check_upload(upload, report)
    for file in upload.files:
        if file.path.endswith(".py"):
            path = (code / file.path).resolve()
            for each in find_source_faults(path.read_text("utf-8", errors="replace")):
                found(place(each.fault, str(path), each.line))


def _said(_: Fault) -> None:
    """Parsing has said it already."""
