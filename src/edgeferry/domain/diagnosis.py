"""What a look at a set-up finds: whether things are as they must be, and how to mend them. Pure values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edgeferry.errors import EdgeferryError

Grade = Literal["fine", "note", "warning", "blocker"]
"""As it must be; worth knowing; works, but not for long or not for all; nothing works until it is mended."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at."""

    check: str
    """What was looked at: `engine`, `hub.clock`."""
    grade: Grade
    seen: str
    """What is there, or the problem."""
    fix: str = ""
    """What mends it; never empty for a warning or a blocker."""


def diagnose(check: str, error: EdgeferryError, grade: Grade = "blocker") -> Diagnosis:
    """The error of something that was tried."""
    return Diagnosis(check, grade, error.problem, error.fix)


def is_healthy(found: Iterable[Diagnosis]) -> bool:
    """Whether nothing stands in the way."""
    return all(each.grade != "blocker" for each in found)
