"""A tag that nobody has, and nearly the name of one that somebody has. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from edgeferry.domain.expression import Expression, find_paths

_CLOSE = 0.75
_OWN = frozenset({"edgeferry", "rollout_bucket", "device_class", "environment"})
"""Tags of every fleet's devices, also where none has them yet."""


def list_tags(tags: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The dotted names of the tags, `models.nyc_taxi`; of a patch also those that it takes away."""
    for name, value in tags.items():
        if isinstance(value, Mapping):
            yield from list_tags(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def tags_in(expression: Expression) -> list[str]:
    """The dotted names of the tags that a condition asks about, by column."""
    paths = sorted(find_paths(expression), key=lambda path: path.column)
    return [".".join(path.segments[1:]) for path in paths if path.segments[0] == "tags" and path.segments[1:]]


def find_near_tags(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """For each name that is no known tag, but nearly one: a line that says which. Names that differ in their
    numbers alone are told apart on purpose."""
    there = {*known, *_OWN}
    above = {name[:place] for name in there for place, letter in enumerate(name) if letter == "."}
    lines = []
    for name in dict.fromkeys(names):
        parent, _, leaf = name.rpartition(".")
        if name in there or name in above or any(name.startswith(f"{each}.") for each in there):
            continue
        siblings = {each.rpartition(".")[2]: each for each in there if each.rpartition(".")[0] == parent}
        cousins = {each: each for each in there}
        for word, choices in ((leaf, siblings), (name, cousins)):
            close = get_close_matches(word, choices, 1, _CLOSE)
            if close and _letters(close[0]) != _letters(word) and _alike(name, choices[close[0]]):
                lines.append(f"no device has the tag {name}: did you mean {choices[close[0]]}?")
                break
    return lines


def _letters(name: str) -> str:
    return re.sub(r"[0-9]+", "0", name)


def _alike(name: str, other: str) -> bool:
    """Whether what differs is a slip within one part of the name, not another part."""
    ours, theirs = name.split("."), other.split(".")
    return len(ours) != len(theirs) or sum(a != b for a, b in zip(ours, theirs, strict=True)) == 1
