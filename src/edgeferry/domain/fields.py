"""Reading one field of a plain document (parsed YAML): the value, or a fault that says where and how.

A document is what a YAML parser gives: dicts, lists, strings, numbers, booleans. `at` is the path of the
document inside its file; faults carry the field's full path, from which the reader finds the line. With the
default `report` the first fault is raised as a DefinitionError; with one that returns, the value is the
field's default, or an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from edgeferry.domain.finding import At, Fault, Report, refuse


def members(value: object) -> Mapping[str, Any]:
    """The mapping; an empty one where a document that others wrote has something else, or nothing."""
    return value if isinstance(value, Mapping) else {}


def nearest(word: str, known: Iterable[str]) -> str:
    """A fix that names the word probably meant, or else all that are known."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known here: {', '.join(names)}" if names else "none is known here: declare it, or take this away"


def check_keys(
    document: Mapping[str, Any],
    known: Iterable[str],
    at: At = (),
    report: Report = refuse,
    rule: str = "unknown-key",
) -> None:
    """Reports every key of `document` that is not known, with the near miss."""
    names = list(known)
    for key in document:
        if key not in names:
            report(Fault(rule, f"unknown key `{key}`", nearest(str(key), names), (*at, key)))


def mapping(
    document: Mapping[str, Any], field: str, at: At = (), report: Report = refuse
) -> Mapping[str, Any]:
    """The mapping at `field`, {} when the field is absent or empty; a fault when it is none."""
    value = document.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        problem, fix = f"`{field}` is not a mapping of names", "write `name: value` lines below it"
        report(Fault("wrong-value", problem, fix, (*at, field)))
        return {}
    return value


def text(
    document: Mapping[str, Any],
    field: str,
    default: str | None = None,
    at: At = (),
    report: Report = refuse,
) -> str:
    """The text at `field`, or `default`; a fault when it is missing without default, or no text."""
    value = document.get(field, default)
    if isinstance(value, str):
        return value
    if value is None:
        report(Fault("missing-key", f"`{field}` is missing", f"add `{field}: …`", (*at, field)))
    else:
        report(Fault("wrong-value", f"`{field}` is not text", "put it in quotes", (*at, field)))
    return default or ""


def number(
    document: Mapping[str, Any], field: str, default: float, at: At = (), report: Report = refuse
) -> float:
    """The number at `field` that is not negative, or `default`; a fault when it is none."""
    value = document.get(field, default)
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+e[-+]?[0-9]+", value, re.IGNORECASE):
        value = float(value)  # YAML 1.1 reads 1e-9, without a dot, as text
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        fix = f"for example `{field}: {default:.15g}`"
        report(Fault("wrong-value", f"`{field}` is not a number from 0 up", fix, (*at, field)))
        return default
    return float(value)


def flag(
    document: Mapping[str, Any],
    field: str,
    default: bool = False,
    at: At = (),
    report: Report = refuse,
) -> bool:
    """The boolean at `field`, or `default`; a fault when it is none."""
    value = document.get(field, default)
    if not isinstance(value, bool):
        report(Fault("wrong-value", f"`{field}` is not a boolean", "write true or false", (*at, field)))
        return default
    return value
