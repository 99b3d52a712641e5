"""What is simulated: versions good and bad, and what each must come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.rollouts.simulation import Simulation, Story
from bench.rollouts.world import MODEL, NEW
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.hollow_traffic import stray_for

LEAVES = 0.07
"""Of a bad version's answers, so many lie outside the band that holds 98 % of the predecessor's."""
FLAKY = (
    Fault("errors", share=0.0025, rate=0.05),
    Fault("flapping", share=0.0025, module=MODEL),
)
"""One device in 200 is flaky, whatever it runs: half of these fail requests, half restart."""
_LEAVES = Fault("leaves_band", module=MODEL, digest=NEW, rate=stray_for(LEAVES))


@dataclass(frozen=True)
class Scenario:
    """One kind of version, simulated for many seeds."""

    name: str
    faults: tuple[Fault, ...]
    misses: Callable[[Story], bool]
    """Whether the story is not as it must be."""
    most: Callable[[int], int]
    """How many of so many seeds may be."""

    def run(self, seed: int, devices: int) -> Story:
        return Simulation(seed, devices, (*FLAKY, *self.faults)).run()


def _is_promoted(story: Story) -> bool:
    return story.end == "committed"


def _reaches_too_many(story: Story) -> bool:
    return story.end != "rolled back" or story.exposed > 0.02 * story.devices


def _reaches_too_many_rare(story: Story) -> bool:
    return story.end != "rolled back" or story.exposed_rare > 0.10 * story.rare


SCENARIOS = (
    Scenario("leaves the band", (_LEAVES,), _reaches_too_many, lambda seeds: 3 * seeds // 800),
    Scenario(
        "leaves the band on a tenth of the fleet",
        (Fault("leaves_band", "tags.kind = 'rare'", module=MODEL, digest=NEW, rate=_LEAVES.rate),),
        _reaches_too_many_rare,
        lambda seeds: 3 * seeds // 800,
    ),
    Scenario("good", (), lambda story: story.end == "rolled back", lambda seeds: seeds // 100),
    Scenario(
        "too little traffic",
        (Fault("quiet", module=MODEL, digest=NEW, rate=0.01),),
        _is_promoted,
        lambda seeds: 0,
    ),
)
