"""A YAML 1.2 text with comments, and places in it that belong to its readers. Exact bytes, no YAML library.

Scalars are plain where every YAML parser reads them as the text they are, else JSON strings, which YAML
takes as double-quoted scalars. A place stands between two marker comments; its lines are whoever's edits:

    # >>> your steps: before train
    - bash: echo hello
    # <<<
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgeferry.errors import DefinitionError

_START = "# >>>"
_END = "# <<<"
_PLAIN = re.compile(r"[A-Za-z$/][A-Za-z0-9_$()./@+-]*(?: [A-Za-z0-9_$()./@+-]+)*")
_VERBATIM = "\0"
"""Begins a line that is already indented as it stands in the file."""
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


@dataclass(frozen=True)
class Note:
    """Comment lines."""

    text: str


@dataclass(frozen=True)
class Place:
    """Lines that belong to the file's readers; `default` is what a new file has there."""

    name: str
    default: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A text of several lines, as a literal block; its end of line is its only trailing white space."""

    text: str


@dataclass(frozen=True)
class Said:
    """A scalar, and a comment behind it."""

    value: str
    comment: str


@dataclass(frozen=True)
class Map:
    """A mapping, in order; comments and places stand between its keys."""

    entries: tuple[tuple[str, Node] | Note | Place, ...]


@dataclass(frozen=True)
class Seq:
    """A sequence; comments and places stand between its items."""

    items: tuple[Node | Note | Place, ...]


Node = str | int | float | bool | Block | Said | Map | Seq


def to_node(value: object) -> Node:
    """Plain data as a node: mappings with what they hold, sequences, scalars; anything else as its text."""
    if isinstance(value, Mapping):
        return Map(tuple((str(key), to_node(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return Seq(tuple(to_node(each) for each in value))
    return value if isinstance(value, str | int | float) else str(value)


@dataclass(frozen=True)
class Kept:
    """What stands in one place of a file: its lines, and the line number of its start marker."""

    line: int
    lines: tuple[str, ...]


def parse_places(text: str, file: str) -> Mapping[str, Kept]:
    """What stands in each place of the text; DefinitionError with the line of a broken marker."""
    found: dict[str, Kept] = {}
    name, start, lines = "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word.startswith(_START):
            if start:
                raise _broken(f"the place `{name}` has no `{_END}` before this line", file, number)
            name, start, lines = word.removeprefix(_START).strip(), number, []
            if name in found:
                raise _broken(f"the place `{name}` stands here twice", file, number)
        elif word == _END:
            if not start:
                raise _broken(f"this `{_END}` ends no place: its `{_START}` line is gone", file, number)
            found[name] = Kept(start, tuple(lines))
            start = 0
        elif start:
            lines.append(line.rstrip())
    if start:
        raise _broken(f"the place `{name}` has no `{_END}`", file, start)
    return found


def render_yaml(document: Map, kept: Mapping[str, Kept], file: str) -> str:
    """The document as text, with what was kept in its places; DefinitionError, with the line, when something
    was kept in a place that the document does not have (any more)."""
    places = set(_find_places(document))
    for name, place in kept.items():
        if name not in places and any(
            line.strip() and not line.strip().startswith("#") for line in place.lines
        ):
            raise DefinitionError(
                f"no place `{name}` is written any more, and lines stand in it",
                fix=f"move them to one of: {', '.join(sorted(places))}",
                file=file,
                line=place.line,
            )
    return "\n".join(line.removeprefix(_VERBATIM).rstrip() for line in _lines(document, kept)) + "\n"


def _broken(problem: str, file: str, line: int) -> DefinitionError:
    fix = (
        f"mend the markers: `{_START} NAME`, your lines, `{_END}`; or delete the file to have it written anew"
    )
    return DefinitionError(problem, fix=fix, file=file, line=line)


def _find_places(node: Node | Note | Place) -> Iterator[str]:
    match node:
        case Place(name):
            yield name
        case Map(entries):
            for entry in entries:
                yield from _find_places(entry[1] if isinstance(entry, tuple) else entry)
        case Seq(items):
            for item in items:
                yield from _find_places(item)


def _lines(node: Map | Seq, kept: Mapping[str, Kept]) -> Iterator[str]:
    """The node's lines, not indented."""
    for entry in node.entries if isinstance(node, Map) else node.items:
        match entry:
            case Note(text):
                yield from (f"# {line}".rstrip() for line in text.splitlines())
            case Place(name, default):
                yield f"{_START} {name}"
                yield from (f"{_VERBATIM}{line}" for line in kept[name].lines) if name in kept else default
                yield _END
            case (str(key), value):
                yield from _entry(_scalar(key), value, kept)
            case Map() | Seq():
                first, *others = _indent(_lines(entry, kept))
                yield f"- {first[2:]}"
                yield from others
            case Block() | Said():
                raise TypeError("this stands below a key")
            case _:
                yield f"- {_scalar(entry)}"


def _entry(key: str, value: Node, kept: Mapping[str, Kept]) -> Iterator[str]:
    match value:
        case Block(text):
            yield f"{key}: |"
            yield from _indent(iter(text.splitlines()))
        case Said(text, comment):
            yield f"{key}: {_scalar(text)} # {comment}"
        case Map(()):
            yield f"{key}: {{}}"
        case Map() | Seq():
            yield f"{key}:"
            yield from _indent(_lines(value, kept))
        case _:
            yield f"{key}: {_scalar(value)}"


def _indent(lines: Iterator[str]) -> Iterator[str]:
    return (line if line.startswith(_VERBATIM) else f"  {line}" for line in lines)


def _scalar(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):  # YAML 1.1 reads 1e-5, without a dot, as text
        return re.sub(r"^(-?\d+)e", r"\1.0e", str(value))
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
