"""What a store's folder holds."""

from __future__ import annotations

import time
from pathlib import Path

from edgeferry.wire.capture import PACKED, PLAIN, parse_segment_name

PACKED_S = 20.0
"""How long a closed segment may wait until it is compressed."""


def await_packed(store: Path) -> None:
    """Returns once the store's files are compressed ones and the segment that is open, or after PACKED_S."""
    deadline = time.monotonic() + PACKED_S
    while time.monotonic() < deadline:
        names = [name for path in store.iterdir() if (name := parse_segment_name(path.name)) is not None]
        if len([kind for _, kind in names if kind != PACKED]) <= 1:
            return
        time.sleep(0.05)


def store_bytes(store: Path) -> int:
    """The bytes of all its files at once; those that go meanwhile count nothing."""
    total = 0
    for path in store.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def closed_bytes(store: Path) -> tuple[int, int]:
    """(bytes, records) of the closed segments that are compressed, all but the newest file."""
    found = sorted(
        (*name, path) for path in store.iterdir() if (name := parse_segment_name(path.name)) is not None
    )
    packed = [(first, path) for first, kind, path in found if kind == PACKED]
    plain = [first for first, kind, _ in found if kind == PLAIN]
    last = next((first for first in sorted(plain) if packed and first > packed[-1][0]), 0)
    if not last:
        return 0, 0
    return sum(path.stat().st_size for _, path in packed), last - packed[0][0]
