"""What a model's file says of the columns that it takes; nothing of it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgeferry.adapters.unpacking import MOST_BYTES, UNREADABLE, read_skops, unpack
from edgeferry.domain.given_sample import Takes, takes_of_signature
from edgeferry.wire.onnx_graph import read_graph_inputs
from edgeferry.wire.pickle_state import Made, Named, read_state, read_texts
from edgeferry.wire.skops_schema import read_schema

_NUMBERS_ONLY = (
    *("sklearn.linear_model.", "sklearn.tree.", "sklearn.svm.", "sklearn.neural_network."),
    *("sklearn.neighbors.", "sklearn.naive_bayes", "sklearn.preprocessing._data"),
    *("sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient_boosting"),
)
"""Modules of estimators that take no texts, unless they encode them by themselves."""
_INSIDE = ("best_estimator_", "regressor_", "estimator_")
"""Attributes by which an estimator passes rows on as they came."""
_DEEPEST = 8
_MOST_COLUMNS = 1_000_000
_TABLE = "export it with one input, a table of floats or doubles: rows, columns"


def read_takes(form: str, path: Path) -> Takes:
    """What the model at `path` says it takes, as much as can be told: nothing of a file that is torn, or too
    large to be looked into. OSError when it cannot be read, UsageError when it unpacks to too much."""
    try:
        if form == "mlflow":
            return takes_of_signature(yaml.safe_load((path / "MLmodel").read_text("utf-8")))
        if path.stat().st_size > MOST_BYTES:
            return Takes()
        if form == "onnx":
            return _takes_of_graph(path.read_bytes())
        if form == "skops":
            return _takes_of(read_schema(read_skops(path)))
        return _takes_of(read_state(unpack(path.read_bytes())))
    except UNREADABLE:
        return Takes()


def _takes_of_graph(body: bytes) -> Takes:
    inputs = read_graph_inputs(body)
    said = ", ".join(f"{each.name}: {each.kind or 'no tensor'}" for each in inputs)
    if len(inputs) != 1:
        return Takes(problem=f"its graph has {len(inputs)} inputs ({said})", fix=_TABLE)
    (given,) = inputs
    if given.kind not in ("float", "double"):
        return Takes(problem=f"its graph takes no table of numbers ({said})", fix=_TABLE)
    if given.shape is not None and len(given.shape) != 2:
        axes = f"{len(given.shape)} axes" if len(given.shape) != 1 else "one axis"
        return Takes(problem=f"its graph's input {given.name} has {axes}, not rows and columns", fix=_TABLE)
    return Takes(count=given.shape[1] if given.shape else None, numbers=True)


def _takes_of(model: Any, depth: int = 0) -> Takes:
    """Of scikit-learn's estimators, and of what keeps to their ways."""
    if not isinstance(model, Made) or depth > _DEEPEST:
        return Takes()
    steps = model.attribute("steps")
    if isinstance(steps, list | tuple):
        estimators = [step[1] for step in steps if isinstance(step, list | tuple) and len(step) == 2]
        first = next((each for each in estimators if isinstance(each, Made)), None)
        return _takes_of(first, depth + 1)
    names, count = read_texts(model.attribute("feature_names_in_")), model.attribute("n_features_in_")
    if not isinstance(count, int) or not 0 <= count <= _MOST_COLUMNS:
        count = None
    if names is None and count is None:
        inside = (model.attribute(name) for name in _INSIDE)
        return _takes_of(next((each for each in inside if isinstance(each, Made)), None), depth + 1)
    encodes = model.attribute("_preprocessor") is not None  # as histogram gradient boosting can
    numbers = _find_class(model).module.startswith(_NUMBERS_ONLY) and not encodes
    return Takes(names, names or (), len(names) if names is not None else count, numbers)


def _find_class(model: Made) -> Named:
    """Its class, whether the pickle called it or what makes an object of it."""
    parts = (model.of, *(model.arguments if isinstance(model.arguments, tuple) else ()))
    found = [part for part in parts if isinstance(part, Named)]
    own = [part for part in found if part.module.partition(".")[0] not in ("copyreg", "copy_reg")]
    return (own or [Named("", "")])[0]
