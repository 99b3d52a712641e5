"""Clock: who decides by the time has the same time as others, within a minute. The hub's tells."""

from __future__ import annotations

from edgeferry.domain.readiness import find_skew
from edgeferry.errors import RefusedError
from edgeferry.ports import Services


def require_clock(services: Services) -> None:
    """RefusedError when this machine's clock is not the hub's: a soak would be cut short, a deadline pass too
    early, an old approval count as young."""
    if skew := find_skew(services.hub.skew_s):
        raise RefusedError(
            f"the clock of this machine is {skew}, and rollouts go by the time",
            fix="set it, then the same again; where it is let go: timedatectl set-ntp true",
        )
