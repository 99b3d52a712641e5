"""Questions about the fleet: queries page by page, counts, statistics, the devices of a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from edgeferry.domain.condition import Condition
from edgeferry.domain.expression import Path, follow
from edgeferry.domain.query import Query, aggregate, find_answer_paths, parse_query, project
from edgeferry.domain.value import UNDEFINED
from edgeferry.errors import ConditionError
from edgeferry.hub.core import Core
from edgeferry.hub.index import Index, Key
from edgeferry.wire.hub import Identity, Json, RefusalError, render_json, render_twin
from edgeferry.wire.hub_row import render_row

_DEVICES = "devices"
_IS_EDGE = parse_query("SELECT * FROM devices WHERE capabilities.iotEdge = true").condition.expression


@dataclass(frozen=True)
class Cursor:
    """Where the next page begins: after this key; at most `left` more rows when the query says TOP."""

    device: str
    module: str
    left: int | None


@dataclass(frozen=True)
class Page:
    """Rows of a query; `next_after` continues it, None at the end."""

    rows: Sequence[bytes]
    """Each as JSON."""
    item_type: str
    next_after: Cursor | None


class Queries:
    """Answers from indexes in memory; rows are read from the store."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._indexes = {
            _DEVICES: Index(self._scanner(modules=False), self._live, all_tags=True),
            "devices.modules": Index(self._scanner(modules=True), self._live, all_tags=False),
        }
        for key, tags in core.store.section("tags", modules=False):
            self._indexes[_DEVICES].put(key, {"tags": tags})
        for key in core.store.module_keys():
            self._indexes["devices.modules"].put(key, {})
        core.store.watch(self._note)

    def query(self, text: str, after: Cursor | None, limit: int) -> Page:
        """One page of the query's rows; RefusalError ArgumentInvalid with the column."""
        query = _parse(text)
        index = self._indexes[query.collection]
        mask = index.select(query.condition.expression)
        if query.is_aggregate:
            return Page([render_json(row) for row in _aggregate(query, index, mask)], "Raw", None)
        left = query.top if after is None else after.left
        wanted = limit if left is None else min(limit, left)
        keys = index.keys(mask, None if after is None else (after.device, after.module), wanted + 1)
        rows = self._project(query, keys[:wanted]) if query.columns else self._render(keys[:wanted])
        left = None if left is None else left - wanted
        is_more = len(keys) > wanted and left != 0
        return Page(
            rows,
            "Raw" if query.columns else "Twin",
            Cursor(*keys[wanted - 1], left) if is_more else None,
        )

    def _project(self, query: Query, keys: Sequence[Key]) -> Sequence[bytes]:
        store = self._core.store
        if any(path.segments[0] in ("tags", "properties") for path in find_answer_paths(query)):
            identities = store.identities(keys)
        else:
            identities = [one.identity for one in store.stored_twins(keys)]
        rows = (project(query, render_twin(one, self._core.presence_of(one))) for one in identities)
        return [render_json(row) for row in rows]

    def _render(self, keys: Sequence[Key]) -> Sequence[bytes]:
        stored = self._core.store.stored_twins(keys)
        return [render_row(one, self._core.presence_of(one.identity)) for one in stored]

    def count(self, text: str) -> int:
        """How many rows the query has; RefusalError ArgumentInvalid with the column."""
        query = _parse(text)
        index = self._indexes[query.collection]
        mask = index.select(query.condition.expression)
        if query.is_aggregate:
            return len(_aggregate(query, index, mask))
        rows = mask.count(1)
        return rows if query.top is None else min(query.top, rows)

    def select_devices(self, condition: Condition) -> Sequence[str]:
        """The edge devices that the condition selects, in no order."""
        index = self._indexes[_DEVICES]
        mask = index.select(condition.expression)
        return [device for device, _ in index.all_keys(index.both(mask, index.select(_IS_EDGE)))]

    def statistics(self) -> tuple[int, int, int]:
        """How many devices there are, are enabled, are connected."""
        index = self._indexes[_DEVICES]
        enabled = self.count("SELECT * FROM devices WHERE status = 'enabled'")
        connected = self.count("SELECT * FROM devices WHERE connectionState = 'Connected'")
        return len(index), enabled, connected

    def _note(self, key: Key, identity: Identity | None) -> None:
        index = self._indexes["devices.modules" if key[1] else _DEVICES]
        if identity is None:
            index.remove(key)
        else:
            index.put(key, render_twin(identity, self._core.presence_of(identity)))

    def _live(self, path: Path) -> Callable[[Key], Any] | None:
        presence = self._core.presence
        match path.segments:
            case ("connectionState",):
                return lambda key: (
                    "Connected" if presence(key[0], key[1] or None).connected else "Disconnected"
                )
            case ("lastActivityTime",):
                return lambda key: presence(key[0], key[1] or None).active_at
            case ("deviceId",):
                return lambda key: key[0]
            case ("moduleId",):
                return lambda key: key[1] or UNDEFINED
        return None

    def _scanner(self, modules: bool) -> Callable[[Path], Iterator[tuple[Key, Any]]]:
        def scan(path: Path) -> Iterator[tuple[Key, Any]]:
            section, build = _section_of(path)
            if section is not None:
                for key, value in self._core.store.section(section, modules):
                    yield key, follow(build(value), path)
                return
            for identity in self._core.store.all_modules() if modules else self._core.store.devices():
                key = (identity.device, identity.module or "")
                yield key, follow(render_twin(identity, self._core.presence_of(identity)), path)

        return scan


def _parse(text: str) -> Query:
    try:
        return parse_query(text)
    except ConditionError as error:
        raise RefusalError("ArgumentInvalid", error.problem, fix=error.fix) from error


def _aggregate(query: Query, index: Index, mask: bytes) -> Sequence[Json]:
    paths = list(find_answer_paths(query))
    return aggregate(query, index.values(mask, paths), lambda path: itemgetter(paths.index(path)))


def _section_of(path: Path) -> tuple[str | None, Callable[[Any], Mapping[str, Any]]]:
    """The part of a stored twin that has the path, and the piece of a document that the part makes."""
    match path.segments:
        case ("tags", *_):
            return "tags", lambda value: {"tags": value}
        case ("properties", "desired" | "reported" as half, "$version"):
            return f"{half}_version", lambda value: {"properties": {half: {"$version": value}}}
        case ("properties", "desired" | "reported" as half, name, *_) if not name.startswith("$"):
            return half, lambda value: {"properties": {half: value}}
        case ("configurations", *_):
            return "deployments", lambda value: {
                "configurations": {name: {"status": status} for name, status in value.items()}
            }
    return None, dict
