"""A twin's arithmetic: what a write makes of tags, desired and reported properties.

Follows IoT Hub's twin rules: `null` deletes, arrays are replaced whole, members whose names begin with `$`
belong to the hub and are dropped from input. A node's metadata moves only when its value really changed (a
leaf, or anything below the node), so the `$lastUpdatedVersion` of a subtree is the version that brought it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

SECTION_BYTES = 32 * 1024
TAGS_BYTES = 8 * 1024
_KEY_BYTES = 1024
_STRING_BYTES = 4 * 1024
_DEPTH = 10
_INTEGER = 4503599627370496
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that do not count in a string's size."""


@dataclass(frozen=True)
class Section:
    """Desired or reported properties: plain values, their metadata tree and their version."""

    values: Json
    metadata: Json
    version: int


@dataclass(frozen=True)
class Twin:
    """The hub's document about one device or module."""

    desired: Section
    reported: Section
    tags: Json = field(default_factory=dict)
    version: int = 1
    """Grows with every write to any part."""


def new_twin(now: str) -> Twin:
    """A twin with nothing in it, at version 1; `now` is ISO 8601."""
    return Twin(
        desired=Section({}, {"$lastUpdated": now, "$lastUpdatedVersion": 1}, 1),
        reported=Section({}, {"$lastUpdated": now}, 1),
    )


def patch_desired(twin: Twin, patch: Mapping[str, Any], now: str) -> Twin:
    """The twin after a merge patch of its desired properties; the version grows even when nothing changed."""
    return _with_desired(twin, merge(twin.desired.values, patch), now)


def replace_desired(twin: Twin, values: Mapping[str, Any], now: str) -> Twin:
    """The twin with exactly these desired properties; the version grows even when nothing changed."""
    return _with_desired(twin, merge({}, values), now)


def settle_desired(twin: Twin, values: Mapping[str, Any], now: str) -> Twin:
    """The twin with exactly these desired properties; the very same twin when it has them already."""
    wanted = merge({}, values)
    return twin if is_same(twin.desired.values, wanted) else _with_desired(twin, wanted, now)


def patch_reported(twin: Twin, patch: Mapping[str, Any], now: str) -> Twin:
    """The twin after a merge patch of its reported properties."""
    old = twin.reported
    values = merge(old.values, patch)
    metadata = {**_stamp(old.values, values, old.metadata, {"$lastUpdated": now}), "$lastUpdated": now}
    reported = Section(values, metadata, old.version + 1)
    return replace(twin, reported=reported, version=twin.version + 1)


def patch_tags(twin: Twin, patch: Mapping[str, Any]) -> Twin:
    """The twin after a merge patch of its tags."""
    return replace(twin, tags=merge(twin.tags, patch), version=twin.version + 1)


def replace_tags(twin: Twin, tags: Mapping[str, Any]) -> Twin:
    """The twin with exactly these tags."""
    return replace(twin, tags=merge({}, tags), version=twin.version + 1)


def merge(values: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """`values` after a merge patch (RFC 7396), without the patch's `$` members at any depth."""
    merged = dict(values)
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            old = merged.get(name)
            merged[name] = merge(old if isinstance(old, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def strip_hub_members(value: Mapping[str, Any]) -> Json:
    """A patch as clients are told of it: without `$` members at any depth, nulls kept."""
    return {
        name: strip_hub_members(member) if isinstance(member, Mapping) else member
        for name, member in value.items()
        if not name.startswith("$")
    }


def diff_for_client(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The whole of `new`, with null for every member of `old` that is gone: as a merge patch it turns `old`
    into `new`."""
    patch: Json = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        patch[name] = diff_for_client(before, value) if nested else value  # type: ignore[arg-type]
    return patch


def is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; `true` is not 1 and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(is_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def render_section(section: Section) -> Json:
    """The section as it stands in a twin document, with `$metadata` and `$version`."""
    return {**section.values, "$metadata": section.metadata, "$version": section.version}


def find_fault(values: Mapping[str, Any], limit_bytes: int | None) -> str | None:
    """Why IoT Hub would refuse these properties or tags, naming the path; None when it would not. With None
    as the limit they, and texts in them, may have any size."""
    fault = _find_fault(values, "", 0, sized=limit_bytes is not None)
    if fault or limit_bytes is None:
        return fault
    size = size_of(values)
    return (
        f"{size} bytes of keys and values, at most {limit_bytes} are allowed" if size > limit_bytes else None
    )


def size_of(value: Any) -> int:
    """The bytes that count against a section's limit: of names and values, not of the JSON around them."""
    if isinstance(value, Mapping):
        return sum(len(name.encode()) + size_of(child) for name, child in value.items())
    if isinstance(value, list):
        return sum(size_of(child) for child in value)
    if isinstance(value, str):
        return len(_CONTROLS.sub("", value).encode())
    if isinstance(value, bool):
        return 4
    return 0 if value is None else 8


def _with_desired(twin: Twin, values: Json, now: str) -> Twin:
    version = twin.desired.version + 1
    stamp = {"$lastUpdated": now, "$lastUpdatedVersion": version}
    metadata = {**_stamp(twin.desired.values, values, twin.desired.metadata, stamp), **stamp}
    return replace(twin, desired=Section(values, metadata, version), version=twin.version + 1)


def _stamp(old: Any, new: Any, metadata: Json, stamp: Json) -> Json:
    if is_same(old, new):
        return metadata
    if not isinstance(new, dict):
        return dict(stamp)
    before = old if isinstance(old, dict) else {}
    return {
        **stamp,
        **{
            name: _stamp(before[name], value, metadata[name], stamp)
            if name in before
            else _fresh(value, stamp)
            for name, value in new.items()
        },
    }


def _fresh(value: Any, stamp: Json) -> Json:
    children = (
        {name: _fresh(child, stamp) for name, child in value.items()} if isinstance(value, dict) else {}
    )
    return {**stamp, **children}


def _find_fault(value: Any, path: str, depth: int, *, sized: bool) -> str | None:
    if isinstance(value, Mapping):
        if depth > _DEPTH:
            return f"{path} is nested deeper than {_DEPTH} levels"
        for name, child in value.items():
            where = f"{path}.{name}" if path else name
            if not name or len(name.encode()) > _KEY_BYTES:
                return f"a name at {path or 'the top'} is empty or longer than {_KEY_BYTES} bytes"
            if any(letter in ".$ " or ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in name):
                return f"{where!r}: names may not contain control characters, '.', '$' or space"
            fault = _find_fault(child, where, depth + 1, sized=sized)
            if fault:
                return fault
    elif isinstance(value, list):
        if depth > _DEPTH:
            return f"{path} is nested deeper than {_DEPTH} levels"
        for child in value:
            fault = _find_fault(child, path, depth + 1, sized=sized)
            if fault:
                return fault
    elif sized and isinstance(value, str) and len(value.encode()) > _STRING_BYTES:
        return f"{path} is a string longer than {_STRING_BYTES} bytes"
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > _INTEGER:
        return f"{path} is an integer beyond ±{_INTEGER}"
    return None
