"""Two models fitted here, their graphs with one thing wrong if wished, and what packaging puts beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx.parser
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.smoke import CaseSet
from edgeferry.domain.smoke_checks import make_cases, parse_checks, require_memory
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card

Files = dict[str, bytes]
"""The content of an image's model layer, by file name."""

TOLERANCE = Tolerance(1e-9, 0.0)
LATENCY_MS = 250.0


@dataclass(frozen=True)
class Fitted:
    """A model, and how it answered its held-out rows where it was trained."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[float]]
    predictions: Sequence[float]
    checks: tuple[dict[str, Any], ...]
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    """A row a column, and a column an output or a class."""
    bias: np.ndarray
    classifies: bool

    def graph(self, before: str = "x0 = Identity(x)", after: str = "y = Identity(y0)") -> bytes:
        """The model as an ONNX graph in doubles, in ONNX's text form; `before` makes x0 of x, the question,
        and `after` y, the answer, of y0, what the model says (a class, if it classifies) and of x."""
        width = len(self.weights)
        chosen = "a = ArgMax<axis = 1>(s)  y0 = Cast<to = 11>(a)" if self.classifies else "y0 = Identity(s)"
        text = f"""<ir_version: 10, opset_import: ["" : 21]>
        model (double[rows, {width}] x) => (double[rows, 1] y) <
            {_tensor("mean", self.mean)}, {_tensor("scale", self.scale)},
            {_tensor("w", self.weights)}, {_tensor("b", self.bias)}
        > {{
            {before}
            c = Sub(x0, mean)  z = Div(c, scale)  m = MatMul(z, w)  s = Add(m, b)
            {chosen}
            {after}
        }}"""
        return bytes(onnx.parser.parse_model(text).SerializeToString())

    def package(
        self,
        graph: bytes | None = None,
        *,
        version: str = "3",
        runtime: str = "onnx",
        script: str = "",
        latency_ms: float = LATENCY_MS,
    ) -> Files:
        """The model layer, as packaging makes it of this model, with whatever it converted to."""
        artifact = "score/score.py" if runtime == "score" else "model.onnx"
        body = script.encode() if runtime == "score" else graph or self.graph()
        card = ModelCard(
            self.name,
            version,
            tuple(Column(name, "double") for name in self.columns),
            TOLERANCE,
            "answer",
            runtime,
            artifact,
        )
        made = make_cases(self.rows, self.predictions, self.columns, 10, runtime, latency_ms)
        taken = [case.id for case in made]
        checks = [check for check in self.checks if "refused" not in check or runtime != "score"]
        cases = CaseSet(
            self.name,
            version,
            TOLERANCE,
            latency_ms,
            require_memory((*made, *parse_checks(checks, self.columns, self.rows[0], taken))),
            hashlib.sha256(body).hexdigest(),
        )
        truth = {
            "columns": self.columns,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
            "classifies": self.classifies,
        }
        return {
            artifact: body,
            "model.json": render_model_card(card),
            "cases.json": render_cases(cases),
            "model/truth.json": json.dumps(truth).encode(),
        }


def _tensor(name: str, values: np.ndarray) -> str:
    shape = ", ".join(map(str, values.shape))
    return f"double[{shape}] {name} = {{{', '.join(map(repr, values.ravel().tolist()))}}}"


@cache
def fit_fares() -> Fitted:
    """Fares of taxis: what they cost is nearly linear in five numbers."""
    draw = np.random.default_rng(7)
    count = 600
    rows = np.column_stack(
        [
            np.round(draw.gamma(2.0, 2.5, count) + 0.3, 2),
            np.round(draw.uniform(2, 70, count), 1),
            draw.integers(1, 7, count),
            draw.integers(0, 24, count),
            draw.integers(0, 2, count),
        ]
    ).astype(float)
    fares = 3.0 + rows @ [2.4, 0.35, 0.1, -0.05, 12.0] + draw.normal(0, 0.8, count)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(rows[:400], fares[:400])
    return Fitted(
        name="fares",
        columns=("distance_km", "minutes", "passengers", "hour", "airport"),
        rows=rows[400:].tolist(),
        predictions=model.predict(rows[400:]).tolist(),
        checks=(
            {"increasing": {"id": "farther-costs-more", "column": "distance_km", "values": [1, 2, 5, 20]}},
            {"refused": {"id": "too-few-columns", "data": [[1, 2]]}},
        ),
        mean=model[0].mean_,
        scale=model[0].scale_,
        weights=model[1].coef_.reshape(-1, 1),
        bias=np.array([model[1].intercept_]),
        classifies=False,
    )


@cache
def fit_digits() -> Fitted:
    """Digits, drawn in 8 by 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), RidgeClassifier()).fit(images[:1200], labels[:1200])
    scale = np.where(model[0].scale_ == 0, 1.0, model[0].scale_)
    return Fitted(
        name="digits",
        columns=tuple(f"pixel_{number}" for number in range(64)),
        rows=images[1200:1500].tolist(),
        predictions=model.predict(images[1200:1500]).astype(float).tolist(),
        checks=(),
        mean=model[0].mean_,
        scale=scale,
        weights=model[1].coef_.T,
        bias=model[1].intercept_,
        classifies=True,
    )


def refit_fares() -> Fitted:
    """The model as it would be, had it been trained on a tenth of the trips."""
    fares = fit_fares()
    rows, answers = np.array(fares.rows[:40]), np.array(fares.predictions[:40])
    noise = np.random.default_rng(3).normal(0, 0.8, 40)
    model = LinearRegression().fit((rows - fares.mean) / fares.scale, answers + noise)
    return replace(fares, weights=model.coef_.reshape(-1, 1), bias=np.array([model.intercept_]))
