"""Verification: what an image showed under a device's limits, compared with the pipeline's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.column import Value
from edgeferry.domain.model import Tolerance

MOST_PROBLEMS = 20
"""How many problems a verification names; the last line counts the rest."""


@dataclass(frozen=True)
class Verification:
    """The checks one image has been through, and what they measured."""

    model: str
    version: str
    digest: str
    config_digest: str
    image_id: str
    """What the engine says ran: the config digest, or the manifest's on newer engines."""
    device_class: str
    memory_bytes: int
    tolerance: Tolerance
    passed: bool
    problems: tuple[str, ...]
    """What did not hold, one line each; empty when it passed."""
    rows: int
    """Held-out rows whose answer was compared."""
    single_rows: int
    """How many of them were asked one by one as well."""
    worst_relative: float
    worst_absolute: float
    ready_s: float
    """From the start of the container to its first good answer on `/health`."""
    latency_ms: float
    """Median answer to one row."""
    edge_rows: int = 0
    """Rows beside splits of the model's trees whose answer was compared as well."""
    images: int = 0
    """Posted images whose answer was compared with the answer to the same pixels as numbers."""
    differing: int = 0
    """Answers that were outside the tolerance."""
    runtime: str = "onnx"
    """What answered: `onnx`, `library`, `pyfunc`, `score` or `own`."""
    runtime_reason: str = ""
    """Why this runtime, e.g. which part of the model does not convert."""

    @property
    def asked(self) -> str:
        """What was asked, in words: `436 rows, 480 beside splits`."""
        parts = [f"{self.rows} rows"]
        if self.edge_rows:
            parts.append(f"{self.edge_rows} beside splits")
        if self.images:
            parts.append(f"{self.images} images")
        return ", ".join(parts)


@dataclass(frozen=True)
class Comparison:
    """How far answers are from what was expected."""

    problems: tuple[str, ...]
    worst_relative: float
    worst_absolute: float


def compare(
    numbers: Sequence[int],
    answers: Sequence[Value],
    expected: Sequence[Value],
    tolerance: Tolerance,
    how: str,
) -> Comparison:
    """The differences between answers and expectations; `numbers` are the rows' numbers in their file (from
    1), `how` says how they were asked. As many answers as rows are demanded. A text is right or wrong."""
    if len(answers) != len(expected):
        problem = (
            f"rows {numbers[0]} to {numbers[-1]}: {len(answers)} answers to {len(expected)} rows ({how})"
        )
        return Comparison((problem,), 0.0, 0.0)
    problems = []
    worst_relative = worst_absolute = 0.0
    for number, answer, wanted in zip(numbers, answers, expected, strict=True):
        if isinstance(answer, str) or isinstance(wanted, str):
            if not tolerance.allows(answer, wanted):
                problems.append(f"row {number}: expected {wanted!r}, answered {answer!r} ({how})")
            continue
        difference = abs(answer - wanted)
        relative = difference / abs(wanted) if wanted else 0.0
        worst_relative, worst_absolute = max(worst_relative, relative), max(worst_absolute, difference)
        if not tolerance.allows(answer, wanted):
            problems.append(
                f"row {number}: expected {wanted!r}, answered {answer!r}, difference {difference:.3g} ({how})"
            )
    return Comparison(tuple(problems), worst_relative, worst_absolute)


def shorten(problems: Sequence[str]) -> tuple[str, ...]:
    """The first problems, and a line that counts the rest."""
    if len(problems) <= MOST_PROBLEMS:
        return tuple(problems)
    return (*problems[: MOST_PROBLEMS - 1], f"and {len(problems) - MOST_PROBLEMS + 1} more")


def choose_rows(count: int, most: int) -> tuple[int, ...]:
    """Up to `most` of the indexes 0 … count-1, evenly spread, first and last included."""
    if count <= most:
        return tuple(range(count))
    if most == 1:
        return (0,)
    return tuple(round(step * (count - 1) / (most - 1)) for step in range(most))
