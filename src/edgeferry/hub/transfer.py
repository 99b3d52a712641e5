"""What the hub knows, taken out of it and brought into one: backup, export, import, while it runs or not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.domain.twin import Section, Twin
from edgeferry.errors import HubError, RefusedError, UsageError
from edgeferry.hub.access import RIGHTS, Access
from edgeferry.hub.events import Event, IdentityGone
from edgeferry.hub.schema import VERSION
from edgeferry.hub.store import Store
from edgeferry.wire.hub import Configuration, Identity, RefusalError, render_error, render_json
from edgeferry.wire.hub_export import Record, parse_export, render_export

PATH = "/edgeferry/import"
"""Where a running hub takes an import from its owner."""
MOST_BYTES = 1024 * 1024 * 1024
"""The longest export that a running hub takes."""
_DATABASE = "hub.db"


class Mode(StrEnum):
    """What an import does with what is there already."""

    REFUSE = "refuse"
    MERGE = "merge"
    """What is there stays as it is."""
    REPLACE = "replace"
    """What is there becomes as the import says, with versions that only grow."""


def back_up(folder: Path, to: Path) -> None:
    """`to` is the database as of one moment, for its owner only. HubError when there is none;
    UsageError when `to` is there already or cannot be made."""
    with _reading(folder) as connection:
        try:
            os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise UsageError(f"cannot write {to}: {error.strerror}", fix="name another file") from error
        try:
            with closing(sqlite3.connect(to)) as copy:
                connection.backup(copy)
        except BaseException as error:
            to.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):
                raise HubError(f"cannot write {to}: {error}", fix="free disk space") from error
            raise


def export(folder: Path, *, keys: bool) -> Iterator[str]:
    """The lines of an export as of one moment."""
    with _reading(folder) as connection:
        connection.execute("BEGIN")
        store = Store(connection)
        identities: Iterable[Record] = chain(store.devices(), store.all_modules())
        yield from render_export(chain(identities, store.configurations()), keys=keys)


def bring_in(
    store: Store, lines: Iterable[str], mode: Mode, new_key: Callable[[], str]
) -> tuple[int, Sequence[Event]]:
    """(how many documents were written, what that means for connected clients); all of them or none.
    RefusedError when a line cannot be read, or something is there already and `mode` is to refuse."""
    written, events = 0, list[Event]()
    with store.transaction():
        try:
            for record in parse_export(lines):
                fresh = (
                    _take_identity(store, record, mode, new_key)
                    if isinstance(record, Identity)
                    else _take_configuration(store, record, mode)
                )
                written += fresh
                if fresh and isinstance(record, Identity):
                    events.append(IdentityGone(record.device, record.module))
        except ValueError as error:
            raise RefusedError(
                f"this is no export of a hub: {error}; nothing was imported", fix="export it anew"
            ) from error
        if written:
            store.add_pending([device.device for device in store.devices() if device.is_edge])
    return written, events


@dataclass(frozen=True)
class ImportRoute:
    """The route that a running hub takes an import by; only its owner may."""

    access: Access
    store: Store
    announce: Callable[[Sequence[Event]], None]
    wake: Callable[[], None]
    log: Callable[..., None]
    time: Callable[[], float]
    now: Callable[[], str]
    new_key: Callable[[], str]
    new_id: Callable[[], str]

    def route(self) -> Route:
        """POST of an export, `mode` in the query."""
        return Route(PATH, self._serve, methods=["POST"])

    async def _serve(self, request: Request) -> Response:
        try:
            caller = self.access.identify(
                request.headers.get("authorization", ""), PATH.strip("/"), self.time()
            )
            if caller.rights != RIGHTS["iothubowner"]:
                raise RefusalError(
                    "IotHubUnauthorizedAccess", f"{caller.name()} may not import", fix="use iothubowner"
                )
            lines = (await _read(request)).decode("utf-8", "replace").split("\n")
            mode = _parse_mode(request.query_params.get("mode", ""))
            written, events = bring_in(self.store, lines, mode, self.new_key)
        except RefusedError as error:
            refusal = error if isinstance(error, RefusalError) else _refuse(error)
            self.log("import refused", reason=refusal.problem)
            return Response(
                render_error(refusal, self.new_id(), self.now()),
                refusal.status,
                media_type="application/json",
            )
        self.announce(events)
        self.wake()
        self.log("imported", documents=written, mode=mode.value)
        return Response(render_json({"imported": written}), media_type="application/json")


def _parse_mode(text: str) -> Mode:
    if text and text not in list(Mode):
        raise RefusalError("ArgumentInvalid", f"mode {text!r} is unknown", fix=f"use {', '.join(Mode)}")
    return Mode(text or Mode.REFUSE)


def _refuse(error: RefusedError) -> RefusalError:
    return RefusalError("ArgumentInvalid", error.problem, fix=error.fix)


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise RefusalError("MessageTooLarge", "the import is larger than 1 GiB", fix="stop the hub first")
    return bytes(body)


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, which the hub may be writing meanwhile."""
    path = folder / _DATABASE
    if not path.is_file():
        raise HubError(f"no hub was ever started in {folder}", fix="edgeferry hub start")
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
        ) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                raise HubError(
                    f"{path} has schema {version}, not {VERSION}",
                    fix="start the hub once with this edgeferry",
                )
            yield connection
    except sqlite3.Error as error:
        raise HubError(f"cannot read {path}: {error}", fix="restore it from a backup") from error


def _take_identity(store: Store, new: Identity, mode: Mode, new_key: Callable[[], str]) -> bool:
    old = store.identity(new.device, new.module)
    if old is None and new.module is not None and store.identity(new.device) is None:
        raise ValueError(f"module {new.device}/{new.module} comes before its device")
    name = f"module {new.device}/{new.module}" if new.module else f"device {new.device}"
    if old is not None and not _may_write(mode, name):
        return False
    new = replace(
        new,
        primary_key=new.primary_key or (old.primary_key if old else new_key()),
        secondary_key=new.secondary_key or (old.secondary_key if old else new_key()),
    )
    if old is not None:
        new = replace(new, etag=max(new.etag, old.etag + 1), twin=_after(old.twin, new.twin))
    store.save_identity(new)
    return True


def _take_configuration(store: Store, new: Configuration, mode: Mode) -> bool:
    old = store.configuration(new.deployment.id)
    if old is not None:
        if not _may_write(mode, f"configuration {new.deployment.id}"):
            return False
        new = replace(new, etag=max(new.etag, old.etag + 1))
    store.save_configuration(new)
    return True


def _may_write(mode: Mode, name: str) -> bool:
    if mode is Mode.REFUSE:
        raise RefusedError(
            f"{name} is there already; nothing was imported",
            fix="--merge leaves what is there, --replace makes it as the file says",
        )
    return mode is Mode.REPLACE


def _after(old: Twin, new: Twin) -> Twin:
    """The new twin with versions beyond the old one's."""
    return replace(
        new,
        desired=_later(old.desired, new.desired),
        reported=_later(old.reported, new.reported),
        version=max(new.version, old.version + 1),
    )


def _later(old: Section, new: Section) -> Section:
    if new.values == old.values:
        return replace(new, version=max(new.version, old.version))
    return replace(new, version=max(new.version, old.version + 1))
