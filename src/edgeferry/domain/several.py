"""Several commands at once: how each ended, and what all of them together come to. Pure values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How one command ended."""

    code: int
    """Its exit code; of one that a signal ended, 128 and the signal's number."""
    answer: str
    """What it printed on stdout."""
    last: str
    """The last line of its stderr."""
    seconds: float


def find_worst(codes: Iterable[int]) -> int:
    """The exit code for all of them: the highest, as exit codes grow with what is wrong (1 the answer is no,
    2 wrong usage, 3 the outside world, 70 a bug, more: a signal)."""
    return max(codes, default=0)


def render_word(code: int) -> str:
    """What an exit code says of a model's shipment."""
    return {0: "shipped", 1: "refused"}.get(code, "failed")
