"""Reading a capture store: its records behind a sequence, from segments that are compressed or not.

One group or compressed block is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeferry.device.modules.segment_files import (
    Files,
    find_end,
    find_files,
    find_place,
    open_segment,
    read_heads,
    read_until,
)
from edgeferry.domain.capture import choose_segments
from edgeferry.wire.capture import PACKED, Line, render_record
from edgeferry.wire.capture_block import unpack
from edgeferry.wire.capture_segment import (
    UNKNOWN,
    Group,
    Shared,
    parse_entries,
    parse_groups,
    parse_shared,
    parse_trailer,
    read_purpose,
)


@dataclass(frozen=True)
class End:
    """Where a segment that was written to ends."""

    size_bytes: int
    """Up to the end of its last group."""
    last: int
    """The last sequence that was given to a record of it."""
    shared: Shared | None
    """None: its first line is damaged or missing, or of another format."""
    is_torn: bool
    """Whether something stands behind its last group, other than zeros."""


def read_lines(folder: Path, after: int, *, purpose: str = "", texts: bool = True) -> Iterator[Line | int]:
    """The records behind `after` as lines, oldest first; a number for that many damaged ones in between.

    Lines have no text unless `texts`, nor when their purpose is another than the one wanted ("": any).
    """
    damaged = before = 0
    for line in _read_all(folder, after, purpose, texts):
        if isinstance(line, int):
            damaged += line
            continue
        if line.sequence > after:
            if damaged and line.sequence > after + 1:
                missing = line.sequence - max(before, after) - 1 if before else 0
                yield max(missing, 0) or damaged
            yield line
        damaged, before = 0, line.sequence
    if damaged:
        yield damaged


def _read_all(folder: Path, after: int, purpose: str, texts: bool) -> Iterator[Line | int]:
    """What `read_lines` gives, with damage that may stand before `after` and some records before it."""
    files = [each for each in find_files(folder) if each.is_whole]
    chosen = choose_segments([each.first for each in files], after)
    for first, follower in zip(chosen, [*chosen[1:], 0], strict=True):
        opened = open_segment(folder, first)
        if opened is None:
            continue  # it made room meanwhile
        file, kind = opened
        with file:
            pieces = _unpack(file, after, follower) if kind == PACKED else _read_plain(file, after)
            for piece in pieces:
                if isinstance(piece, int):
                    yield piece
                    continue
                yield from _render(piece, after, purpose, texts, ended=kind == PACKED or follower > 0)


def read_end(file: IO[bytes], first: int) -> End:
    """The end of the segment that begins with sequence `first`."""
    size = find_end(file)
    file.seek(0)
    head = file.readline()
    if not head.endswith(b"\n"):
        return End(0, first - 1, None, is_torn=size > 0)
    start = find_place(file, size, 2**63) or len(head)
    file.seek(start)
    ended, last, told = start, first - 1, 0

    def each() -> Iterator[bytes]:
        nonlocal ended, told
        place = start
        for line in read_until(file, size):
            place += len(line)
            trailer = parse_trailer(line) if line.startswith(b'"') else None
            if trailer:
                ended, told = place, min(trailer.first + trailer.lines - 1, first + size)  # a byte each
            yield line

    shared = parse_shared(head)
    for item in parse_groups(each(), ended=shared is None):
        if isinstance(item, int):  # its sequences are given to no others
            last = max(last + item, told)
        else:
            last = item.first + len(item.entries) - 1
    return End(ended, last, shared, is_torn=ended < size)


def read_last(folder: Path, files: Files) -> int:
    """The last sequence of a compressed segment; a higher one when its end is damaged."""
    last = files.first + files.size_bytes * 100
    opened = open_segment(folder, files.first)
    if opened is None:
        return files.first - 1
    with opened[0] as file:
        heads = list(read_heads(file))
        if not heads:
            return last
        place, head = heads[-1]
        file.seek(place)
        try:
            lines = unpack(file.read(head.length)).splitlines(keepends=True)
        except ValueError:
            return last
    groups = [group for group in parse_groups(lines) if isinstance(group, Group)]
    if groups:
        return groups[-1].first + len(groups[-1].entries) - 1
    return head.first - 1 if len(heads) == 1 else last


@dataclass(frozen=True)
class _Piece:
    shared: Shared
    lines: Iterable[bytes]


def _read_plain(file: IO[bytes], after: int) -> Iterator[_Piece]:
    size = find_end(file)
    file.seek(0)
    head = file.readline()
    file.seek(find_place(file, size, after) or len(head))
    yield _Piece(parse_shared(head) or UNKNOWN, read_until(file, size))


def _unpack(file: IO[bytes], after: int, follower: int) -> Iterator[_Piece | int]:
    heads = list(read_heads(file))
    begins = [number for number, (_, head) in enumerate(heads) if head.first <= after + 1]
    shared, ended = UNKNOWN, 0
    for number, (place, head) in enumerate(heads):
        lost, ended = place > ended, place + head.length
        if 0 < number < (begins[-1] if begins else 0):
            continue
        if lost:
            yield 1
        file.seek(place)
        try:
            lines = unpack(file.read(head.length)).splitlines(keepends=True)
        except ValueError:
            next_first = heads[number + 1][1].first if number + 1 < len(heads) else follower
            yield max(next_first - max(head.first, after + 1), 1)
            continue
        if number == 0:
            shared = parse_shared(lines[0]) or UNKNOWN
            continue
        yield _Piece(shared, lines)


def _render(piece: _Piece, after: int, purpose: str, texts: bool, *, ended: bool) -> Iterator[Line | int]:
    for group in parse_groups(piece.lines, ended=ended):
        if isinstance(group, int):
            yield group
        elif group.first + len(group.entries) <= after + 1:
            yield Line(group.first + len(group.entries) - 1, "", b"")
        else:
            yield from _render_group(group, piece.shared, after, purpose, texts)


def _render_group(
    group: Group, shared: Shared, after: int, purpose: str, texts: bool
) -> Iterator[Line | int]:
    if not texts:
        for sequence, entry in enumerate(group.entries, start=group.first):
            yield Line(sequence, read_purpose(entry), b"")
        return
    for record in parse_entries(group, shared):
        if record is None:
            yield 1
            continue
        wanted = record.sequence > after and purpose in ("", record.purpose)
        text = render_record(record) if wanted else b""
        yield Line(record.sequence, record.purpose, text, (group.shared or shared).columns)
