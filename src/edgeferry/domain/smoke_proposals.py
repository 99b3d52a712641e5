"""Which checks a model's own answers propose: along which columns it rises or falls, which it looks at. Pure.

What holds for this version on some rows is a proposal: whether it must hold for every version, people know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from edgeferry.domain.column import Value
from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import Row

BASES = 8
"""How many held-out rows each column is varied in."""
STEPS = 5
"""At how many values of the column."""
T = TypeVar("T")
Shape = Literal["increasing", "decreasing", "changes", "ignored"]


@dataclass(frozen=True)
class Probe:
    """Rows that differ in one column only: for each base row one row per value."""

    column: str
    values: tuple[float, ...]
    rows: tuple[tuple[Row, ...], ...]


@dataclass(frozen=True)
class Proposal:
    """What the answers to a probe show."""

    column: str
    values: tuple[float, ...]
    shape: Shape


def plan_probes(rows: Sequence[Row], columns: Sequence[str]) -> tuple[Probe, ...]:
    """For each column with at least two values, the questions that show what the model makes of it: its
    values spread over the held-out ones, in the first row that has all values, which is what checks vary, and
    some others. Columns of texts are passed over."""
    full = [row for row in rows if all(value == value for value in row)]
    bases = spread(tuple(full), BASES)
    probes = []
    for place, column in enumerate(columns):
        seen = {row[place] for row in full}
        numbers = all(not isinstance(value, str | bytes) for value in seen)
        values = spread(tuple(sorted(seen)), STEPS) if numbers else ()
        if len(values) < 2:
            continue
        asked = tuple(
            tuple((*base[:place], value, *base[place + 1 :]) for value in values)
            for base in dict.fromkeys((tuple(full[0]), *bases))
        )
        probes.append(Probe(column, values, asked))
    return tuple(probes)


def propose(probe: Probe, answers: Sequence[Sequence[Value]], tolerance: Tolerance) -> Proposal:
    """The shape of the answers, one list for each base row: rising or falling everywhere and somewhere truly;
    `changes` when the first row's answers do; else `ignored`. Texts neither rise nor fall."""

    numbers = [[value for value in row if not isinstance(value, str)] for row in answers]

    def never(turns: Callable[[float, float], bool]) -> bool:
        return not any(
            turns(before, after) and not tolerance.allows(after, before)
            for row in numbers
            for before, after in pairwise(row)
        )

    differs = [not all(tolerance.allows(value, row[0]) for value in row) for row in answers]
    shape: Shape = "changes" if differs[0] else "ignored"
    if any(differs) and len(probe.values) > 2 and all(numbers):
        if never(lambda before, after: after < before):
            shape = "increasing"
        elif never(lambda before, after: after > before):
            shape = "decreasing"
    return Proposal(probe.column, probe.values, shape)


def spread(values: Sequence[T], count: int) -> tuple[T, ...]:
    """Up to `count` of the values, evenly spread, both ends included."""
    last = len(values) - 1
    if last < count:
        return tuple(values)
    return tuple(values[round(step * last / (count - 1))] for step in range(count))
