"""Closed segments of captures, compressed. Format: ours, within gzip's (RFC 1952).

A compressed segment is a row of gzip members, so that any piece of it is read without those before it, and
`zcat` reads all. A member's extra field (id `EF`) holds, little-endian: the member's length in bytes (4), the
sequence of its first record (8), and its form (1):

    0  lines, as they stood in the segment
    1  one group (`wire.capture_segment`), its records' lines written column by column: cut at each comma, the
       first pieces of all lines, then the second ones; a line end between columns. The group's end follows

The first member holds the segment's first line alone. gzip's own checksum guards each member.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

LINES, COLUMNS = 0, 1
LEVEL = 1
"""Of records column by column: smaller than lines at level 3, and less work, cutting them included."""

_EXTRA = struct.Struct("<2sHIQB")
_HEAD = struct.Struct("<10sH")
_START = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
_ID = b"EF"
HEAD_BYTES = _HEAD.size + _EXTRA.size
MAGIC = _HEAD.pack(_START, _EXTRA.size) + _ID
"""Each member begins with it."""


@dataclass(frozen=True)
class Head:
    """What a member's beginning says of it."""

    length: int
    """In bytes, with the head."""
    first: int
    form: int


def pack(text: bytes, first: int) -> bytes:
    """The member that holds the lines of a segment."""
    return _pack(text, first, LINES)


def pack_group(group: bytes, first: int) -> bytes:
    """The member that holds one group; column by column, where its lines are alike."""
    end = group.rindex(b"\n", 0, -1) + 1
    count = group.count(b"\n", 0, end)
    pieces = (
        group[:end].replace(b"\n", b",\n").split(b",")[:-1]
    )  # a line end begins the next line's first one
    width = len(pieces) // count
    begins = b",".join(pieces[::width])
    if width * count != len(pieces) or begins.count(b"\n") != count - 1 or b"\r" in group:
        return _pack(group, first, LINES)
    columns = [begins.replace(b"\n", b""), *(b",".join(pieces[place::width]) for place in range(1, width))]
    return _pack(b"\n".join([*columns, group[end:]]), first, COLUMNS)


def parse_head(text: bytes) -> Head | None:
    """What a member's first HEAD_BYTES say; None when they begin none."""
    if len(text) < HEAD_BYTES or not text.startswith(MAGIC):
        return None
    _, _, length, first, form = _EXTRA.unpack_from(text, _HEAD.size)
    return Head(length, first, form) if length > HEAD_BYTES and form in (LINES, COLUMNS) else None


def unpack(member: bytes) -> bytes:
    """The lines in a member; ValueError when it is torn or damaged."""
    head = parse_head(member)
    unpacker = zlib.decompressobj(31)
    try:
        text = unpacker.decompress(member)
    except zlib.error as error:
        raise ValueError(f"the member is damaged: {error}") from error
    if head is None or not unpacker.eof or unpacker.unused_data:
        raise ValueError("the member is torn")
    if head.form == LINES:
        return text
    *columns, trailer = text.splitlines(keepends=True)
    rows = zip(*[column[:-1].split(b",") for column in columns], strict=True)
    return b"\n".join([b",".join(row) for row in rows]) + b"\n" + trailer


def _pack(text: bytes, first: int, form: int) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 9)
    packed = packer.compress(text) + packer.flush()
    tail = struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF)
    length = HEAD_BYTES + len(packed) + len(tail)
    head = _HEAD.pack(_START, _EXTRA.size)
    return head + _EXTRA.pack(_ID, _EXTRA.size - 4, length, first, form) + packed + tail
