"""A pipeline as a job of Azure ML: the document that is submitted, and the files that go with it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from edgeferry.adapters.azureml_sdk import load_sdk
from edgeferry.adapters.upload import list_upload
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import FOLDERS, PATHS, Pipeline, Value, bind_inputs
from edgeferry.domain.run import Preview
from edgeferry.domain.snapshot import Upload
from edgeferry.errors import GitError, UsageError
from edgeferry.git import Git

_REMOTE = ("azureml:", "https:", "wasbs:", "abfss:")


def make_job(
    cluster: str, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
) -> tuple[Any, Preview]:
    """The job as the SDK knows it, on `cluster` where the pipeline names no compute, and what submitting it
    would do. UsageError when an input is missing or not here."""
    values = bind_inputs(pipeline, inputs)
    uploads = _list_uploads(pipeline, values)
    notes = []
    job = load_sdk().load_job(
        model.pipeline,
        params_override=[
            {"name": run_id},
            {"display_name": run_id},
            {"experiment_name": pipeline.experiment},
            *(
                {_override(pipeline, name): _absolute(pipeline, name, values[name])}
                for name, spec in pipeline.inputs.items()
                if name in inputs or spec.type in PATHS
            ),
        ],
    )
    for name, step in job.jobs.items():
        step.display_name = name  # by which its run is found again
    if not (job.settings.default_compute or job.compute):
        job.settings.default_compute = cluster
        notes.append(f"pipeline.yml names no compute: {cluster}, from azureml.compute")
    commit = find_commit(Path(model.folder))
    document = _render(job)
    job.tags = {
        **(job.tags or {}),
        "edgeferry.model": model.name,
        "edgeferry.content": _content_id(document.replace(run_id, ""), uploads),
        **({"edgeferry.git_commit": commit} if commit else {}),
    }
    # The SDK would add the address of the git remote, which may hold a password; not where these stand.
    job.properties = {**(job.properties or {}), "mlflow.source.git.commit": commit or "none"}
    return job, Preview(_render(job), uploads, tuple(notes))


def _render(job: Any) -> str:
    return yaml.safe_dump(job._to_dict(), sort_keys=False, allow_unicode=True)


def _override(pipeline: Pipeline, name: str) -> str:
    return f"inputs.{name}.path" if pipeline.inputs[name].type in PATHS else f"inputs.{name}"


def _absolute(pipeline: Pipeline, name: str, value: Value) -> Value:
    if pipeline.inputs[name].type not in PATHS or str(value).startswith(_REMOTE):
        return value
    return str(Path(str(value)).expanduser().resolve())


def _list_uploads(pipeline: Pipeline, values: Mapping[str, Value]) -> Mapping[str, Upload]:
    """What would leave the machine: code folders and inputs that are here, each once, by path.

    UsageError when an input is not here.
    """
    uploads = {
        step.component.code: list_upload(Path(step.component.code))
        for step in pipeline.steps
        if step.component.code
    }
    for name, spec in pipeline.inputs.items():
        value = str(_absolute(pipeline, name, values[name]))
        if spec.type not in PATHS or value.startswith(_REMOTE):
            continue
        path = Path(value)
        if not (path.is_dir() if spec.type in FOLDERS else path.is_file()):
            raise UsageError(
                f"the input `{name}` is no {'folder' if spec.type in FOLDERS else 'file'} on this machine: "
                f"{values[name]}",
                fix=f"give one, or an address of Azure's: {name}=azureml:NAME:VERSION",
            )
        uploads[value] = list_upload(path) if path.is_dir() else _list_file(path)
    return uploads


def _list_file(path: Path) -> Upload:
    """The file alone, as `list_upload` sees it in its folder, its ignore file aside."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).symlink_to(path)
        upload = list_upload(Path(folder))
    return replace(upload, ignore_file="")


def _content_id(document: str, uploads: Mapping[str, Upload]) -> str:
    """A hash of the job and of every byte that goes with it; the same work has the same, wherever it lies."""
    for place in sorted(uploads, key=len, reverse=True):
        document = document.replace(place, Path(place).name)
    total = hashlib.sha256(document.encode())
    for place, upload in sorted(uploads.items()):
        for file in upload.files:
            path = Path(place) / file.path if Path(place).is_dir() else Path(place)
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            total.update(f"{file.path} {digest}\n".encode())
    return total.hexdigest()[:16]


def find_commit(folder: Path) -> str:
    """The commit checked out in the folder, `+changes` when files there differ from it; "" outside git."""
    git = Git(folder)
    try:
        head = git.ask("rev-parse", "HEAD").decode().strip()
        return head + ("+changes" if git.ask("status", "--porcelain", ".").strip() else "")
    except GitError:
        return ""
