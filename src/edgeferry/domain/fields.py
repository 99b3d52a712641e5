"""Reading one field of a plain document (parsed YAML): the value, or an error that says where and how.

A document is what a YAML parser gives: dicts, lists, strings, numbers, booleans. `at` is the path of the
document inside its file; errors carry the field's full path, from which the reader finds the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from edgeferry.errors import DefinitionError

At = tuple[str | int, ...]


def nearest(word: str, known: Iterable[str]) -> str:
    """A fix that names the word probably meant, or else all that are known."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known here: " + (", ".join(names) or "nothing")


def check_keys(document: Mapping[str, Any], known: Iterable[str], at: At = ()) -> None:
    """Nothing when every key of `document` is known; DefinitionError with the near miss otherwise."""
    names = list(known)
    for key in document:
        if key not in names:
            raise DefinitionError(f"unknown key `{key}`", fix=nearest(str(key), names), key=(*at, key))


def mapping(document: Mapping[str, Any], field: str, at: At = ()) -> Mapping[str, Any]:
    """The mapping at `field`, {} when the field is absent or empty; DefinitionError when it is none."""
    value = document.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DefinitionError(
            f"`{field}` is not a mapping of names", fix="write `name: value` lines below it", key=(*at, field)
        )
    return value


def text(document: Mapping[str, Any], field: str, default: str | None = None, at: At = ()) -> str:
    """The text at `field`, or `default`; DefinitionError when it is missing without default, or no text."""
    value = document.get(field, default)
    if value is None:
        raise DefinitionError(f"`{field}` is missing", fix=f"add `{field}: …`", key=(*at, field))
    if not isinstance(value, str):
        raise DefinitionError(f"`{field}` is not text", fix="put it in quotes", key=(*at, field))
    return value


def number(document: Mapping[str, Any], field: str, default: float, at: At = ()) -> float:
    """The number at `field` that is not negative, or `default`; DefinitionError when it is none."""
    value = document.get(field, default)
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+e[-+]?[0-9]+", value, re.IGNORECASE):
        value = float(value)  # YAML 1.1 reads 1e-9, without a dot, as text
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise DefinitionError(
            f"`{field}` is not a number from 0 up",
            fix=f"for example `{field}: {default:g}`",
            key=(*at, field),
        )
    return float(value)


def flag(document: Mapping[str, Any], field: str, default: bool = False, at: At = ()) -> bool:
    """The boolean at `field`, or `default`; DefinitionError when it is none."""
    value = document.get(field, default)
    if not isinstance(value, bool):
        raise DefinitionError(f"`{field}` is not a boolean", fix="write true or false", key=(*at, field))
    return value
