"""A histogram of numbers that any two devices cut alike: small, and fine enough to compare two versions by.

A bin is the first fifteen bits of a double (IEEE 754) under its sign: exponent and three bits of the
fraction, so each power of two has eight bins, about 9 % wide. Bins rise with the numbers in them. Pure.

A text has one of eleven bins that no model's numbers fall in: those of -2**1001, -2**1002, … -2**1011.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

INFINITE = 0x7FF << 3
"""The bin of infinity; its negative is that of minus infinity."""
NOT_A_NUMBER = INFINITE + 1
"""The bin of NaN, which no band holds."""
MOST_BINS = 64
"""What a device reports of one histogram at most."""

_DROPPED_BITS = 49
_FIRST_WORD = 3 if sys.byteorder == "little" else 0
"""Which of a double's four words of 16 bits has its sign."""
_DOUBLE = struct.Struct(">d")
_BITS = struct.Struct(">Q")


def bin_of(value: float) -> int:
    """The bin that holds a number: 0 for zero, negative for negative ones."""
    return _bin_of_code(_BITS.unpack(_DOUBLE.pack(value))[0] >> _DROPPED_BITS)


_TEXT_NUMBERS = tuple(-(2.0 ** (1001 + group)) for group in range(11))
TEXT_BINS = tuple(-(1023 + 1001 + group << 3) for group in range(11))
"""The bin of each group of texts. With NaN's they are no more than the least that a device reports
(`wire.evidence_report`), so that none is ever joined with another."""


def number_of_text(text: str) -> float:
    """The number that a text is counted as: of its group, the CRC-32 (RFC 1952) of its UTF-8 modulo 11, so
    that all devices count it alike."""
    return _TEXT_NUMBERS[zlib.crc32(text.encode("utf-8", "surrogatepass")) % len(_TEXT_NUMBERS)]


def cut(numbers: Iterable[float]) -> list[int]:
    """Each number's word, for who counts very many: words are counted sooner than bins."""
    return memoryview(array("d", numbers)).cast("B").cast("H")[_FIRST_WORD::4].tolist()


def join_words(words: Mapping[int, int]) -> dict[int, int]:
    """The histogram of counted words."""
    histogram: Counter[int] = Counter()
    for word, count in words.items():
        histogram[_bin_of_code(word >> 1)] += count
    return dict(histogram)


def edge_of(number: int) -> float:
    """The number of a bin that is nearest to zero."""
    if number == NOT_A_NUMBER:
        return math.nan
    value: float = _DOUBLE.unpack(_BITS.pack(abs(number) << _DROPPED_BITS))[0]
    return math.copysign(value, number)


def gather(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Several histograms as one."""
    whole: Counter[int] = Counter()
    for histogram in histograms:
        whole.update(histogram)
    return dict(whole)


def band(histogram: Mapping[int, int], share: float = 0.98) -> tuple[int, int]:
    """The first and the last bin of the central `share` of the numbers: no more than half of the rest lies
    on each side. Of no numbers at all, every bin but NaN's."""
    numbers = sorted((each, count) for each, count in histogram.items() if each != NOT_A_NUMBER and count)
    if not numbers:
        return -INFINITE, INFINITE
    spare = sum(count for _, count in numbers) * (1 - share) / 2
    return _find_edge(numbers, spare), _find_edge(numbers[::-1], spare)


def outside(histogram: Mapping[int, int], within: tuple[int, int]) -> int:
    """How many numbers lie outside a band."""
    low, high = within
    return sum(count for each, count in histogram.items() if not low <= each <= high)


def shrink(histogram: Mapping[int, int], most: int = MOST_BINS) -> dict[int, int]:
    """The histogram in at most `most` bins (4 or more): neighbours are joined under the fullest of them, few
    at the ends and more in the middle, so that a band keeps its edges. NaN and the infinities stay apart."""
    if len(histogram) <= most:
        return dict(histogram)
    apart = (-INFINITE, INFINITE, NOT_A_NUMBER)
    joined = {each: histogram[each] for each in apart if each in histogram}
    numbers = sorted(each for each in histogram if each not in joined)
    room = most - len(joined)
    whole = sum(histogram[each] for each in numbers) or 1
    groups: defaultdict[int, list[int]] = defaultdict(list)
    below = 0
    for each in numbers:
        middle = (below + histogram[each] / 2) / whole
        groups[min(room - 1, int(room * (0.5 + math.asin(2 * middle - 1) / math.pi)))].append(each)
        below += histogram[each]
    for members in groups.values():
        fullest = max(members, key=lambda each: (histogram[each], -abs(each), each))
        joined[fullest] = sum(histogram[each] for each in members)
    return joined


def _bin_of_code(code: int) -> int:
    """The bin of a double's first fifteen bits, sign first."""
    size = code & 0x3FFF
    if size > INFINITE:
        return NOT_A_NUMBER
    return -size if code & 0x4000 else size


def _find_edge(numbers: list[tuple[int, int]], spare: float) -> int:
    passed = 0
    for each, count in numbers:
        passed += count
        if passed > spare:
            return each
    return numbers[-1][0]
