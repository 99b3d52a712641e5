"""Reads a model's file as far as `edgeferry init --from-model` needs it; nothing of it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeferry.adapters.given_columns import read_takes
from edgeferry.adapters.templates import CopierTemplates
from edgeferry.adapters.unpacking import UNREADABLE, read_skops, unpack
from edgeferry.domain.given import (
    TESTED_SKLEARN,
    GivenModel,
    form_of,
    mlflow_requirements,
    pickle_requirements,
    read_pickle,
    refuse_harmful,
    unknown_modules,
)
from edgeferry.domain.given_sample import Misfit, SampleColumn, find_fit, read_sample
from edgeferry.errors import UsageError

_SKOPS_VERSION = re.compile(r'"_sklearn_version": \{[^{}]*"content": "\\"([^"\\]+)\\""')
_ONNX = ("onnx==1.23.2", "protobuf>=6.33,<7", "onnxruntime", "numpy", "pandas")
_RUNS_CODE = (
    "{name} is a pickle: loading it runs whatever code it holds. It was not loaded now; training does, "
    "with your rights: take only what you or people you trust have made"
)


def read_given(path: Path, sample: Path | None, name: str, target: str = "") -> GivenModel:
    """The model at `path` with rows to ask it, whose column `target`, if any, is no input; UsageError when
    either is not what it should be, or they do not fit each other, RefusedError when it would do harm."""
    if sample is None:
        raise UsageError(
            "a model alone cannot be verified: there is nothing to ask it",
            fix="name a few rows: --sample rows.csv",
        )
    for file in (path, sample):
        if not file.exists():
            raise UsageError(f"there is no {file}", fix="check the path")
    columns = _read_sample(sample)
    try:
        parts = [each.name for each in path.iterdir()] if path.is_dir() else None
        data = b"" if parts is not None else path.read_bytes()
        form = form_of(path.name, data[:64], parts)
        fit = find_fit(str(sample), columns, path.name, read_takes(form, path), target)
        for misfit in fit.misfits:
            raise UsageError(misfit.problem, fix=misfit.fix)
        requirements, warnings = _read_requirements(form, path, data)
    except (OSError, *UNREADABLE) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix="is it whole? save it again") from error
    told = (*warnings, *fit.notes)
    return GivenModel(name, form, str(path), str(sample), requirements, told, target, fit.missing)


def find_sample_faults(folder: Path) -> Iterator[tuple[Path, Misfit]]:
    """How the sample in a model's folder `given` does not fit the model beside it: its file, and what is
    wrong."""
    given = folder / "given"
    target = str(CopierTemplates().answers(folder).get("target") or "")
    for sample in sorted(given.glob("sample.*")):
        try:
            columns = _read_sample(sample)
        except UsageError as error:
            yield sample, Misfit(error.problem, error.fix)
            continue
        for model in sorted(given.glob("model*")):
            with suppress(OSError, UsageError):  # the step tells what the file itself lacks
                parts = [each.name for each in model.iterdir()] if model.is_dir() else None
                form = form_of(model.name, b"" if parts is not None else _read_head(model), parts)
                takes = read_takes(form, model)
                fit = find_fit(sample.name, columns, f"given/{model.name}", takes, target)
                yield from ((sample, misfit) for misfit in fit.misfits)


def _read_head(file: Path) -> bytes:
    with file.open("rb") as body:
        return body.read(64)


def _read_sample(sample: Path) -> tuple[SampleColumn, ...]:
    try:
        return read_sample(sample.name, sample.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{sample} cannot be read: {error}", fix="check the file") from error


def _read_requirements(form: str, path: Path, data: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Its requirements, and what a person should know."""
    if form == "pickle":
        return _read_pickle(path.name, data)
    if form == "skops":
        said = _SKOPS_VERSION.search(read_skops(path).decode("utf-8"))
        return (f"scikit-learn=={said[1] if said else TESTED_SKLEARN}", "numpy", "pandas", "skops"), ()
    if form == "onnx":
        return _ONNX, ()
    listed = path / "requirements.txt"
    if not listed.is_file():
        raise UsageError(
            f"{path} has no requirements.txt", fix="save it with mlflow.…save_model, which writes one"
        )
    return mlflow_requirements(listed.read_text("utf-8")), _pickles_in(path)


def _read_pickle(name: str, data: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pickled = read_pickle(unpack(data))
    refuse_harmful(name, pickled)
    warnings = [_RUNS_CODE.format(name=name)]
    if not pickled.sklearn:
        warnings.append(f"{name} does not say which scikit-learn wrote it: {TESTED_SKLEARN} is taken")
    own = unknown_modules(pickled)
    if own:
        warnings.append(
            f"{name} needs {', '.join(own)}: name its library in environment/conda.yml, "
            "or put your module into src/"
        )
    return pickle_requirements(pickled), tuple(warnings)


def _pickles_in(folder: Path) -> tuple[str, ...]:
    """A warning when the MLflow model is kept as a pickle."""
    found = sorted(folder.rglob("*.pkl"))
    return (_RUNS_CODE.format(name=f"{folder.name}/{found[0].relative_to(folder)}"),) if found else ()
