"""Runtime `pyfunc`: a model of any MLflow flavor, as MLflow's own `python_function` loads and asks it.

Rows become a DataFrame with the signature's types; what `predict` returns must be one number a row.
Loading runs the model's own code, as `runtime_library` says of pickles.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

from edgeferry.device.modules.predicting import Predict, ask_model
from edgeferry.domain.column import BYTES, NUMBERS, TEXT
from edgeferry.domain.model import Column
from edgeferry.errors import UsageError

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",  # an image has no git
}
_DTYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
}


def load_pyfunc(folder: Path, columns: Sequence[Column], texts: bool) -> Predict:
    """What answers rows with one value for each of `columns`, by the MLflow model in `folder`: a number or,
    with `texts`, a text.

    UsageError when it does not load.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        pandas, pyfunc = import_module("pandas"), import_module("mlflow.pyfunc")  # the model's, not ours
        model = pyfunc.load_model(str(folder), suppress_warnings=True)
    except Exception as error:
        raise UsageError(
            f"the model in {folder} does not load: {type(error).__name__}: {error}",
            fix="name what it needs in save_model(pip_requirements=…), or serve it with a score.py",
        ) from error
    makers = [(column.name, _find_maker(column)) for column in columns]

    def predict(rows: Sequence[Sequence[Any]]) -> list[Any]:
        values = zip(makers, zip(*rows, strict=True), strict=True)
        table = pandas.DataFrame({name: make(each) for (name, make), each in values})
        return ask_model(model.predict, table, len(rows), texts)

    if all(column.type in NUMBERS for column in columns):
        with suppress(Exception):  # warms up what is imported late; zeros may be no input of this model
            predict([[0.0] * len(columns)])
    return predict


def _find_maker(column: Column) -> Callable[[Sequence[Any]], Any]:
    """What makes the values of one column of the table."""
    if column.type == BYTES:
        return lambda values: [base64.b64decode(value) for value in values]
    if column.type == TEXT:
        return list
    dtype = _DTYPES[column.type]
    return lambda values: numpy.array(values, dtype=dtype)
