"""One model of a library, asked: its answers as plain numbers, scikit-learn's complaints about values as bad
input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from edgeferry.errors import UsageError

Predict = Callable[[Sequence[Sequence[Any]]], list[Any]]
"""One number a row, or one text."""


def ask_model(predict: Callable[[Any], Any], table: Any, count: int, texts: bool) -> list[Any]:
    """`count` answers, numbers or `texts`. UsageError when scikit-learn refuses the values, which it says by
    a ValueError of its own; what a model's own code raises is its fault, since rows were checked against its
    signature."""
    try:
        said = predict(table)
    except ValueError as error:
        if not _is_of_sklearn(error):
            raise
        raise UsageError(
            f"the model does not take these values: {error}",
            fix="send values like those it was trained on",
        ) from error
    answers: list[Any]
    if texts:
        answers = numpy.asarray(said).reshape(count).tolist()
        other = next((each for each in answers if not isinstance(each, str)), "")
        if other != "":
            raise TypeError(f"an answer is {other!r}, which is no text")
    else:
        answers = numpy.asarray(said, dtype=numpy.float64).reshape(count).tolist()
    return answers


def _is_of_sklearn(error: ValueError) -> bool:
    """Whether the statement that raised it is scikit-learn's."""
    step, module = error.__traceback__, ""
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        step = step.tb_next
    return module.partition(".")[0] == "sklearn"
