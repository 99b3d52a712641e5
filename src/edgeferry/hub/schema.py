"""The versions of the hub's database, and the way from each to the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeferry.errors import HubError


def _make_first(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE identities (device TEXT NOT NULL, module TEXT NOT NULL, document TEXT NOT NULL,"
        " PRIMARY KEY (device, module)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE configurations (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE subscriptions (device TEXT NOT NULL, module TEXT NOT NULL, filters TEXT NOT NULL,"
        " PRIMARY KEY (device, module)) WITHOUT ROWID"
    )


def _split_documents(connection: sqlite3.Connection) -> None:
    """A twin's parts in columns of their own, so that one can be read without the others; devices that wait
    to be assigned."""
    connection.execute("ALTER TABLE identities RENAME TO old")
    connection.execute(
        "CREATE TABLE identities (device TEXT NOT NULL, module TEXT NOT NULL, tags TEXT NOT NULL,"
        " deployments TEXT NOT NULL, twin_version INTEGER NOT NULL, desired_version INTEGER NOT NULL,"
        " reported_version INTEGER NOT NULL, record TEXT NOT NULL, desired TEXT NOT NULL,"
        " reported TEXT NOT NULL, desired_metadata TEXT NOT NULL, reported_metadata TEXT NOT NULL,"
        " PRIMARY KEY (device, module))"
    )
    connection.execute("CREATE TABLE pending (device TEXT PRIMARY KEY) WITHOUT ROWID")
    for device, module, text in connection.execute("SELECT device, module, document FROM old").fetchall():
        record = json.loads(text)
        twin, deployments = record.pop("twin"), record.pop("deployments")
        desired, reported = twin["desired"], twin["reported"]
        values = {
            "device": device,
            "module": module,
            "tags": json.dumps(twin["tags"]),
            "deployments": json.dumps(deployments),
            "twin_version": twin["version"],
            "desired_version": desired["version"],
            "reported_version": reported["version"],
            "record": json.dumps(record),
            "desired": json.dumps(desired["values"]),
            "reported": json.dumps(reported["values"]),
            "desired_metadata": json.dumps(desired["metadata"]),
            "reported_metadata": json.dumps(reported["metadata"]),
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(f"INSERT INTO identities ({names}) VALUES ({marks})", values)
    connection.execute("DROP TABLE old")


_STEPS: Sequence[Callable[[sqlite3.Connection], None]] = (_make_first, _split_documents)
VERSION = len(_STEPS)
"""The schema that this edgeferry reads and writes."""


def bring_forward(connection: sqlite3.Connection, path: Path) -> None:
    """The database has schema VERSION, all of it or not at all; HubError when a newer edgeferry wrote it."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise HubError(
            f"{path} was written by a newer edgeferry: schema {version}, not {VERSION}",
            fix="install that version, or start with another state folder",
        )
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except (ValueError, KeyError, TypeError) as error:
        connection.execute("ROLLBACK")
        raise HubError(f"{path} is damaged: {error}", fix="restore it from a backup") from error
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
