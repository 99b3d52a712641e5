"""The models that all servers serve, the rows they are asked about, and our packaging of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.serving.places import SOURCES
from edgeferry.adapters.converter import SklearnConverter
from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.smoke import CaseSet
from edgeferry.domain.smoke_checks import choose_cases
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card

EXAMPLE = SOURCES / "examples/taxi/models/nyc_taxi"
REAL = SOURCES / "../shared/data/tlc"
LIBRARY = tuple(f"{name}=={version(name)}" for name in ("scikit-learn", "numpy"))
"""What trains the models here and runs them in every server that runs the library."""
SCRIPT = Path(__file__).parent / "inside" / "score.py"
ASKED = 200
"""Rows asked about, in turn."""


@dataclass(frozen=True)
class Model:
    """One trained model: `folder` holds `model/`, as MLflow saved it, and our packagings."""

    name: str
    folder: Path
    rows: tuple[tuple[float, ...], ...]
    answers: tuple[float, ...]
    """The library's own, for `rows`."""

    @property
    def saved(self) -> Path:
        return self.folder / "model"

    @property
    def pickle(self) -> Path:
        return self.saved / "model.pkl"

    def packaged(self, runtime: str) -> Path:
        return self.folder / runtime


def find_data(chosen: Path | None) -> tuple[Path, str]:
    """A folder with green*.csv and yellow*.csv, and what it is."""
    if chosen:
        return chosen, f"trips in {chosen.name}"
    if REAL.is_dir():
        return REAL, "10,000 real trips of New York, January 2016"
    return EXAMPLE / "data", "synthetic trips of the same shape: the example's own"


def make_models(data: Path, folder: Path) -> dict[str, Model]:
    """`linear`, and `trees`: 200 of them; fitted on three quarters of the rows, asked about the others."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import train_test_split

    table, fares, columns = _read(data)
    learn, held_out, paid, _ = train_test_split(table, fares, test_size=0.25, random_state=1)
    kinds: dict[str, Any] = {
        "linear": LinearRegression(),
        "trees": HistGradientBoostingRegressor(max_iter=200, early_stopping=False, random_state=1),
    }
    return {
        name: _package(name, kind.fit(learn, paid), held_out[:ASKED], columns, folder / name)
        for name, kind in kinds.items()
    }


def _read(data: Path) -> tuple[Any, Any, list[str]]:
    """The example's own features of the trips."""
    sys.path.insert(0, str(EXAMPLE / "src"))
    from nyc_taxi.columns import FEATURES, TARGET  # type: ignore[import-not-found]
    from nyc_taxi.prepare import drop_unusable, read_trips  # type: ignore[import-not-found]
    from nyc_taxi.transform import make_features  # type: ignore[import-not-found]

    features = make_features(drop_unusable(read_trips(data)))
    return features[FEATURES].to_numpy(), features[TARGET].to_numpy(), list(FEATURES)


def _package(name: str, model: Any, rows: Any, columns: list[str], folder: Path) -> Model:
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        model, folder / "model", serialization_format="cloudpickle", pip_requirements=list(LIBRARY)
    )
    asked = tuple(tuple(float(value) for value in row) for row in rows)
    made = Model(name, folder, asked, tuple(float(value) for value in model.predict(rows)))
    for runtime, artifact in (
        ("onnx", "model.onnx"),
        ("library", "model/model.pkl"),
        ("score", "score/score.py"),
    ):
        _write(made, columns, runtime, artifact)
    return made


def _write(model: Model, columns: list[str], runtime: str, artifact: str) -> None:
    """The model layer of an image with that runtime."""
    place = model.packaged(runtime)
    place.mkdir()
    tolerance = Tolerance(1e-6, 1e-9)
    card = ModelCard(
        model=model.name,
        version="1",
        columns=tuple(Column(name, "double") for name in columns),
        tolerance=tolerance,
        output="fareAmount",
        runtime=runtime,
        artifact=artifact,
    )
    cases = CaseSet(
        model=model.name,
        version="1",
        tolerance=tolerance,
        latency_ms=1000,
        cases=choose_cases(model.rows, model.answers, 10),
    )
    (place / "model.json").write_bytes(render_model_card(card))
    (place / "cases.json").write_bytes(render_cases(cases))
    if runtime == "onnx":
        converted = SklearnConverter().to_onnx(model.saved, Path(sys.executable), model.rows)
        (place / artifact).write_bytes(converted.graph)
        return
    (place / "model").symlink_to(model.saved)
    if runtime == "score":
        (place / "score").mkdir()
        (place / artifact).write_bytes(SCRIPT.read_bytes())
