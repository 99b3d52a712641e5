"""Runtime `library`: the model as MLflow's scikit-learn flavor saved it, run by the library that trained it.

The file is loaded as MLflow loads it: pickle, or skops with the types that the pipeline trusted. Loading a
pickle runs what it says; it comes from the team's own pipeline, in an image that was verified and signed for.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy

from edgeferry.device.modules.predicting import Predict, ask_model
from edgeferry.errors import UsageError


def load_library(file: Path, columns: Sequence[str], trusted_types: Sequence[str], texts: bool) -> Predict:
    """What answers rows with one number for each of `columns`, by a number or, with `texts`, a text;
    UsageError when the model does not load."""
    try:
        model = _load(file, list(trusted_types))
    except Exception as error:
        raise UsageError(
            f"the model in {file} does not load: {type(error).__name__}: {error}",
            fix="name what it needs in save_model(pip_requirements=…), or serve it with a score.py",
        ) from error
    table = _table_of(model, list(columns))

    def predict(rows: Sequence[Sequence[float]]) -> list[Any]:
        return ask_model(model.predict, table(rows), len(rows), texts)

    with suppress(Exception):  # warms up what the library imports late; zeros may be no input of this model
        predict([[0.0] * len(columns)])
    return predict


def _load(file: Path, trusted_types: list[str]) -> Any:
    code = file.parent / "code"  # where MLflow puts what `code_paths` named
    if code.is_dir():
        sys.path.insert(0, str(code))
    if file.suffix == ".skops":
        from skops import io

        return io.load(file, trusted=trusted_types)
    with file.open("rb") as body:
        return pickle.load(body)


def _table_of(model: Any, columns: list[str]) -> Callable[[Sequence[Sequence[float]]], Any]:
    """Rows as the model was fitted: with column names if it knows any, else as a plain array."""
    if hasattr(model, "feature_names_in_"):
        with suppress(ImportError):
            from pandas import DataFrame

            return lambda rows: DataFrame(numpy.array(rows, dtype=numpy.float64), columns=columns)
    return lambda rows: numpy.array(rows, dtype=numpy.float64)
