"""Runtime `onnx`: one graph in doubles, run by onnxruntime. Needs onnxruntime and numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnxruntime

from edgeferry.errors import UsageError

Predict = Callable[[Sequence[Sequence[float]]], list[Any]]
"""One number a row, or one text where the graph gives texts."""


def load_graph(file: Path, width: int) -> Predict:
    """What answers rows of `width` numbers, warmed up; UsageError when the graph takes something else."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    found = given.shape[-1]
    if given.type != "tensor(double)" or (isinstance(found, int) and found != width):
        raise UsageError(
            f"the graph takes {given.type} {given.shape}, the card has {width} columns",
            fix="package the model again",
        )
    outputs = [session.get_outputs()[0].name]

    def predict(rows: Sequence[Sequence[float]]) -> list[Any]:
        table = numpy.array(rows, dtype=numpy.float64)
        answers: list[Any] = session.run(outputs, {given.name: table})[0].reshape(len(rows)).tolist()
        return answers

    session.run(outputs, {given.name: numpy.zeros((1, width), dtype=numpy.float64)})
    return predict
