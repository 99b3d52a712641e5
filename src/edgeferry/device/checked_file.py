"""A file that is replaced whole and survives a kill, a power cut, a full disk and a broken block: it believes
nothing it reads that its checksum does not prove.

It has one writer: the agent that holds the folder's lock. Others may `read`, which touches nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeferry.device.durable import (
    LOST,
    Json,
    cannot_open,
    draft_of,
    put_aside,
    render_canonical,
    sync_folder,
    too_new,
    write_draft,
)
from edgeferry.errors import EdgeferryError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Copy:
    """One copy of a checked file as found; with a problem, the rest says nothing."""

    version: int
    payload: Json
    problem: str = ""


class CheckedFile:
    """One JSON object at `path`: a restart finds the last that was saved, or the one before and says so.

    `version` is that of the payload; `migrations[n]` makes a payload of version n + 1 from one of version n.
    Version 0 is what agents wrote before there were checksums, a plain JSON object with a space after each
    colon and comma; without a step of its own only the checksum is added.
    """

    def __init__(
        self,
        path: Path,
        version: int = 1,
        migrations: Mapping[int, Callable[[Json], Json]] | None = None,
    ) -> None:
        self.path = path
        self._version = version
        self._migrations = {0: dict, **(migrations or {})}
        self._previous = path.with_name(path.name + ".previous")
        self._lock = threading.Lock()
        if missing := set(range(version)) - self._migrations.keys():
            raise EdgeferryError(
                f"{path.name} has no migration from version {min(missing)}", fix="this is a bug of edgeferry"
            )

    def load(self) -> Json | None:
        """What was saved last, migrated; the previous copy if the current one is broken or gone; else None.
        What is broken is renamed to NAME.broken.

        UsageError when a newer agent wrote it; OutsideError when it cannot be opened.
        """
        with self._lock:
            said = self._find(mend=True)
            # A save that was killed before its last step is decided here: what is returned will stay.
            with contextlib.suppress(OSError):
                draft_of(self.path).unlink(missing_ok=True)
                sync_folder(self.path.parent)
            return said

    def read(self) -> Json | None:
        """What `load` returns, without touching anything; for those who do not hold the folder's lock."""
        return self._find(mend=False)

    def save(self, said: Json) -> None:
        """A restart finds `said`; what was current is the previous copy now.

        OSError when the disk does not take it: then a restart finds what was saved before (or `said`, if
        only the very last step failed). UsageError when a newer agent wrote the current copy.
        """
        with self._lock:
            current = _read_copy(self.path)
            if current is not None:
                self._refuse_newer(self.path, current)
            write_draft(self.path, _render(self._version, said), 0o600)
            if current is not None and current.problem:
                _log.warning("state file broken path=%s: %s", self.path, current.problem)
                put_aside(self.path)  # it must not push out a previous copy that is whole
            elif current is not None:
                # Between these two there is no current copy, and the previous one is what was saved last.
                self.path.replace(self._previous)
            draft_of(self.path).replace(self.path)
            sync_folder(self.path.parent)

    def _find(self, *, mend: bool) -> Json | None:
        anything = False
        for path in (self.path, self._previous):
            try:
                copy = _read_copy(path)
            except OSError as error:
                raise cannot_open(path, error) from error
            if copy is None:
                continue
            anything = True
            if copy.problem:
                _log.warning("state file broken path=%s: %s", path, copy.problem)
                if mend:
                    put_aside(path)
                continue
            self._refuse_newer(path, copy)
            if path is self._previous:
                _log.warning("state taken from the previous copy path=%s", path)
            return self._migrate(copy)
        if anything:
            _log.warning("no copy can be read, the state begins anew path=%s", self.path)
        return None

    def _refuse_newer(self, path: Path, copy: _Copy) -> None:
        if copy.version > self._version:
            raise too_new(path, copy.version, self._version)

    def _migrate(self, copy: _Copy) -> Json:
        payload = copy.payload
        for step in range(copy.version, self._version):
            payload = self._migrations[step](payload)
        return payload


def _read_copy(path: Path) -> _Copy | None:
    """The copy at `path`, None when there is none; OSError when it is there but cannot be opened."""
    try:
        body = path.read_bytes()
        said = json.loads(body)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in LOST:
            raise
        return _Copy(0, {}, str(error.strerror))
    except (ValueError, RecursionError):
        return _Copy(0, {}, "it is no JSON" if body else "it is empty")
    if not isinstance(said, dict):
        return _Copy(0, {}, "it is no JSON object")
    # As old agents wrote it, spaces and all: a damaged checked file, which has none, is never taken for one.
    if body == json.dumps(said).encode():
        return _Copy(0, said)
    version, payload = said.get("format"), said.get("payload")
    if type(version) is int and isinstance(payload, dict) and body == _render(version, payload):
        return _Copy(version, payload)
    return _Copy(0, {}, "its checksum does not hold")


def _render(version: int, said: Json) -> bytes:
    """The whole file; the checksum is of the version too, each byte counts."""
    payload = json.loads(
        render_canonical(said)
    )  # keys that are no texts become texts, before they are sorted
    checksum = hashlib.sha256(b"%d " % version + render_canonical(payload)).hexdigest()
    return render_canonical({"format": version, "payload": payload, "sha256": checksum}) + b"\n"
