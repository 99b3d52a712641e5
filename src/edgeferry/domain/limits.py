"""How much is too much, and how much at once: Azure IoT Hub's numbers for one S1 unit, by Microsoft's page
"IoT Hub quotas and throttling"; the token bucket that counts against a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from edgeferry.domain.twin import SECTION_BYTES, TAGS_BYTES


@dataclass(frozen=True)
class Sizes:
    """How large and how many things may be; None for any number. Nesting and names have limits of their
    own, which always hold."""

    section_bytes: int | None = SECTION_BYTES
    """Desired properties, or reported ones."""
    tags_bytes: int | None = TAGS_BYTES
    modules: int | None = 50
    """Of one device, `$edgeAgent` and `$edgeHub` among them."""
    configurations: int | None = 100


AZURE_SIZES = Sizes()
ANY_SIZES = Sizes(None, None, None, None)


def is_full(count: int, limit: int | None) -> bool:
    """Whether one more would be too many."""
    return limit is not None and count >= limit


class Operation(StrEnum):
    """What is counted together."""

    REGISTRY = "registry"
    CONFIGURATIONS = "configurations"
    QUERIES = "queries"
    TWIN_READS = "twin reads"
    TWIN_UPDATES = "twin updates"
    METHODS = "methods"
    CONNECTIONS = "connections"


@dataclass(frozen=True)
class Rate:
    """`count` operations in `seconds`; as many may come at once after a pause."""

    count: int
    seconds: float


AZURE_RATES: Mapping[Operation, Rate] = MappingProxyType(
    {
        Operation.REGISTRY: Rate(100, 60),
        Operation.CONFIGURATIONS: Rate(20, 60),
        Operation.QUERIES: Rate(20, 60),
        Operation.TWIN_READS: Rate(100, 1),
        Operation.TWIN_UPDATES: Rate(50, 1),
        Operation.METHODS: Rate(40, 1),  # 160 KB a second, metered in 4 KB
        Operation.CONNECTIONS: Rate(100, 1),
    }
)


@dataclass(frozen=True)
class Bucket:
    """How much of a rate is left at a moment (seconds of any clock that never goes back)."""

    left: float
    at: float


def take(bucket: Bucket | None, rate: Rate, now: float) -> tuple[Bucket, float]:
    """(the bucket after one operation, 0), or (the bucket as it is now, seconds until one is allowed). None
    is a bucket nobody took from yet."""
    if bucket is None:
        left = float(rate.count)
    else:
        left = min(float(rate.count), bucket.left + (now - bucket.at) * rate.count / rate.seconds)
    if left >= 1:
        return Bucket(left - 1, now), 0.0
    return Bucket(left, now), (1 - left) * rate.seconds / rate.count
