"""What models' files say of their columns: of each form, and of estimators around others."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgeferry.adapters.given_columns import read_takes
from edgeferry.domain.given_sample import Takes

NAMES = ("site", "flow")
ROWS = pd.DataFrame({"site": ["north", "south"] * 6, "flow": np.arange(12.0)})
LABELS = np.array(["fine", "fine", "worn"] * 4)
ENCODED = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["site"]), remainder="passthrough"), LogisticRegression()
)


@pytest.mark.parametrize(
    ("model", "rows", "takes"),
    [
        pytest.param(ENCODED, ROWS, Takes(NAMES, NAMES, 2), id="texts encoded in front"),
        pytest.param(
            make_pipeline(StandardScaler(), LogisticRegression()),
            ROWS[["flow"]],
            Takes(("flow",), ("flow",), 1, numbers=True),
            id="scaled in front",
        ),
        pytest.param(
            LogisticRegression(),
            ROWS[["flow", "flow"]].to_numpy(),
            Takes(count=2, numbers=True),
            id="no names",
        ),
        pytest.param(
            GridSearchCV(ENCODED, {"logisticregression__C": [1.0]}, cv=2),
            ROWS,
            Takes(NAMES, NAMES, 2),
            id="chosen",
        ),
    ],
)
def test_an_estimator_takes_what_it_was_fitted_with(
    model: Any, rows: Any, takes: Takes, tmp_path: Path
) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model.fit(rows, LABELS)))
    assert read_takes("pickle", tmp_path / "m.pkl", bytes) == takes


def node(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"__loader__": kind, "content": content, **more}


def test_a_skops_file_says_so_in_its_schema(tmp_path: Path) -> None:
    names = node("NdArrayNode", [node("JsonNode", json.dumps(name)) for name in NAMES], type="json")
    state = node("DictNode", {"feature_names_in_": names, "n_features_in_": node("JsonNode", "2")})
    whole = node("ObjectNode", state, __module__="sklearn.tree._classes", __class__="DecisionTreeClassifier")
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(whole))
    assert read_takes("skops", tmp_path / "m.skops", bytes) == Takes(NAMES, NAMES, 2, numbers=True)


@pytest.mark.parametrize(
    ("inputs", "takes"),
    [
        pytest.param([(TensorProto.FLOAT, [None, 3])], Takes(count=3, numbers=True), id="a table"),
        pytest.param([(TensorProto.FLOAT, [None, "n"])], Takes(numbers=True), id="of any width"),
        pytest.param(
            [(TensorProto.FLOAT, [None, 1]), (TensorProto.STRING, [None, 1])], "has 2 inputs", id="two"
        ),
        pytest.param([(TensorProto.STRING, [None, 3])], "takes no table of numbers", id="texts"),
        pytest.param([(TensorProto.FLOAT, [None, 3, 8, 8])], "has 4 axes, not rows", id="pictures"),
    ],
)
def test_a_graph_takes_a_table_or_is_told_why_not(inputs: Any, takes: Takes | str, tmp_path: Path) -> None:
    given = [helper.make_tensor_value_info(f"x{n}", *each) for n, each in enumerate(inputs)]
    made = helper.make_graph([helper.make_node("Identity", ["x0"], ["y"])], "g", given, given[:1])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(made).SerializeToString())
    found = read_takes("onnx", tmp_path / "m.onnx", bytes)
    assert takes in found.problem if isinstance(takes, str) else found == takes


def test_what_cannot_be_told_is_left_to_the_step(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"what is this")
    for form in ("pickle", "skops", "onnx"):
        assert read_takes(form, tmp_path / "m", bytes) == Takes()
