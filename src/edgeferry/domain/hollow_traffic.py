"""What a hollow device's model is asked and answers: histograms of outputs and latencies, by chance. Pure.

Each request has a number, and its answer follows from the seed, the device and that number, so that however
often a device is looked at, it has served the same.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from edgeferry.domain.chance import draw_bits
from edgeferry.domain.sketch import bin_of, number_of_text

_GRAIN = 2.0**-53


@dataclass(frozen=True)
class Shape:
    """A distribution of numbers as a histogram: `bins`, and for each the share of numbers up to it."""

    bins: tuple[int, ...]
    cumulative: tuple[float, ...]

    def pick(self, share: float) -> int:
        """The bin at which that share of the numbers lies below."""
        return self.bins[min(bisect_right(self.cumulative, share), len(self.bins) - 1)]


def shape_lognormal(median: float, sigma: float, grain: int = 4000) -> Shape:
    """Numbers around `median` whose logarithms are normally distributed with the standard deviation `sigma`:
    fares, durations, latencies. Made of `grain` numbers, evenly spread."""
    normal = NormalDist(math.log(median), sigma)
    counts: dict[int, int] = {}
    for step in range(grain):
        each = bin_of(math.exp(normal.inv_cdf((step + 0.5) / grain)))
        counts[each] = counts.get(each, 0) + 1
    bins = tuple(sorted(counts))
    passed = 0
    cumulative = []
    for each in bins:
        passed += counts[each]
        cumulative.append(passed / grain)
    return Shape(bins, tuple(cumulative))


OUTPUTS = shape_lognormal(12.0, 0.5)
"""What a sound model answers: numbers like a taxi's fares."""
LATENCIES_MS = shape_lognormal(3.0, 0.4)
STRAY = bin_of(1200.0)
"""Where an answer lies that leaves every sound model's band."""


TEXTS = Shape(
    tuple(bin_of(number_of_text(label)) for label in ("cheap", "fair", "free")),
    (0.6, 0.9, 1.0),
)
"""What a sound model answers that names classes: `cheap`, `fair`, and one time in ten `free`."""
STRAY_TEXT = TEXTS.bins[2]
"""What one that is not sound answers more often."""


@dataclass(frozen=True)
class Manner:
    """How a version answers here."""

    errors: float = 0.0
    """Share of requests answered with an error."""
    stray: float = 0.0
    """Share of answers that are of no sound model."""
    texts: bool = False
    """Whether it answers texts."""


@dataclass(frozen=True)
class Traffic:
    """Requests so far, as histograms by bin."""

    requests: int = 0
    errors: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    outputs: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """What one start of an image answered."""

    digest: str
    version: str
    since: float
    """When it was started, Unix seconds."""
    traffic: Traffic = field(default_factory=Traffic)


def serve(traffic: Traffic, key: int, until: int, manner: Manner) -> Traffic:
    """The traffic once requests up to number `until` (exclusive) were answered too."""
    if until <= traffic.requests:
        return traffic
    latency, outputs, errors = dict(traffic.latency), dict(traffic.outputs), traffic.errors
    for index in range(traffic.requests, until):
        bits = draw_bits(key, index)
        slow = LATENCIES_MS.pick((bits & 0xFFFF) / 0x10000)
        latency[slow] = latency.get(slow, 0) + 1
        output = answer((bits >> 11) * _GRAIN, manner)
        if output is None:
            errors += 1
        else:
            outputs[output] = outputs.get(output, 0) + 1
    return Traffic(until, errors, latency, outputs)


def answer(share: float, manner: Manner) -> int | None:
    """The bin of the answer to a request that drew `share`; None for an error."""
    if share < manner.errors:
        return None
    share = (share - manner.errors) / (1 - manner.errors)
    if share < manner.stray:
        return STRAY_TEXT if manner.texts else STRAY
    return (TEXTS if manner.texts else OUTPUTS).pick((share - manner.stray) / (1 - manner.stray))


def stray_for(leaving: float, beside: float = 0.02) -> float:
    """The share of stray answers of a version of which `leaving` of all answers lie outside a band that a
    sound one leaves with `beside` of them."""
    return max(0.0, (leaving - beside) / (1 - beside))


def add(traffics: Sequence[Traffic]) -> Traffic:
    """All of them as one."""
    latency: dict[int, int] = {}
    outputs: dict[int, int] = {}
    for one in traffics:
        for whole, part in ((latency, one.latency), (outputs, one.outputs)):
            for each, count in part.items():
                whole[each] = whole.get(each, 0) + count
    return Traffic(
        sum(one.requests for one in traffics), sum(one.errors for one in traffics), latency, outputs
    )
