"""Writing a capture store's files: the newest segment, its followers, and what is too old to stay.

Several servers may write one store while a model is handed over. Each writes under a lock on the store's
folder and first learns what the others wrote, so that sequences stay one row. A `Segments` is for one thread
at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgeferry.device.modules.segment_files import (
    MAPPED,
    Files,
    find_file_system,
    find_files,
    is_local,
    open_segment,
    remove_files,
)
from edgeferry.device.modules.segment_reading import read_end, read_last
from edgeferry.device.modules.segment_writing import OpenSegment
from edgeferry.domain.capture import Bounds, Segment, choose_expired, has_room, must_rotate
from edgeferry.wire.capture import PLAIN, render_segment_name
from edgeferry.wire.capture_segment import MOST_TRAILER_BYTES, Shared, render_group, render_shared

FOREIGN_BYTES = 64 * 1024
"""A segment of another version that is as large is closed; in a smaller one each group says what it is."""
SETTLED_S = 0.2
"""So long after it was opened without company, a segment is written through memory: making room for it takes
a moment, for which another server would have to wait."""
COMPANY_S = 60.0
"""How long after another server was met the store is let go after each write; else only now and then."""


class StoreFullError(OSError):
    """The policy says that a full store takes no more."""


class StoreBusyError(OSError):
    """Another server holds the store."""


class Entries(NamedTuple):
    """Records of one moment, not written yet."""

    lines: bytes
    records: int
    at_us: int


class Segments:
    """The files in `folder`, for one server; its records share `shared`."""

    def __init__(self, folder: Path, shared: Shared, bounds: Bounds) -> None:
        self.folder = folder
        self.quick: OpenSegment | None = None
        """The open segment as long as a record can be appended to it and no more be looked at: it is held,
        written through memory, and has something that is not on the disk yet; its length is the only bound
        that is near before `calm_until`. The thread that appends groups sets it, and may clear it."""
        self.calm_until = 0.0
        """On the monotonic clock."""
        self.size_bytes = 0
        """Of the whole store, when it was last looked at."""
        self.write_s = 0.0
        """How long the last write took."""
        self.torn = 0
        """How many torn ends were cut off."""
        self.is_local = False
        """Whether a write hardly ever takes long."""
        self.closed = False
        """A segment was closed since this was last set to False: it can be compressed."""
        self._shared = shared
        self._bounds = bounds
        self._door = -1
        self._file: OpenSegment | None = None
        self._first = self._last = 0
        self._unsynced: list[int] = []
        """Files that were left, and folders with new names: none is on the disk for sure."""
        self._is_held = self._foreign = self._can_map = self._maps = False
        self._shared_until = 0.0
        self._ages: dict[int, float] = {}
        """When each segment was last written to, as far as it is known, on the monotonic clock."""

    @property
    def last(self) -> int:
        """The last sequence given, as far as this server knows."""
        file = self._file
        return self._last if file is None else file.last

    def append(self, lines: bytes, records: int, at_us: int, now: float) -> bool:
        """Written; False, and nothing done, when more than a write is needed (see `write`). OSError when it
        cannot be written. `now`: monotonic."""
        file = self._file
        if file is None or self._must_rotate(file, len(lines), now):
            return False
        if not (self._is_held or self._take_over()):
            return False
        try:
            text = self._render(file, Entries(lines, records, at_us), file.last + 1)
            self._write(file, text, records, time.monotonic())
            if file.is_mapped and not self._bounds.segment_records:
                self.quick, self.calm_until = file, file.opened_at + self._bounds.segment_s
        finally:
            if now < self._shared_until:
                self.let_go()
        return True

    def let_go(self) -> None:
        """Another server may write."""
        self._is_held, self.quick = False, None
        if self._door >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._door, fcntl.LOCK_UN)

    def _take_over(self) -> bool:
        """Whether this server may write where it left off: no other one does, or did."""
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._note_company()
            return False
        except OSError:
            pass  # a file system without locks
        self._is_held = True
        if self._file is None or self._file.has_changed():
            self.let_go()
            return False
        return True

    def _note_company(self) -> None:
        self._shared_until = time.monotonic() + COMPANY_S
        self._maps = False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """The store is open, what others wrote is known, and no other server writes; StoreBusyError when one
        does, OSError when the store cannot be opened."""
        if self._door < 0:
            self._door = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            kind = find_file_system(self.folder)
            self.is_local, self._can_map = is_local(kind), kind in MAPPED
        try:
            fcntl.flock(self._door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._note_company()
            raise StoreBusyError("another server holds the store") from error
        except OSError:
            pass
        try:
            if self._file is not None and self._file.has_changed():
                self._note_company()
                self._leave(self._file)
            if self._file is None:
                self._open()
            yield
        finally:
            self.let_go()
            if self._file is None:  # perhaps the folder is another one now; what was left must yet be synced
                os.close(self._door)
                self._door = -1

    def write(self, waiting: list[Entries]) -> None:
        """The list is written and empty. OSError when it cannot be: what was written is gone from the list.
        Only while `alone`."""
        while waiting:
            file = self._file
            if file is None or self._must_rotate(file, len(waiting[0].lines), time.monotonic()):
                file = self._rotate(len(waiting[0].lines))
            texts: list[bytes] = []
            size, records = file.size_bytes, 0
            for entries in waiting:
                if texts and size + len(entries.lines) + MOST_TRAILER_BYTES > self._bounds.segment_bytes:
                    break
                texts.append(self._render(file, entries, file.last + 1 + records))
                size, records = size + len(texts[-1]), records + entries.records
            self._write(file, b"".join(texts), records, time.monotonic())
            del waiting[: len(texts)]

    def tidy(self) -> None:
        """A segment that is old enough is closed, one without company is mapped, and gone is what is too old,
        or a piece of a file that nobody needs. Only while `alone`."""
        file, now = self._file, time.monotonic()
        if file is None or self._must_rotate(file, 0, now):
            self._rotate(0)
            return
        self._expire(0, self._first)
        if self._can_map and now > max(self._shared_until, file.opened_at + SETTLED_S):
            self._maps = True
            self._map(file)

    def take_unsynced(self) -> list[int]:
        """The files that are not on the disk yet, for `sync_all`. OSError, and all as it was, when no more
        files can be open."""
        newest = [os.dup(self._file.file)] if self._file is not None else []
        files, self._unsynced = [*self._unsynced, *newest], []
        return files

    def doubt(self) -> None:
        """The disk did not take what was written: from now on each write asks the file system, and what it
        refuses is told. Only with nobody else at this `Segments`."""
        file = self._file
        if file is not None and file.is_mapped and (self._is_held or self._take_over()):
            self._shorten(file)

    def close(self) -> None:
        """Nothing is open any more."""
        self.doubt()
        if self._file is not None:
            self._leave(self._file)
        for file in (self._door, *self._unsynced):
            if file >= 0:
                os.close(file)
        self._door = -1
        self._unsynced = []
        self._is_held = False

    def _must_rotate(self, file: OpenSegment, lines_bytes: int, now: float) -> bool:
        records, age_s = file.last + 1 - self._first, now - file.opened_at
        if self._foreign and records and file.size_bytes > FOREIGN_BYTES:
            return True
        group_bytes = lines_bytes + MOST_TRAILER_BYTES
        return must_rotate(file.size_bytes, records, age_s, group_bytes, self._bounds)

    def _render(self, file: OpenSegment, entries: Entries, first: int) -> bytes:
        if not self._foreign:
            return render_group(entries.lines, entries.records, first, entries.at_us - file.began_us)
        own = render_shared(replace(self._shared, at_us=entries.at_us))
        return render_group(own + entries.lines, entries.records + 1, first, 0)

    def _write(self, file: OpenSegment, text: bytes, records: int, began: float) -> None:
        try:
            file.write(text, records, began)
        except OSError:
            if file.is_torn:
                self._leave(file)  # it is cut off when the store is opened again
            raise
        self.write_s = time.monotonic() - began

    def _shorten(self, file: OpenSegment) -> None:
        """No more is in it than was written."""
        self.quick = None
        try:
            file.unmap()
        except OSError:
            self._leave(file)

    def _leave(self, file: OpenSegment) -> None:
        file.release()
        self._unsynced.append(file.file)
        self._last, self._file = file.last, None

    def _open(self) -> None:
        """The newest segment is open at its end, or a new one is; a torn end is cut off."""
        files = find_files(self.folder)
        whole = [each for each in files if each.is_whole]
        if not whole:
            self._create(self.last + 1)
            return
        newest = whole[-1]
        opened = open_segment(self.folder, newest.first) if newest.kinds == {PLAIN} else None
        if opened is None:
            self._last = max(read_last(self.folder, newest), newest.first - 1)
            self._rotate(0)
            return
        with opened[0] as reading:
            end = read_end(reading, newest.first)
            is_closed = not os.fstat(reading.fileno()).st_mode & stat.S_IWUSR
        self._last = max(end.last, newest.first - 1)
        if is_closed or (end.size_bytes and end.shared is None):
            self._rotate(0)
            return
        path = self.folder / render_segment_name(newest.first)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.fstat(file).st_size != end.size_bytes:
                os.ftruncate(file, end.size_bytes)
                self.torn += end.is_torn
            size, shared = end.size_bytes, end.shared
            if shared is None:
                shared = replace(self._shared, token=secrets.token_hex(4), at_us=time.time_ns() // 1000)
                size = _begin(file, shared)
        except OSError:
            os.close(file)
            raise
        self._take(file, newest.first, size, shared)
        self.closed = True  # perhaps some were not compressed yet
        self._look(files)

    def _rotate(self, group_bytes: int) -> OpenSegment:
        """A new segment is open, and the oldest ones are gone so that it may grow."""
        if self._file is not None:
            self._ages[self._first] = self._file.wrote_at
            self._shorten(self._file)
        closed = self._expire(group_bytes, math.inf)
        if not has_room(closed, self.last, group_bytes, self._bounds):
            raise StoreFullError("the store is full, and the policy says to stop")
        before = self._file
        opened = self._create(self.last + 1)
        if before is not None:
            with contextlib.suppress(OSError):
                os.fchmod(before.file, 0o400)  # tells another server that it is closed
            self._unsynced.append(before.file)
        self.closed = True
        return opened

    def _expire(self, group_bytes: int, before: float) -> list[Segment]:
        """What is left of the segments that begin before that sequence, once those that must go are gone."""
        files = find_files(self.folder)
        segments = self._look(files)
        closed = [each for each in segments if each.first < before]
        gone = {each.first for each in choose_expired(closed, self.last, group_bytes, self._bounds)}
        for each in files:
            if each.first in gone or not each.is_whole:
                remove_files(self.folder, each)
                self.size_bytes -= each.size_bytes
                del self._ages[each.first]
        return [each for each in closed if each.first in self._ages]

    def _look(self, files: list[Files]) -> list[Segment]:
        """The same as segments. Each grows old by this server's own clock, since the last record known."""
        now = time.monotonic()
        self.size_bytes = sum(each.size_bytes for each in files)
        for each in files:
            self._ages.setdefault(each.first, now - max(time.time() - each.written_at, 0.0))
        return [Segment(each.first, each.size_bytes, now - self._ages[each.first]) for each in files]

    def _create(self, first: int) -> OpenSegment:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        shared = replace(self._shared, token=secrets.token_hex(4), at_us=time.time_ns() // 1000)
        path = self.folder / render_segment_name(first)
        file = os.open(path, flags, 0o600)
        try:
            size = _begin(file, shared)
            self._unsynced.append(os.dup(self._door))
        except OSError:
            os.close(file)
            os.unlink(path)
            raise
        return self._take(file, first, size, shared)

    def _take(self, file: int, first: int, size: int, shared: Shared) -> OpenSegment:
        opened = OpenSegment(file, size, self.last, shared.at_us)
        self._file, self._first = opened, first
        self._foreign = not shared.is_same(self._shared)
        self._ages[first] = opened.opened_at
        if self._maps:
            self._map(opened)
        return opened

    def _map(self, file: OpenSegment) -> None:
        if not self._foreign:
            file.map(self._bounds.segment_bytes)


def _begin(file: int, shared: Shared) -> int:
    """How many bytes a segment has that says no more than what its records share."""
    text = render_shared(shared)
    if os.write(file, text) != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return len(text)


def sync_all(files: list[int]) -> None:
    """What was written to them is on the disk, and they are closed. OSError, for the last one that is not."""
    problem: OSError | None = None
    for file in files:
        try:
            os.fdatasync(file)
        except OSError as error:
            problem = error
        finally:
            os.close(file)
    if problem:
        raise problem
