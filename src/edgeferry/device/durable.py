"""What files that survive a kill, a power cut, a full disk and a broken block are made of: drafts, names that
are on disk, copies put aside. `checked_file.py` and `journal.py` are two kinds of such files.

Beside a file NAME there may be NAME.new (a draft, never read), NAME.previous and NAME.broken.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeferry.errors import OutsideError, UsageError

Json = dict[str, Any]

LOST = frozenset({errno.EIO, errno.EISDIR, errno.EBADMSG, errno.EUCLEAN})
"""The bytes are lost, or there never were any. Other errors (no permission, too many open files) may pass."""

_log = logging.getLogger(__name__)


def replace_file(path: Path, body: bytes, mode: int) -> None:
    """The file holds `body` with that mode, also after a power cut; OSError, and it holds what it did."""
    write_draft(path, body, mode)
    draft_of(path).replace(path)
    sync_folder(path.parent)


def render_canonical(said: Json) -> bytes:
    """The object as JSON in the one form that is hashed: keys sorted, no spaces, ASCII."""
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def draft_of(path: Path) -> Path:
    """Where the file's next content is written before it counts."""
    return path.with_name(path.name + ".new")


def broken_of(path: Path) -> Path:
    """Where what cannot be read of the file is kept."""
    return path.with_name(path.name + ".broken")


def put_aside(path: Path) -> None:
    """The file has its name for what is broken; where that fails, it is logged."""
    with telling("not put aside", path):
        path.replace(broken_of(path))


def too_new(path: Path, version: int, known: int) -> UsageError:
    """The error for a file that a newer agent wrote."""
    return UsageError(
        f"{path} has version {version}, this agent knows {known} and older",
        fix="start the newer agent that wrote it",
    )


def cannot_open(path: Path, error: OSError) -> OutsideError:
    """The error for a file that is there and cannot be opened."""
    return OutsideError(
        f"{path} cannot be opened: {error.strerror}",
        fix="let the agent's user read and write its state folder",
    )


@contextlib.contextmanager
def telling(what: str, path: Path) -> Iterator[None]:
    """An OSError inside is logged and goes no further."""
    try:
        yield
    except OSError as error:
        _log.warning("%s path=%s: %s", what, path, error)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the file, which is there, to read and write it; closed afterwards."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_draft(path: Path, body: bytes, mode: int) -> None:
    """NAME.new is on disk, or is not there and OSError says why."""
    draft = draft_of(path)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            write_at(descriptor, body, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)  # on a full disk it holds the last free bytes
        raise


def write_at(descriptor: int, body: bytes, offset: int) -> None:
    """All of `body` stands at that offset in bytes; OSError when only a part of it does."""
    written = 0
    while written < len(body):
        written += os.pwrite(descriptor, body[written:], offset + written)


def sync_folder(folder: Path) -> None:
    """The names in the folder are on disk; OSError when that cannot be."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
