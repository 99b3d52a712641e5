"""One model of a library, asked: its answers as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

Predict = Callable[[Sequence[Sequence[Any]]], list[float]]


def ask_model(predict: Callable[[Any], Any], table: Any, count: int) -> list[float]:
    """`count` answers. What the model raises is its own fault: rows were checked against its signature."""
    answers: list[float] = numpy.asarray(predict(table), dtype=numpy.float64).reshape(count).tolist()
    return answers
