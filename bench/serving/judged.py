"""Ratios of servers that were measured in turn, and whether they reach what was aimed at."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Aim:
    """What a ratio must reach, and what would be better still."""

    bar: float
    beyond: float | None = None
    at_most: bool = False
    """Whether less is better."""

    def holds(self, value: float) -> bool:
        return value <= self.bar if self.at_most else value >= self.bar


@dataclass(frozen=True)
class Row:
    """One comparison: medians, and the ratio that was taken round by round."""

    part: str
    what: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    least: float
    most: float
    bar: float | None
    beyond: float | None
    at_most: bool
    met: bool | None
    """None where nothing was aimed at."""

    def document(self) -> dict[str, Any]:
        return {
            name: round(value, 4) if type(value) is float else value for name, value in asdict(self).items()
        }


def compare(
    part: str, what: str, unit: str, ours: Sequence[float], theirs: Sequence[float], aim: Aim | None
) -> Row:
    """The row of two series whose n-th figures were taken in the same round."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Row(
        part=part,
        what=what,
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        unit=unit,
        ratio=ratio,
        least=min(ratios),
        most=max(ratios),
        bar=aim.bar if aim else None,
        beyond=aim.beyond if aim else None,
        at_most=bool(aim and aim.at_most),
        met=aim.holds(ratio) if aim else None,
    )


def render_row(row: Row) -> str:
    sign = "≤" if row.at_most else "≥"
    aim = "" if row.bar is None else f"{sign} {row.bar:g}"
    beyond = "" if row.beyond is None else f"{sign} {row.beyond:g}"
    said = {True: "met", False: "MISSED", None: ""}[row.met]
    figures = f"{_short(row.ours):>8} {_short(row.theirs):>8} {row.unit:6}"
    spread = f"{row.ratio:8.2f} [{row.least:.2f}-{row.most:.2f}]"
    return f"{row.what:62} {figures} {spread:27} {aim:>7} {beyond:>7}  {said}"


HEADING = f"{'':62} {'ours':>8} {'theirs':>8} {'':6} {'ratio [least-most]':27} {'bar':>7} {'beyond':>7}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
