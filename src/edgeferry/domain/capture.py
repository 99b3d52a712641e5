"""Captures: the stored inferences of a model on a device, and the decisions about storing them.

A store is a row of segments, each named by the sequence of its first record. Sequences rise by one with each
record, across restarts and model versions, and no two records that were handed out share one: a sequence is
also a place to read on from. The store is bounded: what is oldest goes first, a closed segment at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

USER = "user"
SMOKE = "smoke"
PURPOSES = (USER, SMOKE)


@dataclass(frozen=True)
class Record:
    """One scored request: what was asked, what was answered."""

    sequence: int
    purpose: str
    """`user`, or `smoke` for the companion's questions."""
    id: str
    """The request's own id: the caller's `X-Request-Id`, else one made by the server."""
    at: str
    """ISO 8601, UTC."""
    model: str
    version: str
    digest: str
    """Of the image that answered."""
    status: int
    latency_ms: float
    """From the whole body to the answer, on the device."""
    inputs: str
    """JSON: the rows that the model was asked, in the order of its columns."""
    output: str
    """JSON: exactly what the client got."""


@dataclass(frozen=True)
class Bounds:
    """How large a store may grow."""

    store_bytes: int = 64 * 1024 * 1024
    segment_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True)
class Segment:
    """One file of the store."""

    first: int
    """The sequence of its first record."""
    size_bytes: int


@dataclass(frozen=True)
class Cursor:
    """A place to read on from: behind record `after`, and behind `skip` characters of the record that
    follows it, when that one is too long for one page."""

    after: int = 0
    skip: int = 0


@dataclass(frozen=True)
class Counts:
    """How many records a store holds, and what became of others."""

    user: int = 0
    smoke: int = 0
    damaged: int = 0
    """Lines that do not match their checksum."""
    expired: int = 0
    """Made room for newer ones."""
    dropped: int = 0
    """Could not be written, since the server started."""
    refused: int = 0
    """Bad requests, since the server started: counted, not stored."""
    first: int = 0
    last: int = 0


def fits(line_bytes: int, bounds: Bounds) -> bool:
    """Whether a record of that length may be stored at all: it must leave room for others."""
    return line_bytes <= bounds.store_bytes // 2


def must_rotate(size_bytes: int, line_bytes: int, bounds: Bounds) -> bool:
    """Whether a record of `line_bytes` begins a new segment, the open one having `size_bytes`."""
    return size_bytes > 0 and size_bytes + line_bytes > bounds.segment_bytes


def choose_expired(closed: Sequence[Segment], line_bytes: int, bounds: Bounds) -> tuple[Segment, ...]:
    """The closed segments, oldest first, that must go so that a new one may grow to its full length."""
    needed = max(bounds.segment_bytes, line_bytes)
    kept = sum(segment.size_bytes for segment in closed)
    gone: list[Segment] = []
    for segment in sorted(closed, key=lambda each: each.first):
        if kept + needed <= bounds.store_bytes:
            break
        kept -= segment.size_bytes
        gone.append(segment)
    return tuple(gone)


def choose_segments(segments: Sequence[Segment], after: int) -> tuple[Segment, ...]:
    """The segments that may hold records behind `after`, oldest first."""
    ordered = sorted(segments, key=lambda each: each.first)
    begins = [number for number, segment in enumerate(ordered) if segment.first <= after + 1]
    return tuple(ordered[begins[-1] if begins else 0 :])
