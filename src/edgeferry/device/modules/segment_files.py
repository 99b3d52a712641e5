"""The files of a capture store: which there are, and where in one of them a record stands.

A segment that is closed is compressed and then removed as lines; where both are there, the compressed one is
whole and counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeferry.wire.capture import PACKED, PLAIN, parse_segment_name, render_segment_name
from edgeferry.wire.capture_block import HEAD_BYTES, MAGIC, Head, parse_head
from edgeferry.wire.capture_segment import parse_trailer

NEAR_BYTES = 64 * 1024
"""Closer than this to a sequence, lines are read one by one."""

_LOCAL = frozenset(
    ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "ubifs", "vfat", "xfs", "zfs")
)

MAPPED = frozenset(("ext4",))
"""Where a file may be written through memory (`segment_writing`)."""


@dataclass(frozen=True)
class Files:
    """What there is of one segment."""

    first: int
    kinds: frozenset[str]
    size_bytes: int
    """Of all its files."""
    written_at: float
    """When it was last written to, by the clock of that time: seconds since 1970."""

    @property
    def is_whole(self) -> bool:
        """Whether there is more of it than a piece of a file."""
        return not self.kinds.isdisjoint((PLAIN, PACKED))


def find_files(folder: Path) -> list[Files]:
    """The segments in the folder, oldest first; OSError when it cannot be read.

    A file that is gone by the time it is looked at may have become another one, as when a segment is
    compressed: then the folder is read again. A link to nothing is nothing.
    """
    with os.scandir(folder) as listed:
        entries = [(said, entry) for entry in listed if (said := parse_segment_name(entry.name))]
    found: dict[int, Files] = {}
    for (first, kind), entry in entries:
        try:
            stat = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                continue
            return find_files(folder)
        before = found.get(first, Files(first, frozenset(), 0, 0.0))
        at = max(before.written_at, stat.st_mtime)
        found[first] = Files(first, before.kinds | {kind}, before.size_bytes + stat.st_size, at)
    return [found[first] for first in sorted(found)]


def find_file_system(folder: Path) -> str:
    """The kind of file system that the folder is on, as Linux names it; "" when it does not say."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError, IndexError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0]
    return ""


def is_local(kind: str) -> bool:
    """Whether writes to such a file system end in this machine's memory, and no other program or machine is
    asked."""
    return kind in _LOCAL


def find_end(file: IO[bytes]) -> int:
    """How many bytes of a segment there are, without the zeros behind them; the place in the file is lost."""
    end = os.fstat(file.fileno()).st_size
    while end:
        start = max(end - NEAR_BYTES, 0)
        file.seek(start)
        rest = file.read(end - start).rstrip(b"\0")
        if rest:
            return start + len(rest)
        end = start
    return 0


def read_until(file: IO[bytes], end: int) -> Iterator[bytes]:
    """The lines from here to that place."""
    place = file.tell()
    while place < end and (line := file.readline()):
        place += len(line)
        yield line


def remove_files(folder: Path, files: Files) -> None:
    """Nothing is left of the segment."""
    for kind in sorted(files.kinds):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / render_segment_name(files.first, kind))


def open_segment(folder: Path, first: int) -> tuple[IO[bytes], str] | None:
    """The segment's file, and its kind; None when it is gone."""
    for kind in (PACKED, PLAIN, PACKED):  # it may be compressed meanwhile
        with contextlib.suppress(FileNotFoundError):
            return (folder / render_segment_name(first, kind)).open("rb"), kind
    return None


def find_place(file: IO[bytes], size_bytes: int, after: int) -> int:
    """Where to read on: a place at most some NEAR_BYTES before the first record behind `after`."""
    low, high = 0, size_bytes
    while high - low > NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        sequence = _next_group(file)
        place = file.tell()
        if place >= high or not 0 < sequence <= after + 1:
            high = middle
        else:
            low = place
    return low


def _next_group(file: IO[bytes]) -> int:
    """Reads on to the end of a group. The sequence of the one behind it (one too large behind a group with a
    first line of its own), or 0 when no group ends."""
    for text in file:
        trailer = parse_trailer(text) if text.startswith(b'"') else None
        if trailer:
            return trailer.first + trailer.lines
    return 0


def read_heads(file: IO[bytes]) -> Iterator[tuple[int, Head]]:
    """Where a compressed segment's members begin, and what they say; damaged ones are passed over."""
    size = os.fstat(file.fileno()).st_size
    place = 0
    while place < size:
        file.seek(place)
        head = parse_head(file.read(HEAD_BYTES))
        if head and place + head.length <= size:
            yield place, head
            place += head.length
            continue
        file.seek(place + 1)
        found = file.read().find(MAGIC)
        if found < 0:
            return
        place += 1 + found
