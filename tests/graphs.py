"""ONNX graphs for tests, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def linear_graph(weights: Sequence[float], bias: float) -> bytes:
    """An ONNX graph in doubles: weights · x + bias."""
    column = numpy_helper.from_array(np.array(weights, np.float64).reshape(-1, 1), "w")
    constant = numpy_helper.from_array(np.array([bias], np.float64), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["rows", 1])],
        [column, constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))
