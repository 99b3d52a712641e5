"""Chance that follows from a seed: the same draws on any machine, one by one or many at once. Pure.

SplitMix64 (Steele, Lea, Flood 2014) used as a counter: draw number `index` of a key needs none before it.
"""

from __future__ import annotations

import hashlib

STEP = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def make_key(*words: object) -> int:
    """The key of one stream of draws: 64 bits that follow from the words."""
    text = "\0".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def draw_bits(key: int, index: int) -> int:
    """Draw number `index` of the stream, 64 bits."""
    z = (key + (index + 1) * STEP) & _WORD
    z = ((z ^ (z >> 30)) * MIX_1) & _WORD
    z = ((z ^ (z >> 27)) * MIX_2) & _WORD
    return z ^ (z >> 31)


def draw(key: int, index: int = 0) -> float:
    """The same as a number from 0 to below 1."""
    return (draw_bits(key, index) >> 11) * 2.0**-53
