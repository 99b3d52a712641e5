"""`domain.hollow_traffic` for many devices at once: the same draws, the same bins, by numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeferry.domain.chance import MIX_1, MIX_2, STEP
from edgeferry.domain.hollow_traffic import LATENCIES_MS, OUTPUTS, STRAY, Manner, Shape, Traffic

_BINS = np.array([*OUTPUTS.bins, STRAY])
_STRAY = len(OUTPUTS.bins)
_ERROR = _STRAY + 1
_LATENCY_BINS = np.array(LATENCIES_MS.bins)


def _pick(shape: Shape, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    found = np.searchsorted(np.array(shape.cumulative), shares, side="right")
    return np.minimum(found, len(shape.bins) - 1)


@dataclass
class Streams:
    """The requests of some devices' models, each with its own key and manner, counted so far."""

    keys: Sequence[int]
    manners: Sequence[Manner]
    served: NDArray[np.int64] = field(init=False)
    _outputs: NDArray[np.int64] = field(init=False)
    _latency: NDArray[np.int64] = field(init=False)
    _told: dict[int, Traffic] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.keys)
        self.served = np.zeros(count, dtype=np.int64)
        self._outputs = np.zeros((count, _ERROR + 1), dtype=np.int64)
        self._latency = np.zeros((count, len(_LATENCY_BINS)), dtype=np.int64)
        self._words = np.array(self.keys, dtype=np.uint64)
        self._errors = np.array([each.errors for each in self.manners])
        self._stray = np.array([each.stray for each in self.manners])

    def serve(self, until: NDArray[np.int64]) -> None:
        """Each device's requests up to number `until` (exclusive) were answered."""
        more = np.maximum(until - self.served, 0)
        if not more.any():
            return
        rows = np.repeat(np.arange(len(more)), more)
        starts = np.repeat(np.cumsum(more) - more, more)
        index = np.arange(len(rows)) - starts + self.served[rows]
        bits = _draw_bits(self._words[rows], index.astype(np.uint64))
        shares = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        slow = _pick(LATENCIES_MS, (bits & np.uint64(0xFFFF)).astype(np.float64) / 0x10000)
        outputs = self._answer(shares, rows)
        self._outputs += _count(rows, outputs, self._outputs.shape)
        self._latency += _count(rows, slow, self._latency.shape)
        for row in np.flatnonzero(more):
            self._told.pop(int(row), None)
        self.served += more

    def tell(self, row: int) -> Traffic:
        """What the device of that row has answered."""
        if row not in self._told:
            outputs, latency = self._outputs[row], self._latency[row]
            answered = outputs[: _STRAY + 1]
            some = np.flatnonzero(answered)
            any_ = np.flatnonzero(latency)
            self._told[row] = Traffic(
                int(self.served[row]),
                int(outputs[_ERROR]),
                dict(zip(_LATENCY_BINS[any_].tolist(), latency[any_].tolist(), strict=True)),
                dict(zip(_BINS[some].tolist(), answered[some].tolist(), strict=True)),
            )
        return self._told[row]

    def _answer(self, shares: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        errors, stray = self._errors[rows], self._stray[rows]
        failed = shares < errors
        rest = (shares - errors) / np.where(errors < 1, 1 - errors, 1)
        strays = rest < stray
        sound = _pick(OUTPUTS, (rest - stray) / np.where(stray < 1, 1 - stray, 1))
        return np.where(failed, _ERROR, np.where(strays, _STRAY, sound))


def _draw_bits(keys: NDArray[np.uint64], index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = keys + (index + np.uint64(1)) * np.uint64(STEP)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
        return z ^ (z >> np.uint64(31))


def _count(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    height, width = shape
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width)
