"""The hub's database file: what it keeps, what it brings forward, what it refuses."""

import json
import sqlite3

import pytest

from edgeferry.domain.twin import new_twin, patch_desired, patch_reported, patch_tags
from edgeferry.errors import HubError
from edgeferry.hub.schema import VERSION
from edgeferry.hub.store import open_store
from edgeferry.wire.hub import Identity

NOW = "2026-01-02T03:04:05.000000Z"


def identity(device: str, module: str | None = None) -> Identity:
    twin = patch_tags(new_twin(NOW), {"place": {"row": 3}, "ü": "é"})
    twin = patch_reported(patch_desired(twin, {"a": {"b": [1, 2.5, None, True]}}, NOW), {"r": 1}, NOW)
    return Identity(
        device=device,
        module=module,
        generation="1",
        created_at=NOW,
        primary_key="a2V5",
        secondary_key="a2V6",
        twin=twin,
        etag=7,
        status="disabled",
        status_reason="broken",
        status_updated_at=NOW,
        managed_by="IotEdge",
        is_edge=True,
        scope="scope",
        parent_scopes=("above",),
        deployments={"layer": "Applied"},
        assigned=True,
    )


def test_what_was_saved_is_there_after_opening_again(tmp_path):
    store = open_store(tmp_path / "hub.db")
    with store.transaction():
        store.save_identity(identity("d"))
        store.save_identity(identity("d", "m"))
        store.add_pending(["d", "d"])
    store.close()
    store = open_store(tmp_path / "hub.db")
    assert store.identity("d") == identity("d")
    assert store.modules("d") == [identity("d", "m")]
    assert list(store.devices()) == [identity("d")]
    assert store.pending(10) == ["d"]
    store.close()


def fail_after(write, *arguments):
    write(*arguments)
    raise LookupError


def test_a_transaction_that_fails_leaves_nothing_and_tells_nobody(tmp_path):
    store = open_store(tmp_path / "hub.db")
    told = []
    store.watch(lambda key, saved: told.append((key, saved is not None)))
    with pytest.raises(LookupError), store.transaction():
        fail_after(store.save_identity, identity("d"))
    assert store.identity("d") is None
    assert told == []
    with store.transaction():
        store.save_identity(identity("d"))
        store.save_identity(identity("d", "m"))
    with store.transaction():
        store.delete_identity("d", None)
    assert told == [(("d", ""), True), (("d", "m"), True), (("d", ""), False), (("d", "m"), False)]
    store.close()


def make_first_schema(path) -> None:
    """As the first schema had it: one JSON document per identity."""
    saved = identity("d")
    twin = saved.twin
    section = lambda one: {"values": one.values, "metadata": one.metadata, "version": one.version}  # noqa: E731
    document = {
        "generation": saved.generation,
        "created_at": saved.created_at,
        "primary_key": saved.primary_key,
        "secondary_key": saved.secondary_key,
        "twin": {
            "desired": section(twin.desired),
            "reported": section(twin.reported),
            "tags": twin.tags,
            "version": twin.version,
        },
        "etag": saved.etag,
        "status": saved.status,
        "status_reason": saved.status_reason,
        "status_updated_at": saved.status_updated_at,
        "managed_by": saved.managed_by,
        "is_edge": saved.is_edge,
        "scope": saved.scope,
        "parent_scopes": saved.parent_scopes,
        "deployments": saved.deployments,
        "assigned": saved.assigned,
    }
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE identities (device TEXT NOT NULL, module TEXT NOT NULL, document TEXT NOT NULL,
                PRIMARY KEY (device, module)) WITHOUT ROWID;
            CREATE TABLE configurations (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE subscriptions (device TEXT NOT NULL, module TEXT NOT NULL, filters TEXT NOT NULL,
                PRIMARY KEY (device, module)) WITHOUT ROWID;
            PRAGMA user_version = 1;
            """
        )
        for module in ("", "m"):
            connection.execute("INSERT INTO identities VALUES ('d', ?, ?)", (module, json.dumps(document)))
        connection.execute("INSERT INTO subscriptions VALUES ('d', 'm', '{\"$iothub/methods/POST/#\":0}')")
    connection.close()


def test_the_first_schema_is_brought_forward_with_all_it_holds(tmp_path):
    make_first_schema(tmp_path / "hub.db")
    store = open_store(tmp_path / "hub.db")
    assert store.identity("d") == identity("d")
    assert store.identity("d", "m") == identity("d", "m")
    assert store.subscriptions("d", "m") == {"$iothub/methods/POST/#": 0}
    store.close()
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


def test_a_first_schema_that_cannot_be_read_is_left_as_it_was(tmp_path):
    make_first_schema(tmp_path / "hub.db")
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        connection.execute("UPDATE identities SET document = '{' WHERE module = 'm'")
        before = connection.execute("SELECT * FROM identities").fetchall()
    connection.close()
    with pytest.raises(HubError, match="damaged"):
        open_store(tmp_path / "hub.db")
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT * FROM identities").fetchall() == before
    connection.close()


def test_a_newer_schema_is_refused(tmp_path):
    open_store(tmp_path / "hub.db").close()
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(HubError, match="newer edgeferry"):
        open_store(tmp_path / "hub.db")
