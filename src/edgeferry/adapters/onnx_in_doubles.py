"""Writes an MLflow onnx model's graph as one that takes doubles: python onnx_in_doubles.py FOLDER SCRATCH.

A script of its own, run by the interpreter of the environment that registered the model. Only the border
changes: doubles in, one double or one text a row out; the graph between them is the user's, in the type that
it computes in. When the graph takes or gives something else it exits with 1 and {"reason", "fix"} on standard
output.

It writes SCRATCH/model.onnx and SCRATCH/edges.json, which has no rows: where the graph has splits is unknown.
"""

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

NUMBERS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32}
FIX = (
    "export it with one input, a table of floats or doubles, and the answer as first output, "
    "one number or one text a row"
)


def widen(model: Any) -> bytes:
    """The graph with doubles at both ends; ValueError with the reason why it cannot be."""
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise ValueError(f"the graph has {len(inputs)} inputs")
    given, answer = inputs[0], graph.output[0]
    if given.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise ValueError(f"its input {given.name} is no table of floats or doubles")
    texts = answer.type.tensor_type.elem_type == TensorProto.STRING
    if not texts and answer.type.tensor_type.elem_type not in NUMBERS:
        raise ValueError(f"its first output {answer.name} holds neither numbers nor texts")
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | constants
    x, y = _free("x_doubles", taken), _free("y_doubles", taken)
    dimensions = [each.dim_value or each.dim_param or None for each in given.type.tensor_type.shape.dim]
    into = helper.make_node("Cast", [x], [given.name], to=given.type.tensor_type.elem_type)
    kind = TensorProto.STRING if texts else TensorProto.DOUBLE
    out = (
        helper.make_node("Identity", [answer.name], [y])
        if texts
        else helper.make_node("Cast", [answer.name], [y], to=kind)
    )
    kept = [each for each in graph.input if each.name in constants]
    nodes = [into, *graph.node, out]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.extend(
        [helper.make_tensor_value_info(x, TensorProto.DOUBLE, ["rows", *dimensions[1:]]), *kept]
    )
    graph.output.append(helper.make_tensor_value_info(y, kind, None))
    return bytes(model.SerializeToString(deterministic=True))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def main(folder: str, scratch: str) -> int:
    """Writes the graph and returns 0, or says why not and returns 1."""
    flavor = yaml.safe_load(Path(folder, "MLmodel").read_text("utf-8"))["flavors"]["onnx"]
    try:
        graph = widen(onnx.load(str(Path(folder, flavor["data"]))))
    except ValueError as error:
        sys.stdout.write(json.dumps({"reason": str(error), "fix": FIX}) + "\n")
        return 1
    Path(scratch, "model.onnx").write_bytes(graph)
    Path(scratch, "edges.json").write_text(json.dumps({"rows": [], "answers": []}), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
