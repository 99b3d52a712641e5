"""How much the hits of several devices tell together: strata in one mix, and devices that differ. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

_LEAST_HITS = 10
_LEAST_DEVICES = 5
"""Fewer devices, or requests that were hit, do not tell how much devices differ."""
_WITHOUT_A_TWENTIETH = 0.72
"""The mean of a square of normal numbers that is left without its greatest twentieth."""


@dataclass(frozen=True)
class Tally:
    """How many of how many requests; no whole numbers where an answer holds several numbers."""

    hits: float = 0.0
    trials: float = 0.0


@dataclass(frozen=True)
class Weighed:
    """One stratum's part in a comparison of one measure."""

    exposed: tuple[Tally, ...]
    control: Tally | None
    """None: nothing to compare with."""
    likeness: float
    """Of the requests of one device, beyond those of any two: 0 where devices are alike."""


def add(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    hits = trials = 0.0
    for each in tallies:
        hits += each.hits
        trials += each.trials
    return Tally(hits, trials)


def pool(strata: Sequence[Weighed], left_out: int) -> tuple[Tally, Tally]:
    """The exposed without their worst `left_out` devices, and a control of the same mix of strata; as many
    trials each as they are worth."""
    rows = []
    for place, each in enumerate(strata):
        rate = find_rate(each.control)
        rows += [(one.hits - rate * one.trials, one, place) for one in each.exposed]
    rows.sort(key=lambda row: -row[0])
    kept = rows[left_out:]
    trials = [0.0] * len(strata)
    hits = [0.0] * len(strata)
    counts = [0] * len(strata)
    for _, one, place in kept:
        trials[place] += one.trials
        hits[place] += one.hits
        counts[place] += 1
    whole = sum(trials)
    if not whole:
        return Tally(), add(each.control or Tally() for each in strata)
    shares = [each / whole for each in trials]
    worth = sum(
        share * inflate(each.likeness, trials[place] / counts[place])
        for place, (each, share) in enumerate(zip(strata, shares, strict=True))
        if counts[place]
    )
    rate = 0.0
    variance = 0.0
    for each, share in zip(strata, shares, strict=True):
        rate += share * find_rate(each.control)
        if each.control is not None and each.control.trials and share:
            variance += share * share / each.control.trials
    control = Tally(rate / variance, 1 / variance) if variance else Tally()
    return Tally(sum(hits) / worth, whole / worth), control


def inflate(likeness: float, trials: float) -> float:
    """How many requests of one device tell as much as one would by chance alone."""
    return 1 + max(trials - 1, 0) * likeness


def find_rate(tally: Tally | None) -> float:
    """Hits by trial; 0 where nothing was tried."""
    return tally.hits / tally.trials if tally is not None and tally.trials else 0.0


def find_likeness(devices: Sequence[Tally]) -> float:
    """How alike the requests of one device are, beyond chance: the intraclass correlation by Pearson's
    statistic, 0 where it is within what chance does to it. The twentieth of the devices that is the most
    unusual is left out: a few that are not well do not tell how the others differ."""
    seen = [each for each in devices if each.trials > 0]
    if len(seen) < _LEAST_DEVICES:
        return 0.0
    usual = median(each.hits / each.trials for each in seen)
    seen.sort(key=lambda each: abs(each.hits - each.trials * usual) / each.trials**0.5)
    left_out = -(-len(seen) // 20) if len(seen) >= 2 * _LEAST_DEVICES else 0
    kept = seen[: len(seen) - left_out]
    whole = add(kept)
    if min(whole.hits, whole.trials - whole.hits) < _LEAST_HITS:
        return 0.0
    rate = whole.hits / whole.trials
    freedom = len(kept) - 1
    parts = ((each.hits - each.trials * rate) ** 2 / (each.trials * rate * (1 - rate)) for each in kept)
    spread = sum(parts) / freedom / (_WITHOUT_A_TWENTIETH if left_out else 1)
    mean = whole.trials / len(kept)
    chance = 1 + 2 * (2 / freedom) ** 0.5
    return min(1.0, (spread - 1) / (mean - 1)) if spread > chance and mean > 1 else 0.0
