"""Files that survive a kill, a power cut, a full disk and a broken block: `CheckedFile`, replaced whole, and
`Journal`, added to line by line. Both believe nothing they read that its checksum does not prove.

Each has one writer: the agent that holds the folder's lock. Others may `read` and `read_journal`, which touch
nothing. Beside a file NAME there may be NAME.new (a draft, never read), NAME.previous and NAME.broken.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeferry.errors import EdgeferryError, OutsideError, UsageError

Json = dict[str, Any]

_JOURNAL_FORMAT = 1
_DIGITS = 16
# The bytes are lost, or there never were any. Other errors (no permission, too many open files) may pass.
_LOST = frozenset({errno.EIO, errno.EISDIR, errno.EBADMSG, errno.EUCLEAN})

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
            said = self._find(put_aside=True)
            # A save that was killed before its last step is decided here: what is returned will stay.
            with contextlib.suppress(OSError):
                _draft(self.path).unlink(missing_ok=True)
                sync_folder(self.path.parent)
            return said

    def read(self) -> Json | None:
        """What `load` returns, without touching anything; for those who do not hold the folder's lock."""
        return self._find(put_aside=False)

    def save(self, said: Json) -> None:
        """A restart finds `said`; what was current is the previous copy now.

        OSError when the disk does not take it: then a restart finds what was saved before (or `said`, if
        only the very last step failed). UsageError when a newer agent wrote the current copy.
        """
        with self._lock:
            current = _read_copy(self.path)
            if current is not None:
                self._refuse_newer(self.path, current)
            _write_draft(self.path, _render(self._version, said), 0o600)
            if current is not None and current.problem:
                _log.warning("state file broken path=%s: %s", self.path, current.problem)
                _put_aside(self.path)  # it must not push out a previous copy that is whole
            elif current is not None:
                # Between these two there is no current copy, and the previous one is what was saved last.
                self.path.replace(self._previous)
            _draft(self.path).replace(self.path)
            sync_folder(self.path.parent)

    def _find(self, *, put_aside: bool) -> Json | None:
        anything = False
        for path in (self.path, self._previous):
            try:
                copy = _read_copy(path)
            except OSError as error:
                raise _cannot_open(path, error) from error
            if copy is None:
                continue
            anything = True
            if copy.problem:
                _log.warning("state file broken path=%s: %s", path, copy.problem)
                if put_aside:
                    _put_aside(path)
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
            raise _too_new(path, copy.version, self._version)

    def _migrate(self, copy: _Copy) -> Json:
        payload = copy.payload
        for step in range(copy.version, self._version):
            payload = self._migrations[step](payload)
        return payload


class Journal:
    """Entries at `path` in the order of their sequence numbers, which begin at 1 and are never given twice.

    A line is sequence number, checksum and JSON object. The first line is no entry: its number is 0, and it
    tells up to where numbers have been given. The file is made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._end: int | None = None
        """Where the last whole line ends; None until the file is read, 0 while there is none to add to."""
        self._last = 0
        self._named = False
        """Whether the file's name is surely on disk; before, no entry in it is."""

    def append(self, entry: Json) -> int:
        """The entry's sequence number, once the entry is on disk.

        OSError when the disk does not take it: the entry is not there and its number is the next one's; only
        after a crash it may turn out to be there. UsageError when a newer agent wrote the journal.
        """
        with self._lock:
            if self._end is None or self._is_shorter(self._end):
                self._recover()
            if not self._end:
                self._rewrite([])
            if not self._named:
                self._sync_name()
            line = _render_line(self._last + 1, entry)
            self._write(line, self._end or 0)
            self._end = (self._end or 0) + len(line)
            self._last += 1
            return self._last

    def entries(self, after: int = 0) -> list[tuple[int, Json]]:
        """Sequence number and entry of each that is there and later than `after`, all on disk. Numbers up to
        `after` count as given, so that a lost journal does not begin anew below a state that knows them.

        UsageError when a newer agent wrote the journal; OutsideError when it cannot be opened.
        """
        with self._lock:
            try:
                found = self._recover()
            except OSError as error:
                raise _cannot_open(self.path, error) from error
            if after > self._last:
                _log.warning("journal ends at %d, the state at %d path=%s", self._last, after, self.path)
                self._last = after
            return [(sequence, entry) for sequence, entry in found if sequence > after]

    def cut(self, upto: int) -> None:
        """Entries up to that sequence number are gone; later ones keep their numbers.

        OSError when the disk does not take it: then all entries are still there, or already gone.
        """
        with self._lock:
            found = self._recover()
            self._last = max(self._last, upto)
            self._rewrite([(sequence, entry) for sequence, entry in found if sequence > upto])

    def _is_shorter(self, end: int) -> bool:
        """Whether somebody took the file away, or a part of it."""
        try:
            return self.path.stat().st_size < end
        except FileNotFoundError:
            return end > 0

    def _recover(self) -> list[tuple[int, Json]]:
        """The entries that are there. What is torn at the end goes; what is broken and after is put aside."""
        body = self._read()
        if body is None:
            self._end = 0
            return []
        scan = _scan(body, self.path)
        self._end, self._last = scan.end, max(self._last, scan.last)
        rest = body[scan.end :]
        if scan.end and (b"\n" not in rest or not rest.strip(b"\0")):
            if rest:
                _log.warning("journal torn, its tail is cut off path=%s bytes=%d", self.path, len(rest))
            self._settle(scan.end)
        else:
            self._put_aside(rest, list(scan.entries))
        return list(scan.entries)

    def _read(self) -> bytes | None:
        """The file's content, but for what a failed append left at its end; None when there is none."""
        try:
            body = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _LOST:
                raise
            _log.warning("journal cannot be read, it begins anew path=%s: %s", self.path, error.strerror)
            _put_aside(self.path)
            return None
        return body[: self._end] if self._end else body

    def _settle(self, end: int) -> None:
        """What was read stays, even if its writer was killed before it was on disk."""
        with _told("journal not settled", self.path):
            _draft(self.path).unlink(missing_ok=True)
            with _opened(self.path) as descriptor:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
            self._sync_name()

    def _put_aside(self, rest: bytes, kept: list[tuple[int, Json]]) -> None:
        aside = _broken(self.path)
        _log.warning(
            "journal broken, entries kept=%d path=%s; %d bytes put aside path=%s",
            len(kept),
            self.path,
            len(rest),
            aside,
        )
        with _told("journal not mended", self.path):
            if rest:
                replace_file(aside, rest, 0o600)
            self._rewrite(kept)

    def _write(self, line: bytes, end: int) -> None:
        with _opened(self.path) as descriptor:
            os.ftruncate(descriptor, end)  # what an append left that failed and could not clear up
            try:
                _write_at(descriptor, line, end)
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
                raise

    def _rewrite(self, kept: list[tuple[int, Json]]) -> None:
        lines = [_render_line(0, {"format": _JOURNAL_FORMAT, "given": self._last})]
        lines += [_render_line(sequence, entry) for sequence, entry in kept]
        body = b"".join(lines)
        _write_draft(self.path, body, 0o600)
        _draft(self.path).replace(self.path)
        self._end, self._named = len(body), False
        self._sync_name()

    def _sync_name(self) -> None:
        sync_folder(self.path.parent)
        self._named = True


def read_journal(path: Path) -> list[tuple[int, Json]]:
    """The entries of the journal at `path`, without touching it; for those who do not hold the folder's lock.

    OSError when it cannot be read, but for a journal that is not there, which has no entries.
    """
    try:
        return list(_scan(path.read_bytes(), path).entries)
    except FileNotFoundError:
        return []


def replace_file(path: Path, body: bytes, mode: int) -> None:
    """The file holds `body` with that mode, also after a power cut; OSError, and it holds what it did."""
    _write_draft(path, body, mode)
    _draft(path).replace(path)
    sync_folder(path.parent)


@dataclass(frozen=True)
class _Scan:
    """What a journal's bytes say: entries up to `end`, where the first torn or broken line begins, and the
    last number given as far as any line knows."""

    entries: tuple[tuple[int, Json], ...]
    end: int
    last: int


def _scan(body: bytes, path: Path) -> _Scan:
    entries: list[tuple[int, Json]] = []
    end, last, whole, expected = 0, 0, True, 0
    for text in body.split(b"\n")[:-1]:
        line = _parse_line(text)
        # Each line is later than the one before it; the first one's number is 0.
        whole = whole and line is not None and (line[0] >= expected if end else line[0] == 0)
        if line is None:
            continue
        sequence, said = line
        if sequence == 0 and said.get("format", 0) > _JOURNAL_FORMAT:
            raise _too_new(path, said["format"], _JOURNAL_FORMAT)
        last = max(last, sequence or said.get("given", 0))
        if whole:
            end += len(text) + 1
            expected = sequence + 1
            entries += [line] if sequence else []
    return _Scan(tuple(entries), end, last)


def _render_line(sequence: int, entry: Json) -> bytes:
    number, text = str(sequence).encode(), _canonical(entry)
    return b"%b %b %b\n" % (number, _checksum(number, text), text)


def _parse_line(line: bytes) -> tuple[int, Json] | None:
    """Number and JSON object of a line without its newline; None when its checksum does not hold."""
    number, _, rest = line.partition(b" ")
    checksum, _, text = rest.partition(b" ")
    if checksum != _checksum(number, text):
        return None
    return int(number), json.loads(text)


def _checksum(number: bytes, text: bytes) -> bytes:
    return hashlib.sha256(number + b" " + text).hexdigest()[:_DIGITS].encode()


def _read_copy(path: Path) -> _Copy | None:
    """The copy at `path`, None when there is none; OSError when it is there but cannot be opened."""
    try:
        body = path.read_bytes()
        said = json.loads(body)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _LOST:
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
    payload = json.loads(_canonical(said))  # keys that are no texts become texts, before they are sorted
    checksum = hashlib.sha256(b"%d " % version + _canonical(payload)).hexdigest()
    return _canonical({"format": version, "payload": payload, "sha256": checksum}) + b"\n"


def _canonical(said: Json) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _broken(path: Path) -> Path:
    return path.with_name(path.name + ".broken")


def _put_aside(path: Path) -> None:
    with _told("not put aside", path):
        path.replace(_broken(path))


def _too_new(path: Path, version: int, known: int) -> UsageError:
    return UsageError(
        f"{path} has version {version}, this agent knows {known} and older",
        fix="start the newer agent that wrote it",
    )


def _cannot_open(path: Path, error: OSError) -> OutsideError:
    return OutsideError(
        f"{path} cannot be opened: {error.strerror}",
        fix="let the agent's user read and write its state folder",
    )


@contextlib.contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """An OSError inside is logged and goes no further."""
    try:
        yield
    except OSError as error:
        _log.warning("%s path=%s: %s", what, path, error)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_draft(path: Path, body: bytes, mode: int) -> None:
    """NAME.new is on disk, or is not there and OSError says why."""
    draft = _draft(path)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            _write_at(descriptor, body, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)  # on a full disk it holds the last free bytes
        raise


def _write_at(descriptor: int, body: bytes, offset: int) -> None:
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
