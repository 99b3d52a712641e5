"""The hub's memory: identities with their twins, configurations, subscriptions, in one SQLite file.

WAL with synchronous=FULL: what was committed survives the process and the power. Documents are JSON rows;
`user_version` is the schema's version. Used from one thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import Deployment
from edgeferry.domain.twin import Section, Twin
from edgeferry.errors import HubError
from edgeferry.wire.hub import Configuration, Identity

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE identities (device TEXT NOT NULL, module TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (device, module)) WITHOUT ROWID;
CREATE TABLE configurations (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE subscriptions (device TEXT NOT NULL, module TEXT NOT NULL, filters TEXT NOT NULL,
    PRIMARY KEY (device, module)) WITHOUT ROWID;
"""


class Store:
    """Reads and writes of the hub's documents; a device has module "" in its tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._configurations: Sequence[Configuration] | None = None

    def close(self) -> None:
        self._connection.close()

    def serves(self) -> bool:
        """Whether reading works."""
        try:
            self._connection.execute("SELECT 1 FROM identities LIMIT 1").fetchall()
        except sqlite3.Error:
            return False
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes within are committed together, durably, or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._configurations = None
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    # identities

    def identity(self, device: str, module: str | None = None) -> Identity | None:
        row = self._connection.execute(
            "SELECT document FROM identities WHERE device = ? AND module = ?", (device, module or "")
        ).fetchone()
        return _parse_identity(device, module, row[0]) if row else None

    def devices(self) -> Sequence[Identity]:
        """All devices by id."""
        rows = self._connection.execute(
            "SELECT device, document FROM identities WHERE module = '' ORDER BY device"
        ).fetchall()
        return [_parse_identity(device, None, document) for device, document in rows]

    def modules(self, device: str | None = None) -> Sequence[Identity]:
        """The device's modules by id (`$edgeAgent` and `$edgeHub` first); of all devices when None."""
        rows = self._connection.execute(
            "SELECT device, module, document FROM identities "
            "WHERE module <> '' AND (?1 IS NULL OR device = ?1) ORDER BY device, module",
            (device,),
        ).fetchall()
        return [_parse_identity(owner, module, document) for owner, module, document in rows]

    def save_identity(self, identity: Identity) -> None:
        self._connection.execute(
            "INSERT INTO identities VALUES (?, ?, ?) "
            "ON CONFLICT (device, module) DO UPDATE SET document = excluded.document",
            (identity.device, identity.module or "", _render_identity(identity)),
        )

    def delete_identity(self, device: str, module: str | None) -> None:
        """Forgets the module, or the device with its modules, and their subscriptions."""
        for table in ("identities", "subscriptions"):
            if module is None:
                self._connection.execute(f"DELETE FROM {table} WHERE device = ?", (device,))
            else:
                self._connection.execute(
                    f"DELETE FROM {table} WHERE device = ? AND module = ?", (device, module)
                )

    # configurations

    def configuration(self, name: str) -> Configuration | None:
        return next((one for one in self.configurations() if one.deployment.id == name), None)

    def configurations(self) -> Sequence[Configuration]:
        """All configurations by id; kept in memory, since each change of a device asks for them."""
        if self._configurations is None:
            rows = self._connection.execute("SELECT id, document FROM configurations ORDER BY id").fetchall()
            self._configurations = [_parse_configuration(name, document) for name, document in rows]
        return self._configurations

    def save_configuration(self, configuration: Configuration) -> None:
        self._connection.execute(
            "INSERT INTO configurations VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            (configuration.deployment.id, _render_configuration(configuration)),
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
                "INSERT INTO subscriptions VALUES (?, ?, ?) "
                "ON CONFLICT (device, module) DO UPDATE SET filters = excluded.filters",
                (*key, json.dumps(dict(filters))),
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
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise HubError(
                    f"{path} was written by a newer edgeferry: schema {version}, not {_SCHEMA_VERSION}",
                    fix="install that version, or start with another state folder",
                )
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise HubError(
            f"cannot open the hub's database {path}: {error}",
            fix="free disk space, mend its permissions, or start with another state folder",
        ) from error
    return Store(connection)


def _render_identity(identity: Identity) -> str:
    document = asdict(identity)
    del document["device"], document["module"]
    return json.dumps(document, separators=(",", ":"))


def _parse_identity(device: str, module: str | None, text: str) -> Identity:
    document: dict[str, Any] = json.loads(text)
    twin = document.pop("twin")
    parsed = Twin(
        desired=Section(**twin["desired"]),
        reported=Section(**twin["reported"]),
        tags=twin["tags"],
        version=twin["version"],
    )
    document["parent_scopes"] = tuple(document["parent_scopes"])
    return Identity(device=device, module=module, twin=parsed, **document)


def _render_configuration(configuration: Configuration) -> str:
    deployment = configuration.deployment
    return json.dumps(
        {
            "priority": deployment.priority,
            "created_at": deployment.created_at,
            "condition": deployment.condition.text,
            "modules": {name: dict(paths) for name, paths in deployment.modules.items()},
            "schema_version": configuration.schema_version,
            "labels": dict(configuration.labels),
            "updated_at": configuration.updated_at,
            "metric_queries": dict(configuration.metric_queries),
            "etag": configuration.etag,
        },
        separators=(",", ":"),
    )


def _parse_configuration(name: str, text: str) -> Configuration:
    document = json.loads(text)
    deployment = Deployment(
        id=name,
        priority=document.pop("priority"),
        created_at=document.pop("created_at"),
        condition=parse_condition(document.pop("condition")),
        modules=document.pop("modules"),
    )
    return Configuration(deployment=deployment, **document)
