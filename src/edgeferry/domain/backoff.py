"""How long to wait before something that failed is tried again. Pure."""

from __future__ import annotations

FIRST_S = 10.0
LONGEST_S = 300.0


def wait_s(failures: int, random: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 0): 10 s, doubled each time, up to 300 s, of
    which `random` (0 to 1) takes at most half, so that a fleet does not ask all at once."""
    whole = min(FIRST_S * float(2 ** min(failures, 10)), LONGEST_S)
    return whole * (1 - min(max(random, 0.0), 1.0) / 2)
