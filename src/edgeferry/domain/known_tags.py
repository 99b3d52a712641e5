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
    unknown = (name for name in dict.fromkeys(names) if name not in there | above)
    found = ((name, next((one for one in sorted(there) if _is_slip(name, one)), "")) for name in unknown)
    return [f"no device has the tag {name}: did you mean {meant}?" for name, meant in found if meant]


def _is_slip(name: str, meant: str) -> bool:
    """Whether one part of the name is nearly what it is there, and all others are the same."""
    ours, theirs = name.split("."), meant.split(".")
    if len(ours) != len(theirs):
        return False
    other = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    return len(other) == 1 and _letters(name) != _letters(meant) and _is_close(*other[0])


def _is_close(word: str, other: str) -> bool:
    return bool(get_close_matches(word, [other], 1, _CLOSE))


def _letters(name: str) -> str:
    return re.sub(r"[0-9]+", "0", name)
