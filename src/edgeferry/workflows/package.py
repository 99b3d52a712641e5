"""Package: a registered model version as an image: the model, its card, its smoke cases, the server.

What answers in the image is the model's runtime (docs/serving.md): its graph if it converts, else the library
that trained it, else MLflow's `pyfunc`, or what the model's folder brings: a `score.py`, a `Dockerfile`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeferry.domain.capture_policy import check_redaction
from edgeferry.domain.column import TYPES, is_text, takes, wants, with_ranges
from edgeferry.domain.heldout import HeldOut, parse_held_out
from edgeferry.domain.image import ONNX, Image, Serving
from edgeferry.domain.model import Column, ModelDefinition, ModelVersion
from edgeferry.domain.smoke import Case, CaseSet, RefusedCase, SameCase
from edgeferry.domain.smoke_checks import make_cases, parse_checks, require_memory
from edgeferry.errors import DefinitionError, RefusedError
from edgeferry.ports import Services
from edgeferry.ports_models import Library
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card

_NO_EDGES = HeldOut((), ())
_FOLDER = "model"
"""Below the model layer's folder: what the pipeline registered, for runtimes other than `onnx`."""


@dataclass(frozen=True)
class Packed:
    """An image, and the rows beside its model's splits that verification asks besides the held-out ones."""

    image: Image
    edges: HeldOut


@dataclass(frozen=True)
class _Served:
    """A runtime, and the files of the model layer that are its own."""

    serving: Serving
    files: Mapping[str, bytes]
    edges: HeldOut = _NO_EDGES
    trusted_types: tuple[str, ...] = ()


def package(
    services: Services, definition: ModelDefinition, version: ModelVersion, no_graph: str = ""
) -> Packed:
    """The image of `version`; the same version gives the same bytes. With `no_graph`, the reason for it, the
    library that trained the model answers even if the model converts.

    RefusedError when no runtime can serve the model; DefinitionError when held-out file or checks are wrong.
    """
    with services.work(f"package {definition.name}"):
        return _package(services, definition, version, no_graph)


def _package(services: Services, definition: ModelDefinition, version: ModelVersion, no_graph: str) -> Packed:
    _check_columns(definition, version)
    held_out = load_held_out(services, definition, version)
    _check_image(definition, version)
    _check_capture(definition, version)
    served = _choose_runtime(services, definition, version, held_out, no_graph)
    serving = served.serving
    if definition.dockerfile:
        serving = replace(serving, reason=f"{serving.reason}; image by the model's own Dockerfile")
    card = ModelCard(
        model=definition.name,
        version=version.version,
        columns=_describe_columns(definition, version, serving.runtime, held_out),
        tolerance=definition.tolerance,
        output=definition.prediction_column,
        runtime=serving.runtime,
        artifact=serving.artifact,
        trusted_types=served.trusted_types,
        image=definition.image,
        capture=definition.capture,
        answers=version.answers if serving.runtime in ("onnx", "library", "pyfunc") else "double",
    )
    names = [column.name for column in version.columns]
    count = definition.smoke_cases
    latency_ms = definition.latency_ms
    made = make_cases(held_out.rows, held_out.predictions, names, count, serving.runtime, latency_ms)
    asked = (*made, *_read_checks(definition, version, held_out, [case.id for case in made]))
    is_ours = serving.runtime != "own" and not definition.dockerfile
    cases = CaseSet(
        model=definition.name,
        version=version.version,
        tolerance=definition.tolerance,
        latency_ms=definition.latency_ms,
        cases=require_memory(asked) if is_ours else asked,
        model_sha256=hashlib.sha256(served.files[serving.artifact]).hexdigest(),
    )
    files = {**served.files, "model.json": render_model_card(card), "cases.json": render_cases(cases)}
    image = services.images.assemble_model(definition, version, files, serving)
    if definition.dockerfile:
        image = services.builder.build(definition, image)
    return Packed(image, served.edges)


def load_held_out(services: Services, definition: ModelDefinition, version: ModelVersion) -> HeldOut:
    """The held-out rows of `version` and the pipeline's own predictions; DefinitionError when the file is
    not what `model.yaml` says."""
    path = services.tracking.download(version, definition.held_out)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(
            f"{definition.held_out} of {version.model} version {version.version} is no text file: {error}",
            fix="let held_out in model.yaml name the CSV file",
        ) from error
    return parse_held_out(
        text,
        _columns(definition, version),
        definition.prediction_column,
        definition.held_out,
        version.answers,
    )


def _read_checks(
    definition: ModelDefinition, version: ModelVersion, held_out: HeldOut, taken: Sequence[str]
) -> tuple[Case, ...]:
    """The hand-written checks, made from the first held-out row that has every value."""
    full = (row for row in held_out.rows if all(value == value for value in row))
    base = next(full, held_out.rows[0])
    cases = parse_checks(definition.checks, [column.name for column in version.columns], base, taken)
    columns = _columns(definition, version)
    for case in cases:
        for row in () if isinstance(case, RefusedCase | SameCase) else case.rows:
            for column, value in zip(columns, row, strict=True):
                if value is None:
                    raise DefinitionError(
                        f"check {case.id}: no held-out row has a value in every column to start from",
                        fix="take the check away, or let the pipeline write a row with all values",
                        file="smoke/checks.yml",
                    )
                if not takes(column, value):
                    raise DefinitionError(
                        f"check {case.id}: column {column.name} does not take {value!r}",
                        fix=f"write {wants(column)}",
                        file="smoke/checks.yml",
                    )
    return cases


def _check_columns(definition: ModelDefinition, version: ModelVersion) -> None:
    """Nothing when a row can carry every column, or the model's own code reads requests; RefusedError."""
    if definition.runtime in ("score", "own"):
        return
    for column in version.columns:
        if column.type not in TYPES:
            raise RefusedError(
                f"column {column.name} is of type {column.type}, which a row cannot carry",
                fix="let the signature say numbers, texts or bytes, or add a score.py to the model's folder",
            )


def _check_image(definition: ModelDefinition, version: ModelVersion) -> None:
    """Nothing when images and columns fit; DefinitionError otherwise."""
    image = definition.image
    if image is None:
        return
    if definition.runtime in ("score", "own"):
        raise DefinitionError(
            "model.yaml: `image` is not for a model that reads request bodies itself",
            fix="take `image` away, and let the model's own code decode images",
        )
    if image.width * image.height != len(version.columns):
        raise DefinitionError(
            f"model.yaml: an image of {image.width}×{image.height} pixels is no row of "
            f"{len(version.columns)} columns",
            fix="let each pixel be one column, in row-major order",
        )


def _check_capture(definition: ModelDefinition, version: ModelVersion) -> None:
    """Nothing when what `capture` redacts is there; DefinitionError otherwise."""
    names = [column.name for column in version.columns]
    try:
        check_redaction(definition.capture, names, definition.prediction_column)
    except DefinitionError as error:
        raise DefinitionError(f"model.yaml: {error.problem}", fix=error.fix, key=error.key) from error


def _choose_runtime(
    services: Services, definition: ModelDefinition, version: ModelVersion, held_out: HeldOut, no_graph: str
) -> _Served:
    folder = services.tracking.download(version, definition.model_artifact)
    if definition.runtime == "own":
        files = _read_folder(folder)
        artifact = f"{_FOLDER}/MLmodel"
        return _Served(Serving("own", "model.yaml says so", artifact), files)
    pipeline = services.project.load_pipeline(definition)
    texts = [f"column {each.name} is of type {each.type}" for each in version.columns if is_text(each)]
    if texts and definition.runtime in ("onnx", "library"):
        raise RefusedError(
            f"runtime {definition.runtime} takes numbers only: {texts[0]}",
            fix="write `runtime: pyfunc`, or none",
        )
    if texts:
        no_graph = no_graph or texts[0]
    if definition.runtime not in ("library", "pyfunc", "score") and not no_graph:
        try:
            converted = services.converter.to_onnx(folder, services.runner.python_of(pipeline), held_out.rows)
        except RefusedError as refused:
            if definition.runtime == "onnx":
                raise
            no_graph = refused.problem
        else:
            return _Served(ONNX, {"model.onnx": converted.graph}, converted.edges)
    versions = tuple(services.runner.versions_of(pipeline))
    files = _read_folder(folder)
    if definition.runtime == "score":
        return _serve_script(services, definition, files, versions)
    runtime, library = _find_library(services, definition, folder, bool(texts))
    reason = f"{library.name}: {no_graph or 'model.yaml says so'}"
    if runtime == "pyfunc":
        needed = _requirements(files) + "mlflow-skinny\npandas\n"
    else:
        needed = _requirements(files, ("mlflow", "pandas") if library.plain else ("mlflow",))
    serving = Serving(runtime, reason, f"{_FOLDER}/{library.file}", needed, versions)
    return _Served(serving, files, trusted_types=library.trusted_types)


def _find_library(
    services: Services, definition: ModelDefinition, folder: Path, texts: bool
) -> tuple[str, Library]:
    """The runtime, and what runs the model in it: its own library, else MLflow's `pyfunc`."""
    if definition.runtime == "pyfunc" or texts:
        return "pyfunc", services.converter.find_pyfunc(folder)
    try:
        return "library", services.converter.find_library(folder)
    except RefusedError:
        if definition.runtime == "library":
            raise
        return "pyfunc", services.converter.find_pyfunc(folder)


def _serve_script(
    services: Services,
    definition: ModelDefinition,
    files: Mapping[str, bytes],
    versions: tuple[str, ...],
) -> _Served:
    script = services.project.load_script(definition)
    own = script.requirements
    serving = Serving(
        "score",
        "the model's folder brings its own score.py",
        f"score/{script.entry}",
        _requirements(files) if own is None else own,
        versions,
        exact=own is None,
    )
    return _Served(serving, {**files, **{f"score/{name}": body for name, body in script.files.items()}})


def _requirements(files: Mapping[str, bytes], without: tuple[str, ...] = ("mlflow",)) -> str:
    """What the model was saved with, but for what answering does not take."""
    lines = files.get(f"{_FOLDER}/requirements.txt", b"").decode("utf-8", "replace").splitlines()
    left_out = re.compile(rf"({'|'.join(without)})\b(?!-)")
    return "".join(f"{line}\n" for line in lines if not left_out.match(line))


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The MLflow model's folder, as it stands in the model layer."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{_FOLDER}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}


def _describe_columns(
    definition: ModelDefinition, version: ModelVersion, runtime: str, held_out: HeldOut
) -> tuple[Column, ...]:
    """The card's columns. MLflow gives a model of whole numbers no missing ones."""
    columns = with_ranges(_columns(definition, version), held_out.rows)
    if runtime != "pyfunc":
        return columns
    return tuple(
        replace(column, missing=column.missing and column.type in ("double", "float")) for column in columns
    )


def _columns(definition: ModelDefinition, version: ModelVersion) -> list[Column]:
    """The signature's columns, with what `model.yaml` says of missing values."""
    return [replace(column, missing=definition.missing) for column in version.columns]
