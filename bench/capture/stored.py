"""What a store's folder holds."""

from __future__ import annotations

from pathlib import Path

from edgeferry.wire.capture import PACKED, PLAIN, parse_segment_name


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
