"""The hub's memory: identities with their twins, configurations, subscriptions, in one SQLite file.

WAL with synchronous=FULL: what was committed survives the process and the power. `user_version` is the
schema's version; an older file is brought forward when it is opened. Used from one thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeferry.domain.twin import Section, Twin
from edgeferry.errors import HubError
from edgeferry.hub.schema import bring_forward
from edgeferry.wire.hub import Configuration, Identity
from edgeferry.wire.hub_export import parse_stored, render_stored
from edgeferry.wire.hub_row import StoredSection, StoredTwin

Key = tuple[str, str]
"""Device and module, "" for a device itself."""
Watcher = Callable[[Key, Identity | None], None]

_TWIN = (
    "tags, desired, desired_metadata, desired_version, reported, reported_metadata, reported_version, "
    "twin_version, deployments, record"
)
_EMPTY = Section({}, {}, 0)
_SAVE = f"INSERT OR REPLACE INTO identities (device, module, {_TWIN}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"


class Store:
    """Reads and writes of the hub's documents."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._configurations: Sequence[Configuration] | None = None
        self._written: dict[Key, Identity | None] = {}
        self._watcher: Watcher | None = None
        self.commits = 0
        """Transactions committed since it was opened."""

    def close(self) -> None:
        self._connection.close()

    def serves(self) -> bool:
        """Whether reading works."""
        try:
            self._connection.execute("SELECT 1 FROM identities LIMIT 1").fetchall()
        except sqlite3.Error:
            return False
        return True

    def watch(self, watcher: Watcher) -> None:
        """The watcher hears of each identity that a committed transaction saved or deleted."""
        self._watcher = watcher

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes within are committed together, durably, or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._configurations = None
            self._written.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.commits += 1
        written, self._written = self._written, {}
        if self._watcher is not None:
            for key, identity in written.items():
                self._watcher(key, identity)

    # identities

    def identity(self, device: str, module: str | None = None) -> Identity | None:
        row = self._connection.execute(
            f"SELECT device, module, {_TWIN} FROM identities WHERE device = ? AND module = ?",
            (device, module or ""),
        ).fetchone()
        return _parse_identity(row) if row else None

    def identities(self, keys: Sequence[Key]) -> Sequence[Identity]:
        """Those of these that there are, by device and module."""
        return list(map(_parse_identity, self._rows(keys)))

    def stored_twins(self, keys: Sequence[Key]) -> Sequence[StoredTwin]:
        """The same, with what their twins hold as it is stored."""
        return list(map(_parse_stored_twin, self._rows(keys)))

    def _rows(self, keys: Sequence[Key]) -> Iterable[Sequence[Any]]:
        if not keys:
            return []
        marks = ",".join(["(?,?)"] * len(keys))
        columns = _TWIN.replace(", ", ", identities.")
        return self._connection.execute(
            f"WITH wanted (device, module) AS (VALUES {marks}) "
            f"SELECT identities.device, identities.module, identities.{columns} "
            "FROM wanted CROSS JOIN identities USING (device, module) ORDER BY 1, 2",
            [part for key in keys for part in key],
        )

    def devices(self) -> Iterator[Identity]:
        """All devices by id."""
        rows = self._connection.execute(
            f"SELECT device, module, {_TWIN} FROM identities WHERE module = '' ORDER BY device"
        )
        return map(_parse_identity, rows)

    def modules(self, device: str) -> Sequence[Identity]:
        """The device's modules by id (`$edgeAgent` and `$edgeHub` first)."""
        rows = self._connection.execute(
            f"SELECT device, module, {_TWIN} FROM identities "
            "WHERE device = ? AND module <> '' ORDER BY module",
            (device,),
        )
        return [_parse_identity(row) for row in rows]

    def all_modules(self) -> Iterator[Identity]:
        """The modules of all devices, by device and id."""
        rows = self._connection.execute(
            f"SELECT device, module, {_TWIN} FROM identities WHERE module <> '' ORDER BY device, module"
        )
        return map(_parse_identity, rows)

    def module_keys(self) -> Iterator[Key]:
        """Device and module of all modules, in no order."""
        rows = self._connection.execute("SELECT device, module FROM identities WHERE module <> ''")
        return ((device, module) for device, module in rows)

    def section(self, name: str, modules: bool) -> Iterator[tuple[Key, Any]]:
        """A column of all devices, or of all modules, in no order."""
        rows = self._connection.execute(
            f"SELECT device, module, CAST({name} AS TEXT) FROM identities WHERE (module <> '') = ?",
            (modules,),
        )
        return (((device, module), json.loads(text)) for device, module, text in rows)

    def save_identity(self, identity: Identity) -> None:
        key = (identity.device, identity.module or "")
        self._connection.execute(_SAVE, (*key, *_render_identity(identity)))
        self._written[key] = identity

    def delete_identity(self, device: str, module: str | None) -> None:
        """Forgets the module, or the device with its modules, and their subscriptions."""
        if module is None:
            rows = self._connection.execute("SELECT module FROM identities WHERE device = ?", (device,))
            names = [name for (name,) in rows]
        else:
            names = [module]
        for name in names:
            for table in ("identities", "subscriptions"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE device = ? AND module = ?", (device, name)
                )
            self._written[(device, name)] = None

    # devices whose deployments have changed and that do not know it yet

    def add_pending(self, devices: Iterable[str]) -> None:
        """These devices are to be assigned anew."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO pending VALUES (?)", ((device,) for device in devices)
        )

    def remove_pending(self, device: str) -> None:
        self._connection.execute("DELETE FROM pending WHERE device = ?", (device,))

    def pending(self, limit: int) -> Sequence[str]:
        """At most `limit` of the devices that are to be assigned anew."""
        rows = self._connection.execute("SELECT device FROM pending LIMIT ?", (limit,))
        return [device for (device,) in rows]

    def count_pending(self) -> int:
        """How many devices are to be assigned anew."""
        [count] = self._connection.execute("SELECT COUNT(*) FROM pending").fetchone()
        return int(count)

    # configurations

    def configuration(self, name: str) -> Configuration | None:
        return next((one for one in self.configurations() if one.deployment.id == name), None)

    def configurations(self) -> Sequence[Configuration]:
        """All configurations by id; the very same sequence until one changes."""
        if self._configurations is None:
            rows = self._connection.execute("SELECT id, document FROM configurations ORDER BY id").fetchall()
            self._configurations = [parse_stored(name, json.loads(document)) for name, document in rows]
        return self._configurations

    def save_configuration(self, configuration: Configuration) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO configurations VALUES (?, ?)",
            (configuration.deployment.id, _dump(render_stored(configuration))),
        )
        self._configurations = None

    def delete_configuration(self, name: str) -> None:
        self._connection.execute("DELETE FROM configurations WHERE id = ?", (name,))
        self._configurations = None

    # subscriptions

    def subscriptions(self, device: str, module: str | None) -> Mapping[str, int]:
        """Topic filters with their QoS that outlive a connection."""
        row = self._connection.execute(
            "SELECT filters FROM subscriptions WHERE device = ? AND module = ?", (device, module or "")
        ).fetchone()
        filters: Mapping[str, int] = json.loads(row[0]) if row else {}
        return filters

    def save_subscriptions(self, device: str, module: str | None, filters: Mapping[str, int]) -> None:
        """Replaces the identity's filters; none forgets it."""
        key = (device, module or "")
        if filters:
            self._connection.execute(
                "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)", (*key, json.dumps(dict(filters)))
            )
        else:
            self._connection.execute("DELETE FROM subscriptions WHERE device = ? AND module = ?", key)


def open_store(path: Path) -> Store:
    """The store in the file `path`, made when there is none; HubError when it is not usable."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's own files take its mode
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            bring_forward(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise HubError(
            f"cannot open the hub's database {path}: {error}",
            fix="free disk space, mend its permissions, or start with another state folder",
        ) from error
    return Store(connection)


def _render_identity(identity: Identity) -> tuple[object, ...]:
    twin, desired, reported = identity.twin, identity.twin.desired, identity.twin.reported
    record = {
        "generation": identity.generation,
        "created_at": identity.created_at,
        "primary_key": identity.primary_key,
        "secondary_key": identity.secondary_key,
        "etag": identity.etag,
        "status": identity.status,
        "status_reason": identity.status_reason,
        "status_updated_at": identity.status_updated_at,
        "managed_by": identity.managed_by,
        "is_edge": identity.is_edge,
        "scope": identity.scope,
        "parent_scopes": identity.parent_scopes,
        "assigned": identity.assigned,
    }
    return (
        _dump(twin.tags),
        _dump(desired.values),
        _dump(desired.metadata),
        desired.version,
        _dump(reported.values),
        _dump(reported.metadata),
        reported.version,
        twin.version,
        _dump(identity.deployments),
        _dump(record),
    )


def _parse_identity(row: Sequence[Any]) -> Identity:
    stored = _parse_stored_twin(row)
    desired, reported = stored.desired, stored.reported
    twin = Twin(
        desired=Section(json.loads(desired.values), json.loads(desired.metadata), desired.version),
        reported=Section(json.loads(reported.values), json.loads(reported.metadata), reported.version),
        tags=json.loads(stored.tags),
        version=stored.identity.twin.version,
    )
    return replace(stored.identity, twin=twin)


def _parse_stored_twin(row: Sequence[Any]) -> StoredTwin:
    device, module, tags, desired, desired_metadata, desired_version, *rest = row
    reported, reported_metadata, reported_version, twin_version, deployments, text = rest
    record: dict[str, Any] = json.loads(text)
    record["parent_scopes"] = tuple(record["parent_scopes"])
    identity = Identity(
        device=device,
        module=module or None,
        twin=Twin(_EMPTY, _EMPTY, version=twin_version),
        deployments=json.loads(deployments),
        **record,
    )
    return StoredTwin(
        identity,
        tags,
        StoredSection(desired, desired_metadata, desired_version),
        StoredSection(reported, reported_metadata, reported_version),
    )


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
