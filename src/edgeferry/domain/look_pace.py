"""How a fleet is read, and how often, where the hub answers only so many queries a minute. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

FEW = 50
"""So many devices are read one by one at any hub."""
_FEW_PER_PAGE = 25
"""A page of a query is worth so many devices read one by one: Azure's S1 reads 100 twins a second, of which a
device has two, and answers a query in three seconds."""


@dataclass(frozen=True)
class NextLook:
    """When the fleet is read next."""

    wait_s: float
    reason: str = ""
    """Why it is not as soon as usual; "" when it is."""


def is_few(devices: int, pages: int) -> bool:
    """Whether so many devices are read one by one rather than by queries, which took `pages` last time, 0
    where that is not known."""
    return devices <= max(FEW, _FEW_PER_PAGE * pages)


def pace_look(pages: int, per_minute: float, usual_s: float, left_s: float) -> NextLook:
    """When to look next, after a look that read so many pages of queries.

    `per_minute`: how many pages the hub answers; infinity where it does not count. `left_s`: until the
    deadline, negative behind it, infinity without one. A look is never put off beyond the deadline, and none
    is begun for which the one at the deadline would have to pay.
    """
    share_s = 60 * pages / per_minute
    if share_s <= usual_s:
        return NextLook(max(0.0, min(usual_s, left_s)) if left_s > 0 else usual_s)
    why = f"a look reads {pages} pages of queries, and the hub answers {per_minute:g} a minute"
    if not 0 < left_s < 2 * share_s:
        return NextLook(share_s, f"{why}: every {math.ceil(share_s)} s")
    return NextLook(left_s, f"{why}: the next one is at the deadline, in {math.ceil(left_s)} s")
