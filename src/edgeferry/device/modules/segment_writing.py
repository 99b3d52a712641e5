"""The file of the segment that is open: written through memory where that is safe, else with `write`.

Memory that maps a file is the very page cache that `write` copies to: it outlives the process in the same
way, without a system call for each answer. Once its room is allocated, ext4 takes what is stored there even
when it fails (it goes read-only, and says so when it is to put it on the disk); of other file systems that is
not known, and a store that a file system refuses ends the process (SIGBUS). The file is then as long as it
may grow, and zeros stand behind its last group until it is closed, or opened anew after a kill.

Whoever holds the store's lock may cut these zeros off, so nothing is stored before `has_changed` was asked
under the lock.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import time
from zlib import adler32

from edgeferry.wire.capture_segment import CHECKED, CR, LF, SHORT_GROUP

_ROOM = 8
"""A segment may take this part of what is free on the disk before anything is written to it."""


class OpenSegment:
    """A segment's file, open at its end, which is `size_bytes` from its beginning."""

    def __init__(self, file: int, size_bytes: int, last: int, began_us: int) -> None:
        self.file = file
        self.size_bytes = size_bytes
        self.last = last
        """The sequence of its last record, or the one before its first."""
        self.began_us = began_us
        """Its records' times count from there: µs since 1970."""
        self.opened_at = self.wrote_at = time.monotonic()
        """Opened, and last written to."""
        self.is_torn = False
        """Something stands behind the end that could not be cut off."""
        self._may_map = True
        self._memory: mmap.mmap | None = None
        self._mapped_bytes = 0

    @property
    def is_mapped(self) -> bool:
        """Whether it is written through memory."""
        return self._memory is not None

    def map(self, length: int) -> None:
        """It is written through memory, up to that length, when there is room enough on the disk; this is
        tried once."""
        room = os.fstatvfs(self.file)
        if not self._may_map or not self.size_bytes < length < room.f_bavail * room.f_frsize // _ROOM:
            return
        self._may_map = False
        try:
            os.posix_fallocate(self.file, self.size_bytes, length - self.size_bytes)
            self._memory, self._mapped_bytes = mmap.mmap(self.file, length), length
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.file, self.size_bytes)

    def unmap(self) -> None:
        """There are no zeros behind its end, and it is written with `write`. OSError when they cannot be cut
        off."""
        if self._memory is not None:
            self.release()
            self._cut()

    def release(self) -> None:
        """Its memory is given back, and nothing is changed."""
        if self._memory is not None:
            self._memory.close()
            self._memory, self._mapped_bytes = None, 0

    def append(self, latency_us: int, inputs: bytes, output: bytes, at_us: int, now: float) -> bool:
        """A user's record that says no more than this is written through memory, a group of its own; False,
        and nothing done, when it is no line or there is no room. `now`: monotonic.

        All in one place: of what a model pushed out of the processor's caches, each call brings back more.
        """
        memory = self._memory
        if memory is None or LF in inputs or LF in output or CR in inputs or CR in output:
            return False
        text = SHORT_GROUP % (latency_us, len(inputs), inputs, output, self.last + 1, at_us - self.began_us)
        text = CHECKED % (text, adler32(text))
        size = self.size_bytes
        end = size + len(text)
        if end > self._mapped_bytes:
            return False
        memory[size:end] = text
        self.size_bytes = end
        self.last += 1
        self.wrote_at = now
        return True

    def write(self, text: bytes, records: int, now: float) -> None:
        """So many records, as text; OSError, and nothing is written, when it cannot be. `now`: monotonic."""
        size = self.size_bytes
        end = size + len(text)
        if end <= self._mapped_bytes and self._memory is not None:
            self._memory[size:end] = text
        else:
            self.unmap()
            if os.write(self.file, text) != len(text):
                self._cut()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size_bytes = end
        self.last += records
        self.wrote_at = now

    def has_changed(self) -> bool:
        """Whether another server wrote to it, closed it or cut it off, or it is gone."""
        said = os.fstat(self.file)
        expected = self._mapped_bytes or self.size_bytes
        if said.st_size != expected or not said.st_mode & stat.S_IWUSR or said.st_nlink == 0:
            return True
        # another one may have cut its zeros off, and taken as much room for itself
        behind = self.size_bytes
        return self._memory is not None and behind < expected and self._memory[behind] != 0

    def _cut(self) -> None:
        try:
            os.ftruncate(self.file, self.size_bytes)
        except OSError:
            self.is_torn = True
            raise
