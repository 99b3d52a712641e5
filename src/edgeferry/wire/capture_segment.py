"""A segment of captures, the file in which a device keeps them. Format: ours, 3.

A segment is lines. The first one says what its records share; records follow in groups, each group written
at once and ended by a text:

    {"format":3,"model":"…","version":"…","digest":"…","columns":[…],"token":"…","at_us":…,"crc32":"89abcdef"}
    [DT,LATENCY,SIZE,INPUTS,OUTPUT]
    [DT,LATENCY,"ID","PURPOSE",STATUS,SIZE,INPUTS,OUTPUT]
    "LINES FIRST AT ADLER32"

`at_us` is when the segment began (µs since 1970, UTC), AT when the group's first record was answered (µs
since `at_us`), DT µs since the record before it in the group, 0 for the first; both are negative when the
clock was set back. LATENCY is in µs. INPUTS are SIZE bytes: a JSON text or, as a script may be asked what one
likes, any other line; nobody looks which while it is written. FIRST is the sequence of the group's first
record, LINES how many lines it has, ADLER32 that of RFC 1950, of these lines and of the text up to it: it
needs no tables, which a model pushes out of the processor's cache meanwhile. A record without an id
has `TOKEN-SEQUENCE`; one without a purpose is a `user`'s and has status 200. A group of another version than
the first line's begins with a first line of its own, which holds for that group alone.

A group that is torn or damaged matches no checksum: it is passed over and counted, its neighbours are unhurt.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from edgeferry.domain.capture import USER, Record
from edgeferry.wire.capture import seal, unseal

FORMAT = 3

_TRAILER = re.compile(rb'"(\d{1,9}) (\d{1,19}) (-?\d{1,19}) ([0-9a-f]{1,8})"\n')
_END = re.compile(rb'\n"(\d{1,9}) (\d{1,19}) (-?\d{1,19}) ([0-9a-f]{1,8})"\n')
"""A trailer, and the end of the line before it."""
MOST_TRAILER_BYTES = len('"') + 9 + len(" ") + 19 + len(" ") + 20 + len(" ") + 8 + len('"\n')
"""What `render_group` adds to its lines, at most."""
_NOW = b"[0,"
_NEXT = b"\n[0,"
"""How a record's line begins before groups are merged; and the one behind another."""
_ENTRY = re.compile(
    rb'\[(-?\d{1,19}),(\d{1,19}),(?:"([A-Za-z0-9_.:-]{0,64})","([a-z]+)",(\d{3}),)?(\d{1,12}),'
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LF, CR = b"\n\r"
"""As numbers: to look for bytes in bytes, Python first raises an error, and clears it."""
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
"""In JSON they can only stand between values."""
_SHORT = b"[0,%d,%d,%b,%b]\n"
SHORT_GROUP = _SHORT + b'"1 %d %d '
"""A group of one user's record without an id and with status 200, up to its checksum: of latency (µs), the
inputs' length, inputs, output, sequence and time, as `render_entry` and `render_group` make it."""
CHECKED = b'%b%x"\n'
"""Of a group up to its checksum, and that."""


@dataclass(frozen=True)
class Shared:
    """What the records of a segment share."""

    model: str
    version: str
    digest: str
    columns: tuple[str, ...]
    token: str
    """Begins the ids of records whose callers gave none."""
    at_us: int

    def is_same(self, other: Shared) -> bool:
        """Whether records of both may stand in one segment without saying so."""
        return (self.model, self.version, self.digest, self.columns) == (
            other.model,
            other.version,
            other.digest,
            other.columns,
        )


UNKNOWN = Shared("", "", "", (), "", 0)
"""Of a segment whose first line is damaged: its groups are good all the same."""


class Group(NamedTuple):
    """Records that were written at once, whole and undamaged."""

    first: int
    at_us: int
    """Since the segment's."""
    shared: Shared | None
    """When the group has a first line of its own."""
    entries: tuple[bytes, ...]
    """The records' lines."""


class Trailer(NamedTuple):
    """What a group's last line says; nobody has looked whether it is true."""

    lines: int
    first: int


def render_shared(shared: Shared) -> bytes:
    """A first line."""
    body = json.dumps({"format": FORMAT, **asdict(shared)}, separators=(",", ":")).encode()[:-1]
    return seal(body)


def parse_shared(line: bytes) -> Shared | None:
    """What a first line says; None when it is damaged or something else."""
    if not line.endswith(b"\n"):
        return None
    try:
        said = json.loads(unseal(line) + b"}")
        if said.pop("format") != FORMAT:
            return None
        return Shared(**{**said, "columns": tuple(said["columns"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def render_entry(
    latency_us: int,
    inputs: bytes,
    output: bytes,
    asked_id: str = "",
    purpose: str = USER,
    status: int = 200,
) -> bytes:
    """A record's line, without its place in time, for `join_entries`. `output` must be a JSON text, and
    `inputs` one too or a line, in UTF-8; `asked_id` as `wire.capture.parse_request_id` gives it."""
    if not asked_id and purpose == USER and status == 200:
        return _SHORT % (latency_us, len(inputs), inputs, output)
    asked = asked_id.encode("ascii"), purpose.encode("ascii")
    return b'[0,%d,"%b","%b",%d,%d,%b,%b]\n' % (latency_us, *asked, status, len(inputs), inputs, output)


def join_entries(lines: Sequence[bytes]) -> bytes:
    """The lines of one group."""
    text = lines[0] if len(lines) == 1 else b"".join(lines)
    if text.count(b"\n") == len(lines) and CR not in text:
        return text
    return b"".join([line[:-1].translate(_LINE_ENDS) + b"\n" for line in lines])


def render_group(lines: bytes, count: int, first: int, at_us: int) -> bytes:
    """The group of `count` lines, ready to be written."""
    text = b'%b"%d %d %d ' % (lines, count, first, at_us)
    return CHECKED % (text, zlib.adler32(text))


def parse_trailer(line: bytes) -> Trailer | None:
    """What ends a group; None for any other line."""
    found = _TRAILER.fullmatch(line)
    return Trailer(int(found[1]), int(found[2])) if found else None


def parse_groups(lines: Iterable[bytes], *, ended: bool = True) -> Iterator[Group | int]:
    """The groups among a segment's lines, in their order; a number for that many damaged lines in between.

    Lines behind the last group are damaged when the segment has `ended`; else they are being written.
    """
    waiting: list[bytes] = []
    for line in lines:
        found = _TRAILER.fullmatch(line) if line.startswith(b'"') else None
        if found is None:
            waiting.append(line)
            continue
        count = int(found[1])
        body = waiting[len(waiting) - count :] if count <= len(waiting) else []
        told = line[: found.start(4)]
        if not body or int(found[4], 16) != zlib.adler32(told, zlib.adler32(b"".join(body))):
            yield max(len(waiting), 1)
        else:
            if len(waiting) > count:
                yield len(waiting) - count
            own = parse_shared(body[0]) if body[0].startswith(b"{") else None
            yield Group(int(found[2]), int(found[3]), own, tuple(body[1:] if own else body))
        waiting = []
    if waiting and ended:
        yield len(waiting)


def merge_groups(text: bytes) -> tuple[bytes, int, int]:
    """The same records, at the same times, in one group; the sequence of the first, and the one behind the
    last. ValueError unless the text is whole groups as a server writes them, without first lines of their
    own, that follow each other."""
    merged: list[bytes] = []
    place = first = behind = began = before = 0
    for found in _END.finditer(text):
        lines = text[place : found.start() + 1]
        said = found.groups()
        count, sequence, at_us = int(said[0]), int(said[1]), int(said[2])
        if not place:
            first = behind = sequence
            began = before = at_us
        if (
            sequence != behind
            or int(said[3], 16) != zlib.adler32(text[place : found.start(4)])
            or lines.count(b"\n") != count
            or not lines.startswith(_NOW)
            or lines.count(_NEXT) != count - 1
        ):
            raise ValueError(f"no group of records {behind} and on")
        merged.append(b"[%d%b" % (at_us - before, lines[len(_NOW) - 1 :]))
        before, behind, place = at_us, sequence + count, found.end()
    if place != len(text) or not merged:
        raise ValueError(f"no group of records {behind} and on")
    return render_group(b"".join(merged), behind - first, first, began), first, behind


def read_purpose(entry: bytes) -> str:
    """The purpose of a group's record."""
    found = _ENTRY.match(entry)
    return found[4].decode() if found and found[4] else USER


def parse_entries(group: Group, shared: Shared) -> Iterator[Record | None]:
    """The group's records, None for each line that is no record."""
    shared = group.shared or shared
    at_us = shared.at_us + group.at_us
    for sequence, entry in enumerate(group.entries, start=group.first):
        found = _ENTRY.match(entry)
        if not found:
            yield None
            continue
        at_us += int(found[1])
        try:
            at = _EPOCH + timedelta(microseconds=at_us)
            inputs, output = _cut(entry[found.end() :], int(found[6]))
        except (ValueError, OverflowError):
            yield None
            continue
        yield Record(
            sequence=sequence,
            purpose=(found[4] or USER.encode()).decode(),
            id=(found[3] or b"").decode() or f"{shared.token}-{sequence}",
            at=at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            model=shared.model,
            version=shared.version,
            digest=shared.digest,
            status=int(found[5] or 200),
            latency_ms=int(found[2]) / 1000,
            inputs=inputs,
            output=output,
        )


def _cut(text: bytes, size: int) -> tuple[str, str]:
    """Inputs, as a JSON text, and output; ValueError when there is no such thing."""
    if text[size : size + 1] != b"," or not text.endswith(b"]\n"):
        raise ValueError("the inputs do not end there")
    inputs = text[:size].decode()
    try:
        json.loads(inputs)
    except (ValueError, RecursionError):
        inputs = json.dumps(inputs)
    return inputs, text[size + 1 : -2].decode()
