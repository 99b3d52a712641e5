"""What a store's folder holds."""

from __future__ import annotations

from pathlib import Path

from edgeferry.wire.capture import parse_segment_name


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
    """(bytes, records) of the closed segments."""
    found = sorted(
        (first, path) for path in store.iterdir() if (first := parse_segment_name(path.name)) is not None
    )
    if len(found) < 2:
        return 0, 0
    return sum(path.stat().st_size for _, path in found[:-1]), found[-1][0] - found[0][0]
