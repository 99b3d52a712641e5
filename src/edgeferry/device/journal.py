"""A file that is added to line by line and survives a kill, a power cut, a full disk and a broken block: it
believes no line that its checksum does not prove.

It has one writer: the agent that holds the folder's lock. Others may `read_journal`, which touches nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from edgeferry.device.durable import (
    LOST,
    Json,
    broken_of,
    cannot_open,
    draft_of,
    opened,
    put_aside,
    render_canonical,
    replace_file,
    sync_folder,
    telling,
    too_new,
    write_at,
    write_draft,
)

_JOURNAL_FORMAT = 1
_DIGITS = 16

_log = logging.getLogger(__name__)


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
                raise cannot_open(self.path, error) from error
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
            if error.errno not in LOST:
                raise
            _log.warning("journal cannot be read, it begins anew path=%s: %s", self.path, error.strerror)
            put_aside(self.path)
            return None
        return body[: self._end] if self._end else body

    def _settle(self, end: int) -> None:
        """What was read stays, even if its writer was killed before it was on disk."""
        with telling("journal not settled", self.path):
            draft_of(self.path).unlink(missing_ok=True)
            with opened(self.path) as descriptor:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
            self._sync_name()

    def _put_aside(self, rest: bytes, kept: list[tuple[int, Json]]) -> None:
        aside = broken_of(self.path)
        _log.warning(
            "journal broken, entries kept=%d path=%s; %d bytes put aside path=%s",
            len(kept),
            self.path,
            len(rest),
            aside,
        )
        with telling("journal not mended", self.path):
            if rest:
                replace_file(aside, rest, 0o600)
            self._rewrite(kept)

    def _write(self, line: bytes, end: int) -> None:
        with opened(self.path) as descriptor:
            os.ftruncate(descriptor, end)  # what an append left that failed and could not clear up
            try:
                write_at(descriptor, line, end)
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
                raise

    def _rewrite(self, kept: list[tuple[int, Json]]) -> None:
        lines = [_render_line(0, {"format": _JOURNAL_FORMAT, "given": self._last})]
        lines += [_render_line(sequence, entry) for sequence, entry in kept]
        body = b"".join(lines)
        write_draft(self.path, body, 0o600)
        draft_of(self.path).replace(self.path)
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
            raise too_new(path, said["format"], _JOURNAL_FORMAT)
        last = max(last, sequence or said.get("given", 0))
        if whole:
            end += len(text) + 1
            expected = sequence + 1
            entries += [line] if sequence else []
    return _Scan(tuple(entries), end, last)


def _render_line(sequence: int, entry: Json) -> bytes:
    number, text = str(sequence).encode(), render_canonical(entry)
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
