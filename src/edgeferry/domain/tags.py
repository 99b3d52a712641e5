"""Settings as words on a command line: `a.b=1` puts, `a.b-` or `a.b=` takes away. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgeferry.domain.condition import parse_condition, wanted_tags
from edgeferry.domain.twin import TAGS_BYTES, find_fault
from edgeferry.errors import UsageError

Json = dict[str, Any]


def is_change(word: str) -> bool:
    """Whether the word changes something, rather than names a device."""
    return "=" in word or word.endswith("-")


def parse_changes(words: Sequence[str], what: str = "the tag") -> Json:
    """The merge patch (RFC 7396) that the words mean together: dots nest, a value is JSON where it reads as
    JSON, else text. UsageError naming a word that is none, or that contradicts another."""
    patch: Json = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals and word.endswith("-"):
            name = word[:-1]
        elif not equals:
            raise UsageError(f"{what} {word!r} is not NAME=VALUE or NAME-", fix=f"write it as {word}=value")
        *parents, leaf = name.split(".")
        if not all((*parents, leaf)):
            raise UsageError(f"{what} {word!r} has an empty name", fix="write it as NAME=VALUE")
        place = patch
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(
                    f"{what} {name} lies below one that has a value", fix="give only one of them"
                )
        if leaf in place:
            raise UsageError(f"{what} {name} is there twice", fix="give only one of them")
        place[leaf] = _read(text)
    return patch


def parse_tags(words: Sequence[str]) -> Json:
    """The merge patch of tags; UsageError for what no hub takes."""
    patch = parse_changes(words)
    if fault := find_fault(patch, TAGS_BYTES):
        raise UsageError(f"the tags cannot be set: {fault}", fix="shorten or rename them")
    return patch


def render_wanted(condition: str) -> list[str]:
    """The words that let a device match the target condition; none where not only values of tags decide."""
    wanted = wanted_tags(parse_condition(condition)) if condition else None
    return [f"{name}={_render(value)}" for name, value in (wanted or {}).items()]


def _render(value: str | float | bool) -> str:
    """As text where it would be read as text again, else as JSON."""
    return value if isinstance(value, str) and _read(value) == value else json.dumps(value)


def _read(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
