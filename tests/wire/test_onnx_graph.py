"""An ONNX file's inputs, read without its library, are what the library says they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeferry.wire.onnx_graph import GraphInput, read_graph_inputs


def model(*inputs: Any, constants: tuple[str, ...] = ()) -> bytes:
    kept = [numpy_helper.from_array(np.zeros((300, 3)), name) for name in constants]
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)]
    nodes = [helper.make_node("Identity", [inputs[0].name], ["y"])]
    return bytes(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, kept)).SerializeToString())


TABLE = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])
TEXTS = helper.make_tensor_value_info("site", TensorProto.STRING, [None, 1])
BODY = model(TABLE)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        pytest.param(BODY, (GraphInput("x", "float", (None, 4)),), id="a table"),
        pytest.param(
            model(TABLE, TEXTS),
            (GraphInput("x", "float", (None, 4)), GraphInput("site", "string", (None, 1))),
            id="two inputs",
        ),
        pytest.param(
            model(TABLE, helper.make_tensor_value_info("w", TensorProto.DOUBLE, [300, 3]), constants=("w",)),
            (GraphInput("x", "float", (None, 4)),),
            id="a constant among them",
        ),
        pytest.param(
            model(helper.make_tensor_value_info("x", TensorProto.DOUBLE, None)),
            (GraphInput("x", "double", None),),
            id="of any shape",
        ),
        pytest.param(
            model(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)),
            (GraphInput("x", "", None),),
            id="no tensor",
        ),
    ],
)
def test_inputs_are_told_without_constants(body: bytes, inputs: tuple[GraphInput, ...]) -> None:
    assert read_graph_inputs(body) == inputs


@given(st.binary(max_size=40) | st.integers(0, len(BODY) - 1).map(lambda end: BODY[:end]))
def test_bytes_that_are_no_whole_model_are_an_error_and_nothing_worse(body: bytes) -> None:
    try:
        inputs = read_graph_inputs(body)
    except ValueError:
        return
    assert all(isinstance(one.name, str) for one in inputs)
