"""Conditions that are not what they seem: Azure would refuse them, or they leave devices out silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from edgeferry.domain.expression import (
    All,
    Among,
    Call,
    Compared,
    Expression,
    Literal,
    Not,
    Path,
    Some,
    find_paths,
    walk,
)
from edgeferry.domain.function import FUNCTIONS
from edgeferry.domain.grammar import MEMBERS
from edgeferry.domain.notation import render_path, render_text

_UNTARGETED = frozenset(MEMBERS.values()) - {"tags", "deviceId"}


@dataclass(frozen=True)
class Remark:
    """What is doubtful at a column of a condition, and what to write instead."""

    column: int
    problem: str
    fix: str


def find_remarks(expression: Expression) -> list[Remark]:
    """All that is doubtful in a target condition; by column."""
    found = (
        *find_unknown(expression),
        *find_unportable(expression),
        *find_untargetable(expression),
        *find_missing_tag(expression),
    )
    return sorted(found, key=lambda remark: remark.column)


def find_unknown(expression: Expression) -> list[Remark]:
    """The paths that no twin has, whatever is in it; by column."""
    paths = sorted(find_paths(expression), key=lambda path: path.column)
    return [
        Remark(path.column, f"no twin has a member {path.segments[0]!r}", _meant(path))
        for path in paths
        if path.segments[0] not in MEMBERS.values()
    ]


def find_unportable(expression: Expression) -> list[Remark]:
    """The functions in a condition or query that Azure's twin queries do not have; by column."""
    calls = (node for node in walk(expression) if isinstance(node, Call))
    return [
        Remark(call.column, f"Azure's twin queries have no {call.function.upper()}()", function.instead)
        for call in calls
        if not (function := FUNCTIONS[call.function]).is_portable
    ]


def find_untargetable(expression: Expression) -> list[Remark]:
    """What Azure takes in queries, but not in the target condition of an edge deployment ("IoT Edge automatic
    deployments", Microsoft: tags and deviceId, texts in single quotes); by column."""
    remarks = []
    for node in walk(expression):
        if isinstance(node, Literal) and node.quote == '"':
            fix = f"write {render_text(node.value)}"
            remarks.append(Remark(node.column, "Azure's target conditions take no double quotes", fix))
        if isinstance(node, Path) and node.segments[0] in _UNTARGETED:
            problem = f"Azure targets edge deployments by tags and deviceId, not by {_name(node)}"
            remarks.append(Remark(node.column, problem, "tag the devices with what is meant"))
    return remarks


def find_missing_tag(expression: Expression) -> list[Remark]:
    """The paths of tags and properties that a condition excludes values of without saying what becomes of
    devices that have none: those are left out too. By column, each path once; one that `is_defined` asks for
    anywhere is taken as meant."""
    asked = {
        argument
        for node in walk(expression)
        if isinstance(node, Call) and node.function == "is_defined"
        for argument in node.arguments
    }
    excluded = dict.fromkeys(path for path in _excluded(expression, False) if path not in asked)
    return [
        Remark(
            path.column,
            f"devices without {_name(path)} are left out too",
            f"add OR NOT is_defined({_name(path)}) to take them, AND is_defined({_name(path)}) to say no",
        )
        for path in sorted(excluded, key=lambda path: path.column)
        if path.segments[0] in ("tags", "properties")
    ]


def _excluded(node: Expression, negated: bool) -> Iterator[Path]:
    """The paths whose values a true condition must not have; `negated` within a NOT."""
    match node:
        case Not(operand):
            yield from _excluded(operand, not negated)
        case All(parts) | Some(parts):
            for part in parts:
                yield from _excluded(part, negated)
        case Compared(_, comparator, _):
            if negated or comparator in ("!=", "<>"):
                yield from find_paths(node)
        case Among(operand, _, is_nin):
            if negated is not is_nin:
                yield from find_paths(operand)
        case Call(function):
            if negated and function != "is_defined":
                yield from find_paths(node)
        case Path():
            if negated:
                yield node


def _meant(path: Path) -> str:
    first, *rest = path.segments
    known = get_close_matches(first, MEMBERS.values(), 1)
    return f"write {_name(Path((known[0], *rest)) if known and rest else Path(('tags', *path.segments)))}"


def _name(path: Path) -> str:
    return render_path(*path.segments)
