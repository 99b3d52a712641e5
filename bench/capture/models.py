"""The example models, trained by their own steps, as folders that the model server takes; and rows to ask."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeferry.adapters.sklearn_to_onnx import convert
from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.smoke import CaseSet, RefusedCase
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = ("nyc_taxi", "london_taxi", "digits")
SCORE = """import json
import os
import pickle

import numpy

model = None


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)


def run(raw_data):
    data = numpy.array(json.loads(raw_data)["data"])
    return model.predict(data).tolist()
"""
"""As a team has it today: the model's own library, and nothing of ours."""


@dataclass(frozen=True)
class Trained:
    """A fitted model, and rows as its pipeline makes them."""

    name: str
    columns: Sequence[str]
    estimator: Any
    rows: np.ndarray

    def body(self, number: int, rows: int = 1) -> bytes:
        """What a client posts as request `number`; whole numbers have no `.0`, as of most clients."""
        asked = (
            ",".join(repr(value) if value % 1 else str(int(value)) for value in row)
            for row in self.asked(number, rows)
        )
        return f'{{"data":[[{"],[".join(asked)}]]}}'.encode()

    def asked(self, number: int, rows: int = 1) -> list[list[float]]:
        """The rows of request `number`, so many."""
        first = number * rows % (len(self.rows) - rows + 1)
        found: list[list[float]] = self.rows[first : first + rows].tolist()
        return found

    def right(self, number: int, rows: int = 1) -> list[float]:
        """The library's own answer."""
        import pandas as pd

        table = pd.DataFrame(self.asked(number, rows), columns=list(self.columns))
        found: list[float] = self.estimator.predict(table).tolist()
        return found


@cache
def train(name: str, rows: int = 20_000) -> Trained:
    """The model, and about that many rows, all different where the example's sample can be made larger."""
    project = EXAMPLES / ("digits" if name == "digits" else "taxi")
    for source in (project / "models" / name / "src", project / "shared" / "src"):
        if str(source) not in sys.path:
            sys.path.insert(0, str(source))
    names = importlib.import_module(f"{name}.columns")
    transform = importlib.import_module(f"{name}.transform")
    if name == "digits":
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]

        given = load_digits()
        features = transform.make_features(given.images, given.target)
        estimator = importlib.import_module("digits.train").fit(features)
        return Trained(name, names.FEATURES, estimator, _distinct(features[names.FEATURES].to_numpy(), rows))
    learn = _features(project / "models" / name, name, transform, 1000)
    features = _features(project / "models" / name, name, transform, rows)
    training = importlib.import_module("regression.train")
    if name == "nyc_taxi":
        estimator = training.make_estimator("sklearn.linear_model.LinearRegression")
    else:
        estimator = training.make_estimator(
            "sklearn.ensemble.HistGradientBoostingRegressor",
            'max_iter=150, learning_rate=0.08, monotonic_cst={"distance_km":1}',
        )
    training.fit(estimator, learn, names.TARGET)
    table = np.unique(features[names.FEATURES].to_numpy(), axis=0)
    return Trained(name, names.FEATURES, estimator, np.random.default_rng(7).permutation(table)[:rows])


def write_graph(trained: Trained, folder: Path) -> Path:
    """The model's files with runtime `onnx`."""
    return _write(trained, folder, {"model.onnx": convert(trained.estimator)})


def write_script(trained: Trained, folder: Path) -> Path:
    """The model's files with a score.py that nobody touched."""
    files = {"model/model.pkl": pickle.dumps(trained.estimator), "score/score.py": SCORE.encode()}
    return _write(trained, folder, files, runtime="score", artifact="score/score.py")


def _write(trained: Trained, folder: Path, files: dict[str, bytes], **said: str) -> Path:
    columns = tuple(Column(name, "double") for name in trained.columns)
    card = replace(ModelCard(trained.name, "1", columns, Tolerance(1e-9, 0.0), "answer"), **said)  # type: ignore[arg-type]
    cases = CaseSet(trained.name, "1", card.tolerance, 2000.0, (RefusedCase("short", {"data": [[1]]}),))
    files = {**files, "model.json": render_model_card(card), "cases.json": render_cases(cases)}
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def _features(model: Path, name: str, transform: Any, rows: int) -> Any:
    """A sample of about that many trips, through the model's own steps."""
    spec = importlib.util.spec_from_file_location(f"{name}_sample", model / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    some_are_broken = int(rows * 1.06)
    sample.ROWS = some_are_broken // (2 if name == "nyc_taxi" else 1)  # type: ignore[attr-defined]
    prepare = importlib.import_module(f"{name}.prepare")
    with tempfile.TemporaryDirectory(prefix="bench-capture-") as scratch:
        sample.write_sample(Path(scratch))
        return transform.make_features(prepare.drop_unusable(prepare.read_trips(Path(scratch))))


def _distinct(images: np.ndarray, rows: int) -> np.ndarray:
    """More images than there are: each with one pixel changed, as a scanner's noise does."""
    dice = np.random.default_rng(7)
    found = images[dice.integers(0, len(images), rows)].copy()
    found[np.arange(rows), dice.integers(0, images.shape[1], rows)] = dice.integers(0, 17, rows)
    return found
