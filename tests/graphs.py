"""ONNX graphs for tests, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
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


def rounded_graph(graph: bytes) -> bytes:
    """The graph of trees as a careful converter to floats writes it: inputs and splits rounded to floats.

    Rounding keeps the order of numbers, so only a value that lies above its split by less than a float's step
    takes another branch: rows of everyday data hardly ever do.
    """
    model = onnx.load_model_from_string(graph)
    for node in model.graph.node:
        node.input[:] = ["x64" if name == "x" else name for name in node.input]
        for attribute in node.attribute:
            if attribute.name == "nodes_splits":
                splits = numpy_helper.to_array(attribute.t).astype(np.float32).astype(np.float64)
                attribute.t.CopyFrom(numpy_helper.from_array(splits, "splits"))
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT))
    model.graph.node.insert(1, helper.make_node("Cast", ["x32"], ["x64"], to=TensorProto.DOUBLE))
    return bytes(model.SerializeToString())
