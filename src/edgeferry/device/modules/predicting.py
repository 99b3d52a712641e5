"""One model of a library, asked: its answers as plain numbers, its complaints about values as bad input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from edgeferry.errors import UsageError

Predict = Callable[[Sequence[Sequence[Any]]], list[float]]


def ask_model(predict: Callable[[Any], Any], table: Any, count: int) -> list[float]:
    """`count` answers; UsageError when the model refuses the values, which libraries say by a ValueError."""
    try:
        said = predict(table)
    except ValueError as error:
        raise UsageError(
            f"the model does not take these values: {error}",
            fix="send values like those it was trained on",
        ) from error
    answers: list[float] = numpy.asarray(said, dtype=numpy.float64).reshape(count).tolist()
    return answers
