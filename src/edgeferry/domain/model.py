"""What a user declares in one model folder, and what its pipeline registered. Pure values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.capture_policy import DEFAULT_POLICY, CapturePolicy, parse_capture_policy
from edgeferry.domain.fields import check_keys, mapping, nearest, number, text
from edgeferry.domain.finding import Fault, Report, refuse
from edgeferry.domain.notation import render_path
from edgeferry.errors import ConditionError

COMPANION = "companion"
"""The module beside the models, and its name wherever a model's could stand: it is released and rolled out
as they are."""
DEVICE_AGENT = "agent"
"""The program that runs a device's modules: our agent, or IoT Edge's. It is released and rolled out likewise,
and on a device it is the system module `edgeAgent`."""
RESERVED = frozenset({COMPANION, DEVICE_AGENT})
"""Names of programs, which no model may have: they are not trained, nobody asks them for a prediction, and
what they have to prove is that all models of the device pass once they run."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
MOST_PIXELS = 4096
"""The widest and highest image a model may take."""
_KEYS = (
    *("description", "pipeline", "registered_model", "model_artifact", "held_out", "prediction_column"),
    *("tolerance", "latency_ms", "smoke_cases", "target_condition"),
    *("runtime", "score", "score_requirements", "image", "missing", "capture"),
)
MISSING = ("refuse", "allow")
RUNTIMES = ("auto", "onnx", "library", "pyfunc", "score", "own")


@dataclass(frozen=True)
class Column:
    """One input of a model: its name and its MLflow column type (`double`, `long`, `string`, …)."""

    name: str
    type: str
    low: float | None = None
    """The smallest value among the held-out rows that the version registered; None when unknown."""
    high: float | None = None
    """The largest of them."""
    missing: bool = False
    """Whether a row may leave the value out (null), which the model is given as NaN."""


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: |answer - expected| <= atol + rtol * |expected|."""

    rtol: float
    atol: float

    def allows(self, answer: float | str, expected: float | str) -> bool:
        """Whether `answer` counts as `expected`; a NaN on either side never does, a text only as itself."""
        if isinstance(answer, str) or isinstance(expected, str):
            return answer == expected
        return abs(answer - expected) <= self.atol + self.rtol * abs(expected)


@dataclass(frozen=True)
class ImageInput:
    """A model that also takes posted images, 8-bit grayscale, `width` × `height`: each is one row, its pixels
    in row-major order, as numbers from 0 (black) to `scale` (white)."""

    width: int
    height: int
    scale: float

    def value(self, gray: int) -> float:
        """What the model is given for a pixel of 0 … 255."""
        return gray * self.scale / 255

    def gray(self, value: float) -> int:
        """The pixel nearest to a number that the model is given."""
        return max(0, min(255, round(value * 255 / self.scale)))


@dataclass(frozen=True)
class ModelDefinition:
    """`model.yaml`: one model, in one folder."""

    name: str
    description: str
    folder: str
    """Absolute path of the model's folder."""
    pipeline: str
    """Absolute path of `pipeline.yml`."""
    registered_model: str
    """Name under which the pipeline registers versions in MLflow."""
    model_artifact: str
    """Path of the MLflow model folder below the run's artifacts."""
    held_out: str
    """Path, below the run's artifacts, of the CSV with the held-out rows and the pipeline's predictions."""
    prediction_column: str
    """The column of `held_out` that holds the prediction."""
    tolerance: Tolerance
    latency_ms: float
    """The slowest acceptable answer of a smoke case, in milliseconds."""
    smoke_cases: int
    """How many held-out rows become smoke cases."""
    target_condition: str
    """Which devices get this model, as the hub's expression."""
    checks: tuple[Mapping[str, object], ...] = ()
    """Hand-written smoke checks (`smoke/checks.yml`), as parsed YAML."""
    runtime: str = "auto"
    """One of RUNTIMES; `auto`: the graph if the model converts and the graph answers right, else the
    library that trained it, else MLflow's `pyfunc`."""
    score: str = ""
    """Absolute path of the model's own `score.py`; "" when it has none."""
    score_requirements: str = ""
    """Absolute path of the requirements of `score.py`; "": those the model was saved with."""
    dockerfile: str = ""
    """Absolute path of the model's own `Dockerfile`; "" when it has none."""
    image: ImageInput | None = None
    """The images it takes besides rows; None when it takes none."""
    missing: bool = False
    """Whether rows may have missing values, which the model is given as NaN (`missing: allow`)."""
    capture: CapturePolicy = DEFAULT_POLICY


@dataclass(frozen=True)
class ModelVersion:
    """What the pipeline registered in MLflow."""

    model: str
    version: str
    run_id: str
    metrics: Mapping[str, float]
    columns: tuple[Column, ...]
    """The signature's inputs, in order."""
    answers: str = "double"
    """What it answers a row with, by its signature: `double`, or `string` where that is a text (a class)."""


def parse_model(
    document: Mapping[str, Any],
    name: str,
    folder: str,
    checks: tuple[Mapping[str, object], ...] = (),
    report: Report = refuse,
) -> ModelDefinition:
    """The definition of the model in `folder` (an absolute path), missing fields by default.

    Faults carry the key; paths are not looked at here.
    """
    if not _NAME.fullmatch(name):
        fix = "rename its folder: small letters, digits and _, no _ in front"
        report(Fault("wrong-name", f"`{name}` is no name for a model", fix))
    if name in RESERVED:
        problem = f"`{name}` is the name of a program of edgeferry's"
        report(Fault("wrong-name", problem, "rename its folder"))
    check_keys(document, _KEYS, report=report)
    runtime = text(document, "runtime", "auto", report=report)
    if runtime not in RUNTIMES:
        report(Fault("wrong-value", f"`{runtime}` is no runtime", nearest(runtime, RUNTIMES), ("runtime",)))
    missing = text(document, "missing", "refuse", report=report)
    if missing not in MISSING:
        problem = f"`{missing}` says nothing about missing values"
        report(Fault("wrong-value", problem, nearest(missing, MISSING), ("missing",)))
    tolerance = mapping(document, "tolerance", report=report)
    check_keys(tolerance, ("rtol", "atol"), ("tolerance",), report)
    smoke_cases = number(document, "smoke_cases", 10, report=report)
    if smoke_cases != int(smoke_cases) or smoke_cases < 1:
        fix = "write a number from 1 up"
        report(Fault("wrong-value", "`smoke_cases` is not a count", fix, ("smoke_cases",)))

    def inside(field: str, default: str) -> str:
        return _inside(document, field, default, report)

    return ModelDefinition(
        name=name,
        description=text(document, "description", "", report=report),
        folder=folder,
        pipeline=f"{folder}/{inside('pipeline', 'pipeline.yml')}",
        registered_model=text(document, "registered_model", name, report=report),
        model_artifact=inside("model_artifact", "model"),
        held_out=inside("held_out", "predictions/predictions.csv"),
        prediction_column=text(document, "prediction_column", report=report),
        tolerance=Tolerance(
            number(tolerance, "rtol", 1e-9, ("tolerance",), report),
            number(tolerance, "atol", 0.0, ("tolerance",), report),
        ),
        latency_ms=number(document, "latency_ms", 250, report=report),
        smoke_cases=int(smoke_cases),
        target_condition=_parse_condition(document, name, report),
        checks=checks,
        runtime=runtime,
        score=f"{folder}/{inside('score', 'score.py')}",
        score_requirements=f"{folder}/{inside('score_requirements', 'serve/requirements.txt')}",
        dockerfile=f"{folder}/Dockerfile",
        image=_parse_image(document, report),
        missing=missing == "allow",
        capture=_parse_capture(document, runtime, report),
    )


def _parse_image(document: Mapping[str, Any], report: Report) -> ImageInput | None:
    image = mapping(document, "image", report=report)
    if not isinstance(document.get("image"), dict):
        return None
    check_keys(image, ("width", "height", "scale"), ("image",), report)
    sizes = {}
    for field in ("width", "height"):
        size = number(image, field, 0, ("image",), report)
        if size != int(size) or not 1 <= size <= MOST_PIXELS:
            problem, fix = (
                f"`{field}` is no number of pixels",
                f"write a whole number from 1 to {MOST_PIXELS}",
            )
            report(Fault("wrong-value", problem, fix, ("image", field)))
        sizes[field] = int(size)
    scale = number(image, "scale", 255, ("image",), report)
    if not scale:
        fix = "write the number that stands for white"
        report(Fault("wrong-value", "`scale` is 0", fix, ("image", "scale")))
    return ImageInput(sizes["width"], sizes["height"], scale)


def _parse_capture(document: Mapping[str, Any], runtime: str, report: Report) -> CapturePolicy:
    said = document.get("capture")
    if said and runtime == "own":
        problem = "`capture` is not for a model with a server of its own, which has no captures"
        report(Fault("serving-conflict", problem, "take it away", ("capture",)))
    return parse_capture_policy(said, report=report)


def _parse_condition(document: Mapping[str, Any], name: str, report: Report) -> str:
    try:
        default = f"{render_path('tags', 'models', name)} = true"
    except ConditionError:
        default = ""  # the name has been told of
    return text(document, "target_condition", default, report=report)


def _inside(document: Mapping[str, Any], field: str, default: str, report: Report) -> str:
    """The relative path at `field` that does not lead out of where it starts."""
    path = text(document, field, default, report=report)
    if not path or path.startswith("/") or ".." in path.split("/"):
        problem = f"`{field}` leads elsewhere: {path}"
        report(Fault("outside-model", problem, f"for example `{default}`", (field,)))
    return path
