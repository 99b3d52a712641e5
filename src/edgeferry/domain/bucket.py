"""Which share of a fleet a device belongs to: a number that follows from its name alone. Pure."""

from __future__ import annotations

import hashlib

BUCKETS = 10_000
"""A hundredth of a per cent of a fleet each."""


def rollout_bucket(device: str) -> int:
    """The device's bucket, 0 to 9999: the same at every hub and for ever, evenly spread over any names."""
    digest = hashlib.sha256(b"edgeferry rollout bucket\0" + device.encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS
