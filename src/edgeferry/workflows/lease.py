"""Lease: one controller at a time goes on with the rollouts of a model; when it dies, another does.

It saves work and quarrels. That each wave starts once does not hang on it: the ledger sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeferry.errors import OutsideError
from edgeferry.ports import Services

LEASE_S = 30.0
"""How long a controller that died is waited for."""


class Lease:
    """The right to go on, kept alive by `hold`."""

    def __init__(self, services: Services, name: str, length_s: float) -> None:
        self._services = services
        self._name = name
        self._length_s = length_s
        self._holder = services.new_id()
        self._until_s = 0.0
        self._is_kept = False
        """Whether the hub remembers that it is ours."""
        self._told = False

    def hold(self, for_s: float | None = None) -> bool:
        """Whether it is ours for so many seconds yet, of its length at most; half of that unless told. A hub
        that cannot tell stands in nobody's way, which is said once."""
        now = self._services.now()
        if now < self._until_s - min(self._length_s / 2 if for_s is None else for_s, self._length_s):
            return True
        until = now + self._length_s
        try:
            held = self._is_kept = self._services.anchor.take_lease(self._name, self._holder, until, now)
        except OutsideError as error:
            if not self._told:
                self._services.say(f"no lease at the hub: {error.problem}; the ledger alone keeps order")
            self._told = held = True
        self._until_s = until if held else 0.0
        return held

    def drop(self) -> None:
        """It is nobody's."""
        if self._is_kept:
            try:
                self._services.anchor.drop(self._name, self._holder)
            except OutsideError as error:
                self._services.say(f"the lease at the hub runs out by itself: {error.problem}")


@contextmanager
def leased(services: Services, name: str, length_s: float = LEASE_S) -> Iterator[Lease]:
    """A lease that is given back at the end."""
    lease = Lease(services, name, length_s)
    try:
        yield lease
    finally:
        lease.drop()
