"""What models' files say of their columns: of each form, and of estimators around others."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edgeferry.adapters import unpacking
from edgeferry.adapters.given_columns import read_takes
from edgeferry.adapters.given_model import find_sample_faults, read_given
from edgeferry.domain.given_sample import Takes
from edgeferry.errors import UsageError

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
            HistGradientBoostingClassifier(max_iter=1, categorical_features=["site"]),
            ROWS,
            Takes(NAMES, NAMES, 2),
            id="texts encoded inside",
        ),
        pytest.param(
            HistGradientBoostingClassifier(max_iter=1),
            ROWS[["flow"]],
            Takes(("flow",), ("flow",), 1, numbers=True),
            id="nothing encoded inside",
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
    assert read_takes("pickle", tmp_path / "m.pkl") == takes


def node(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"__loader__": kind, "content": content, **more}


def test_a_skops_file_says_so_in_its_schema(tmp_path: Path) -> None:
    names = node("NdArrayNode", [node("JsonNode", json.dumps(name)) for name in NAMES], type="json")
    state = node("DictNode", {"feature_names_in_": names, "n_features_in_": node("JsonNode", "2")})
    whole = node("ObjectNode", state, __module__="sklearn.tree._classes", __class__="DecisionTreeClassifier")
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(whole))
    assert read_takes("skops", tmp_path / "m.skops") == Takes(NAMES, NAMES, 2, numbers=True)


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
    found = read_takes("onnx", tmp_path / "m.onnx")
    assert takes in found.problem if isinstance(takes, str) else found == takes


PICKLE = pickle.dumps(LogisticRegression().fit(ROWS[["flow"]], LABELS))
ZEROS = b"0" * 2**21
PACKERS = (zlib.compress, gzip.compress, bz2.compress, lzma.compress)


@pytest.mark.parametrize("form", ["pickle", "skops", "onnx"])
def test_what_cannot_be_told_is_left_to_the_step(form: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"what is this")
    assert read_takes(form, tmp_path / "m") == Takes()


@pytest.mark.parametrize("pack", PACKERS)
def test_what_joblib_packed_is_unpacked(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(pack(PICKLE))
    assert read_takes("pickle", tmp_path / "m") == Takes(("flow",), ("flow",), 1, numbers=True)


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(pack(PICKLE)[:-20], id=f"{pack.__module__}, torn") for pack in PACKERS),
        *(pytest.param(pack(PICKLE)[:30] + b"?" * 99, id=f"{pack.__module__}, wrong") for pack in PACKERS),
    ],
)
def test_a_torn_file_says_nothing_and_the_project_is_looked_through(body: bytes, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "model.joblib").write_bytes(body)
    (given / "sample.csv").write_text("flow\n1\n")
    assert list(find_sample_faults(tmp_path)) == []
    with pytest.raises(UsageError) as refused:
        read_given(given / "model.joblib", given / "sample.csv", "pump")
    assert refused.value.fix


@pytest.mark.parametrize("pack", PACKERS)
def test_more_than_a_model_has_is_not_unpacked(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 2**20)
    (tmp_path / "m").write_bytes(pack(ZEROS))
    with pytest.raises(UsageError, match="unpacks to more than 1 MB"):
        read_takes("pickle", tmp_path / "m")


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_schema_is_not_unpacked_without_a_bound(
    kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MOST_SCHEMA_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "m", "w", kind) as archive:
        archive.writestr("schema.json", ZEROS)
    with pytest.raises(ValueError, match=r"schema\.json"):
        unpacking.read_skops(tmp_path / "m")
    assert read_takes("skops", tmp_path / "m") == Takes()


def test_a_schema_that_names_a_class_in_numbers_says_nothing(tmp_path: Path) -> None:
    state = node("DictNode", {"n_features_in_": node("JsonNode", "2")})
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("schema.json", json.dumps(node("ObjectNode", state, __module__=1, __class__=2)))
    assert read_takes("skops", tmp_path / "m") == Takes()
