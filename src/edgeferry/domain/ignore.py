"""Ignore files: which paths of a folder stay at home. Pure.

The pattern format is git's (gitignore(5), PATTERN FORMAT), read as Azure ML's client (azure-ai-ml 1.35) reads
it: one file, in the folder itself; each path is asked alone and the last pattern that fits decides, so
`!folder/file` brings a file back although its folder is ignored, which git would not do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ANYTHING = "**"


@dataclass(frozen=True)
class Pattern:
    """One line: `segments` of a path from the folder down, `**` for any number of them."""

    segments: tuple[str, ...]
    ignores: bool
    """False for a line that starts with `!`."""


def parse_ignore(text: str) -> tuple[Pattern, ...]:
    """The patterns of an ignore file's text, in order; comments, empty lines and `/` say nothing."""
    return tuple(pattern for line in text.splitlines() if (pattern := _parse_line(line.strip())))


def is_ignored(path: str, patterns: Sequence[Pattern]) -> bool:
    """Whether the file at `path` (relative, with `/`) stays at home."""
    parts = tuple(path.split("/"))
    fits = [pattern.ignores for pattern in patterns if _reaches(pattern.segments, parts)]
    return bool(fits) and fits[-1]


def _parse_line(line: str) -> Pattern | None:
    ignores = not line.startswith("!")
    written = re.sub(r"(?<![^/])\*\*(?:/\*\*)+(?![^/])", _ANYTHING, line.removeprefix("!"))
    if not line or line.startswith("#") or written in ("/", "/**/"):
        return None  # the last one means something to git, nothing to Azure ML's client
    folder_only = written.endswith("/")
    segments = written.removesuffix("/").split("/")
    if segments[0] == "" and len(segments) > 1:
        segments = segments[1:]
    elif len(segments) == 1 and segments[0] not in ("", _ANYTHING):
        segments = [_ANYTHING, *segments]
    if folder_only:
        segments = [*(["*"] if segments == [_ANYTHING] else segments), _ANYTHING]
    return Pattern(tuple(segments), ignores) if any(segments) else None


def _reaches(segments: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether the pattern fits the path, or a folder on the way to it."""
    if not segments:
        return True
    if not parts:
        return False
    first, rest = segments[0], segments[1:]
    if first == _ANYTHING:
        return not rest or any(_reaches(rest, parts[skipped:]) for skipped in range(len(parts)))
    return _fits(first, parts[0]) and _reaches(rest, parts[1:])


def _fits(segment: str, name: str) -> bool:
    try:
        return re.fullmatch(_expression(segment), name) is not None
    except re.error:
        return False


def _expression(segment: str) -> str:
    """The segment's glob as a regular expression."""
    made, at = "", 0
    while at < len(segment):
        sign, at = segment[at], at + 1
        if sign == "*":
            made += ".*"
        elif sign == "?":
            made += "."
        elif sign == "\\" and at < len(segment):
            made, at = made + re.escape(segment[at]), at + 1
        elif sign == "[" and (end := _closing(segment, at)):
            negated = segment[at] == "!"
            inside = segment[at + negated : end].replace("\\", "\\\\").replace("[", "\\[")
            inside = "\\" + inside if inside.startswith("^") else inside
            inside = "\\" + inside if inside.startswith("]") else inside
            made, at = f"{made}[{'^' if negated else ''}{inside}]", end + 1
        else:
            made += re.escape(sign)
    return made


def _closing(segment: str, start: int) -> int:
    """Where the bracket that was opened before `start` closes; 0 when it does not."""
    first = start + segment[start:].startswith("!")
    return segment.find("]", first + 1) if segment.find("]", first + 1) > 0 else 0
