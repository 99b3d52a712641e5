"""Graphs that were there before: doubles at their ends, and the same answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from edgeferry.adapters.converter import SklearnConverter
from edgeferry.device.modules.runtime_onnx import load_graph
from edgeferry.errors import RefusedError

ROWS = [(0.1, 2.0, -3.7), (1e-3, 55.5, 0.25)]


def graph(kind: int, *, answer: str = "number", inputs: int = 1) -> Any:
    """weights · x, in numbers of that kind; `answer` is a number, a class beside its scores, or a word."""
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float64
    constants = [numpy_helper.from_array(np.array([[1.5], [-2.0], [0.25]], dtype), "w")]
    nodes = [helper.make_node("MatMul", ["given", "w"], ["score"])]
    outputs = [helper.make_tensor_value_info("score", kind, [None, 1])]
    if answer == "class":
        nodes.append(helper.make_node("Cast", ["score"], ["label"], to=TensorProto.INT64))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]))
    if answer == "word":
        nodes.append(helper.make_node("Cast", ["score"], ["label"], to=TensorProto.STRING))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.STRING, [None, 1]))
    names = ["given", *(f"more{number}" for number in range(1, inputs))]
    given = [helper.make_tensor_value_info(name, kind, [None, 3]) for name in names]
    made = helper.make_graph(nodes, "g", given, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(folder: Path, model: Any) -> Path:
    """As MLflow's onnx flavor keeps it."""
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}}))
    return folder


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        pytest.param(TensorProto.FLOAT, "number", id="floats"),
        pytest.param(TensorProto.DOUBLE, "number", id="doubles"),
        pytest.param(TensorProto.FLOAT, "class", id="a class before its scores"),
        pytest.param(TensorProto.FLOAT, "word", id="a text before its scores"),
    ],
)
def test_a_graph_asked_in_doubles_answers_what_it_answered_itself(
    kind: int, answer: str, tmp_path: Path
) -> None:
    model = graph(kind, answer=answer)
    converted = SklearnConverter().to_onnx(save(tmp_path / "model", model), Path(sys.executable), ROWS)
    assert converted.edges.rows == ()
    (tmp_path / "graph.onnx").write_bytes(converted.graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    table = np.array(ROWS, np.float32 if kind == TensorProto.FLOAT else np.float64)
    own = session.run(None, {"given": table})[0].reshape(-1).tolist()
    assert load_graph(tmp_path / "graph.onnx", 3)(ROWS) == own


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(graph(TensorProto.FLOAT, inputs=2), "the graph has 2 inputs", id="two inputs"),
        pytest.param(graph(TensorProto.INT64), "no table of floats or doubles", id="whole numbers"),
    ],
)
def test_a_graph_that_is_no_table_in_and_number_out_is_refused(model: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=says) as refused:
        SklearnConverter().to_onnx(save(tmp_path / "model", model), Path(sys.executable), ROWS)
    assert "one input, a table of floats or doubles" in refused.value.fix
