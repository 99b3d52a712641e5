"""Captures: the stored inferences of a model on a device, and the decisions about storing them.

A store is a row of segments, each named by the sequence of its first record. Sequences rise by one with each
record, across restarts and model versions, and no two records that were handed out share one: a sequence is
also a place to read on from. The store is bounded: what is oldest goes first, a closed segment at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.capture_policy import CapturePolicy

_SEGMENTS = 8
"""A full store has about as many, so that what goes at once is a small part of it."""
_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENT_S = 3600.0

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
    """How much a store may hold; 0 is no bound."""

    store_bytes: int
    segment_bytes: int
    max_records: int
    segment_records: int
    """So many records close a segment."""
    max_age_s: float
    segment_s: float
    """A segment that is older is closed."""
    stops: bool = False
    """When it is full: whether new records are dropped, or else the oldest ones go."""


@dataclass(frozen=True)
class Segment:
    """One part of the store."""

    first: int
    """The sequence of its first record."""
    size_bytes: int
    """Of all files that are there because of it."""
    age_s: float = 0.0
    """Since its last record, as far as the server knows."""


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
    """Requests that the model did not answer, since the server started: bad ones, and those it had no time
    for. Counted, not stored."""
    first: int = 0
    last: int = 0


def choose_bounds(policy: CapturePolicy) -> Bounds:
    """The bounds that a policy sets; a segment has at most an eighth of the store."""
    return Bounds(
        store_bytes=policy.store_bytes,
        segment_bytes=max(min(_SEGMENT_BYTES, policy.store_bytes // _SEGMENTS), 1),
        max_records=policy.max_records,
        segment_records=max(policy.max_records // _SEGMENTS, 1) if policy.max_records else 0,
        max_age_s=policy.max_age_s,
        segment_s=min(_SEGMENT_S, policy.max_age_s / _SEGMENTS) if policy.max_age_s else _SEGMENT_S,
        stops=policy.when_full == "stop",
    )


def choose_largest(bounds: Bounds) -> int:
    """How many bytes one record may have: it must leave room for others."""
    return bounds.store_bytes // 2


def must_rotate(size_bytes: int, records: int, age_s: float, group_bytes: int, bounds: Bounds) -> bool:
    """Whether a group of `group_bytes` begins a new segment, the open one being as large and old as that."""
    if not records:
        return False
    return (
        size_bytes + group_bytes > bounds.segment_bytes
        or age_s > bounds.segment_s
        or 0 < bounds.segment_records <= records
    )


def choose_expired(
    closed: Sequence[Segment], last: int, group_bytes: int, bounds: Bounds
) -> tuple[Segment, ...]:
    """The closed segments, oldest first, that must go so that a new one may grow to its full length. A store
    that stops when it is full lets go of old age alone."""
    gone: list[Segment] = []
    ordered = sorted(closed, key=lambda each: each.first)
    for number, segment in enumerate(ordered):
        old = 0 < bounds.max_age_s < segment.age_s
        if not old and (bounds.stops or has_room(ordered[number:], last, group_bytes, bounds)):
            break
        gone.append(segment)
    return tuple(gone)


def has_room(closed: Sequence[Segment], last: int, group_bytes: int, bounds: Bounds) -> bool:
    """Whether, beside the closed segments, a new one may begin; `last` is the last sequence given."""
    if not closed:
        return True
    size = sum(segment.size_bytes for segment in closed) + max(bounds.segment_bytes, group_bytes)
    records = last + 1 - min(segment.first for segment in closed) + bounds.segment_records
    return size <= bounds.store_bytes and (not bounds.max_records or records <= bounds.max_records)


def choose_segments(firsts: Sequence[int], after: int) -> tuple[int, ...]:
    """The segments that may hold records behind `after`, by the sequences they begin with, oldest first."""
    ordered = sorted(firsts)
    begins = [number for number, first in enumerate(ordered) if first <= after + 1]
    return tuple(ordered[begins[-1] if begins else 0 :])
