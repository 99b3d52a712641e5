"""How much at once the hub takes when it is told to be as slow as Azure's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeferry.domain.limits import Bucket, Operation, Rate, take
from edgeferry.wire.hub import RefusalError


class ThrottledError(RefusalError):
    """Too much of one operation at once; the next is welcome after `retry_after_s` (whole seconds)."""

    def __init__(self, operation: Operation, rate: Rate, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(
            "ThrottlingException",
            f"more than {rate.count} {operation} in {rate.seconds:g} s",
            fix=f"ask again in {self.retry_after_s} s",
        )


@dataclass(frozen=True)
class Rates:
    """Counts operations against their rates; an operation without a rate may come as often as it likes."""

    limits: Mapping[Operation, Rate]
    clock: Callable[[], float]
    buckets: dict[Operation, Bucket] = field(default_factory=dict)

    def count(self, operation: Operation | None) -> None:
        """One more of it; ThrottledError when it is too much."""
        rate = self.limits.get(operation) if operation else None
        if operation is None or rate is None:
            return
        self.buckets[operation], wait_s = take(self.buckets.get(operation), rate, self.clock())
        if wait_s:
            raise ThrottledError(operation, rate, wait_s)


def operation_of(method: str, path: str) -> Operation | None:
    """What a route of the service REST counts as, by its method and path template; None for what is free."""
    match path.strip("/").split("/")[0], method:
        case "devices", "POST" if path == "/devices/query":
            return Operation.QUERIES
        case "devices", _:
            return Operation.REGISTRY
        case "configurations", _:
            return Operation.CONFIGURATIONS
        case "twins", "POST":
            return Operation.METHODS
        case "twins", "GET":
            return Operation.TWIN_READS
        case "twins", _:
            return Operation.TWIN_UPDATES
        case _:
            return None
