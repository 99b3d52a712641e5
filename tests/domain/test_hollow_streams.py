"""What the bench of rollouts draws for many devices at once is what each would draw by itself."""

from __future__ import annotations

import numpy as np

from bench.rollouts.traffic import Streams
from edgeferry.domain.hollow_traffic import Manner, Traffic, serve

MANNERS = (
    Manner(),
    Manner(errors=0.05),
    Manner(stray=0.05),
    Manner(errors=0.1, stray=0.2),
    Manner(errors=1.0),
)


def test_many_devices_at_once_are_served_as_each_alone() -> None:
    keys = [1, 2, 3, 2**63 + 7, 2**64 - 1]
    streams = Streams(keys, MANNERS)
    for until in (np.array([60, 0, 60, 17, 60]), np.array([600, 5, 300, 1800, 60])):
        streams.serve(until)
    for row, (key, manner, until) in enumerate(zip(keys, MANNERS, (600, 5, 300, 1800, 60), strict=True)):
        assert streams.tell(row) == serve(Traffic(), key, until, manner)
