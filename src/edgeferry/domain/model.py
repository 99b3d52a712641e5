"""What a user declares in one model folder, and what its pipeline registered. Pure values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.fields import check_keys, mapping, nearest, number, text
from edgeferry.errors import DefinitionError

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
MOST_PIXELS = 4096
"""The widest and highest image a model may take."""
RUNTIMES = ("auto", "onnx", "library", "score", "own")


@dataclass(frozen=True)
class Column:
    """One input of a model: its name and its MLflow column type (`double`, `long`, `string`, …)."""

    name: str
    type: str


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: |answer - expected| <= atol + rtol * |expected|."""

    rtol: float
    atol: float

    def allows(self, answer: float, expected: float) -> bool:
        """Whether `answer` counts as `expected`; a NaN on either side never does."""
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
    library that trained it."""
    score: str = ""
    """Absolute path of the model's own `score.py`; "" when it has none."""
    score_requirements: str = ""
    """Absolute path of the requirements of `score.py`; "": those the model was saved with."""
    dockerfile: str = ""
    """Absolute path of the model's own `Dockerfile`; "" when it has none."""
    image: ImageInput | None = None
    """The images it takes besides rows; None when it takes none."""


@dataclass(frozen=True)
class ModelVersion:
    """What the pipeline registered in MLflow."""

    model: str
    version: str
    run_id: str
    metrics: Mapping[str, float]
    columns: tuple[Column, ...]
    """The signature's inputs, in order."""


def parse_model(
    document: Mapping[str, Any], name: str, folder: str, checks: tuple[Mapping[str, object], ...] = ()
) -> ModelDefinition:
    """The definition of the model in `folder` (an absolute path), missing fields by default.

    Raises DefinitionError with the key; paths are not looked at here.
    """
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"`{name}` is no name for a model",
            fix="rename its folder: small letters, digits and _, no _ in front",
        )
    check_keys(
        document,
        (
            "description",
            "pipeline",
            "registered_model",
            "model_artifact",
            "held_out",
            "prediction_column",
            "tolerance",
            "latency_ms",
            "smoke_cases",
            "target_condition",
            "runtime",
            "score",
            "score_requirements",
            "image",
        ),
    )
    runtime = text(document, "runtime", "auto")
    if runtime not in RUNTIMES:
        raise DefinitionError(f"`{runtime}` is no runtime", fix=nearest(runtime, RUNTIMES), key=("runtime",))
    tolerance = mapping(document, "tolerance")
    check_keys(tolerance, ("rtol", "atol"), ("tolerance",))
    smoke_cases = number(document, "smoke_cases", 10)
    if smoke_cases != int(smoke_cases) or smoke_cases < 1:
        raise DefinitionError(
            "`smoke_cases` is not a count", fix="write a number from 1 up", key=("smoke_cases",)
        )
    return ModelDefinition(
        name=name,
        description=text(document, "description", ""),
        folder=folder,
        pipeline=f"{folder}/{_inside(document, 'pipeline', 'pipeline.yml')}",
        registered_model=text(document, "registered_model", name),
        model_artifact=_inside(document, "model_artifact", "model"),
        held_out=_inside(document, "held_out", "predictions/predictions.csv"),
        prediction_column=text(document, "prediction_column"),
        tolerance=Tolerance(
            number(tolerance, "rtol", 1e-9, ("tolerance",)), number(tolerance, "atol", 0.0, ("tolerance",))
        ),
        latency_ms=number(document, "latency_ms", 250),
        smoke_cases=int(smoke_cases),
        target_condition=text(document, "target_condition", f"tags.models.{name} = true"),
        checks=checks,
        runtime=runtime,
        score=f"{folder}/{_inside(document, 'score', 'score.py')}",
        score_requirements=f"{folder}/{_inside(document, 'score_requirements', 'serve/requirements.txt')}",
        dockerfile=f"{folder}/Dockerfile",
        image=_parse_image(document),
    )


def _parse_image(document: Mapping[str, Any]) -> ImageInput | None:
    if document.get("image") is None:
        return None
    image = mapping(document, "image")
    check_keys(image, ("width", "height", "scale"), ("image",))
    sizes = {}
    for field in ("width", "height"):
        size = number(image, field, 0, ("image",))
        if size != int(size) or not 1 <= size <= MOST_PIXELS:
            raise DefinitionError(
                f"`{field}` is no number of pixels",
                fix=f"write a whole number from 1 to {MOST_PIXELS}",
                key=("image", field),
            )
        sizes[field] = int(size)
    scale = number(image, "scale", 255, ("image",))
    if not scale:
        raise DefinitionError(
            "`scale` is 0", fix="write the number that stands for white", key=("image", "scale")
        )
    return ImageInput(sizes["width"], sizes["height"], scale)


def _inside(document: Mapping[str, Any], field: str, default: str) -> str:
    """The relative path at `field` that does not lead out of where it starts."""
    path = text(document, field, default)
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise DefinitionError(
            f"`{field}` leads elsewhere: {path}", fix=f"for example `{default}`", key=(field,)
        )
    return path
