"""What devices said: their messages and when they were last seen, in a SQLite file of its own.

Apart from the hub's memory, so that neither twins nor export wait for telemetry. WAL with synchronous=FULL:
what was written survives the process and the power. Kept within bounds: the oldest messages go first. Their
numbers follow each other without a gap and are never given twice. Writes come from one thread, reads from
another.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgeferry.domain.message import Message
from edgeferry.errors import HubError
from edgeferry.wire.hub import Presence

BUSY_S = 30.0
"""How long a write waits for somebody else who writes to the file."""
PAGE_BYTES = 4 * 1024 * 1024
"""Most that the bodies of one page have together, unless there is only one."""
_TRIM_ROWS = 4096
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE messages (sequence INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, module TEXT NOT NULL,
    enqueued_at TEXT NOT NULL, bytes INTEGER NOT NULL, system TEXT NOT NULL, properties TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX messages_of_device ON messages (device);
CREATE TABLE presence (device TEXT NOT NULL, module TEXT NOT NULL, connected INTEGER NOT NULL,
    changed_at TEXT NOT NULL, active_at TEXT NOT NULL, PRIMARY KEY (device, module)) WITHOUT ROWID;
CREATE TABLE kept (origin TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO kept VALUES (lower(hex(randomblob(4))), 0);
"""

Key = tuple[str, str | None]


@dataclass(frozen=True)
class Bounds:
    """How much is kept."""

    count: int = 1_000_000
    size_bytes: int = 512 * 1024 * 1024
    age_s: float = 24 * 3600.0
    """As long as Azure's built-in endpoint keeps them unless told otherwise."""


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True)
class Slice:
    """Messages after a number; `last` is the highest number looked at, `lost` how many came before the first
    that is kept."""

    messages: Sequence[Message]
    last: int
    lost: int


class MessageStore:
    """Reads and writes of messages and presence."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection, bounds: Bounds) -> None:
        self._writer = writer
        self._reader = reader
        self._bounds = bounds
        self.origin: str = reader.execute("SELECT origin FROM kept").fetchone()[0]
        """Tells this file's numbers from another's."""

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def write(self, messages: Sequence[Message], presence: Mapping[Key, Presence | None], now: float) -> int:
        """The number of the last message ever taken, all of these and `presence` (None: forgotten) being
        written durably; sqlite3.Error, and nothing written, when that fails."""
        with closing(self._writer.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                _insert(cursor, messages)
                _save_presence(cursor, presence)
                self._trim(cursor, now, _TRIM_ROWS + len(messages))
                last = _last(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        return last

    def last(self) -> int:
        """The number of the last message ever taken."""
        with closing(self._reader.cursor()) as cursor:
            return _last(cursor)

    def read(self, after: int, limit: int, device: str = "") -> Slice:
        """At most `limit` messages with numbers above `after`, of one device if it is named."""
        with closing(self._reader.cursor()) as cursor:
            cursor.execute("BEGIN")  # one view of the file for all three questions
            try:
                last = _last(cursor)
                first = cursor.execute("SELECT min(sequence) FROM messages").fetchone()[0] or last + 1
                rows = cursor.execute(
                    "SELECT sequence, device, module, enqueued_at, system, properties, body FROM messages "
                    f"WHERE sequence > ? {'AND device = ?' if device else ''} ORDER BY sequence",
                    (after, device) if device else (after,),
                )
                messages, full = _take(rows, limit)
            finally:
                cursor.execute("COMMIT")
        lost = max(0, first - 1 - after)
        return Slice(messages, messages[-1].sequence if full else max(last, after), lost)

    def presence(self) -> Mapping[Key, Presence]:
        """What was last written of everybody."""
        rows = self._reader.execute("SELECT device, module, connected, changed_at, active_at FROM presence")
        return {(row[0], row[1] or None): Presence(bool(row[2]), row[3], row[4]) for row in rows}

    def _trim(self, cursor: sqlite3.Cursor, now: float, most: int) -> None:
        """Drops the oldest messages beyond the bounds, at most so many at once."""
        size = cursor.execute("SELECT bytes FROM kept").fetchone()[0]
        last, cutoff = _last(cursor), stamp(now - self._bounds.age_s)
        rows = cursor.execute(
            "SELECT sequence, bytes, enqueued_at FROM messages ORDER BY sequence LIMIT ?", (most,)
        )
        gone = 0
        for sequence, bytes_, enqueued_at in rows:
            fits = last - sequence < self._bounds.count and size <= self._bounds.size_bytes
            if fits and enqueued_at >= cutoff:
                break
            gone, size = sequence, size - bytes_
        if gone:
            cursor.execute("DELETE FROM messages WHERE sequence <= ?", (gone,))
            cursor.execute("UPDATE kept SET bytes = ?", (size,))


def open_messages(path: Path, bounds: Bounds) -> MessageStore:
    """The store in the file `path`, made when there is none; HubError when it is not usable."""
    connections: list[sqlite3.Connection] = []
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's own files take its mode
        try:
            for _ in range(2):
                connection = sqlite3.connect(
                    path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
                )
                connections.append(connection)
            writer, reader = connections
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("PRAGMA synchronous = FULL")
            version = writer.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise HubError(
                    f"{path} was written by a newer edgeferry: schema {version}, not {_SCHEMA_VERSION}",
                    fix="install that version, or move the file away: only kept telemetry is in it",
                )
            if version == 0:
                writer.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
            return MessageStore(writer, reader, bounds)
        except BaseException:
            for connection in connections:
                connection.close()
            raise
    except (sqlite3.Error, OSError, TypeError) as error:
        raise HubError(
            f"cannot open the hub's messages {path}: {error}",
            fix="free disk space, mend its permissions, or move it away: only kept telemetry is in it",
        ) from error


def stamp(at: float) -> str:
    """Unix seconds as ISO 8601 UTC with microseconds, which sorts as time does."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _insert(cursor: sqlite3.Cursor, messages: Sequence[Message]) -> None:
    if not messages:
        return
    rows = [
        (
            one.device,
            one.module or "",
            one.enqueued_at,
            one.size_bytes,
            json.dumps(dict(one.system)),
            json.dumps(dict(one.properties)),
            one.body,
        )
        for one in messages
    ]
    cursor.executemany(
        "INSERT INTO messages (device, module, enqueued_at, bytes, system, properties, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    cursor.execute("UPDATE kept SET bytes = bytes + ?", (sum(row[3] for row in rows),))


def _save_presence(cursor: sqlite3.Cursor, presence: Mapping[Key, Presence | None]) -> None:
    for (device, module), one in presence.items():
        key = (device, module or "")
        if one is None:
            cursor.execute("DELETE FROM presence WHERE device = ? AND module = ?", key)
        else:
            cursor.execute(
                "INSERT OR REPLACE INTO presence VALUES (?, ?, ?, ?, ?)",
                (*key, one.connected, one.changed_at, one.active_at),
            )


def _last(cursor: sqlite3.Cursor) -> int:
    row = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    return row[0] if row else 0


def _take(
    rows: Iterable[tuple[int, str, str, str, str, str, bytes]], limit: int
) -> tuple[list[Message], bool]:
    """The page's messages, and whether it is full."""
    messages: list[Message] = []
    size = 0
    for sequence, device, module, enqueued_at, system, properties, body in rows:
        size += len(body)
        if len(messages) == limit or (messages and size > PAGE_BYTES):
            return messages, True
        messages.append(
            Message(
                device,
                module or None,
                enqueued_at,
                json.loads(system),
                json.loads(properties),
                body,
                sequence,
            )
        )
    return messages, False
