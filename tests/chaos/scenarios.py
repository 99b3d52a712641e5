"""The faults of a device, as a table: what is done to it, how often, and what it may take.

A scenario finds a device settled with an old layer, brings a fault amid a change, and leaves when the fault
is over; whether the device then comes to what is wanted, and what else must hold, is judged by the runner.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import acts
from tests.chaos.devices import Device

Run = Callable[[Device, random.Random, int], str]
"""With the point's number; a note for the report."""
SHARED, OWN = "shared", "own"


@dataclass(frozen=True)
class Scenario:
    """One kind of fault; its points differ by chance and by their number."""

    name: str
    row: str
    """Of the list of faults."""
    run: Run
    full: int
    """Points of a full run."""
    sample: int = 0
    """Points of a short one."""
    where: str = SHARED
    """own: the device has a machine of its own."""
    limit_s: float = 60.0
    """How long it may take to converge once the fault is over."""
    gap_s: float = 40.0
    """How long a module may be away in all, faults included."""
    needs_faketime: bool = False


POWER = "power cut at a step of an update"
FILES = "torn, empty and stale state files"
DISK = "disk full"
REGISTRY = "registry fails"
NETWORK = "network flaps"
HUB = "hub gone"
DESIRED = "duplicate, reordered, skipped desired"
MIDWAY = "desired changed mid-apply"
ENGINE = "engine down, hung, killed"
MODULE = "module flaps, never healthy"
CLOCK = "clock"
OWNER = "two agents"

SCENARIOS = (
    Scenario("kill at a moment", POWER, acts.kill_at_a_moment, 500, 12),
    Scenario("kill at a journal step", POWER, acts.kill_at_step("journal"), 60, 4),
    Scenario("kill at a durable step", POWER, acts.kill_at_step("durable"), 120, 4),
    Scenario("kill at an engine step", POWER, acts.kill_at_step("engine"), 60, 3),
    Scenario("kill again while it recovers", POWER, acts.kill_twice, 40, 2),
    Scenario("state file damaged", FILES, acts.damage_a_file, 80, 3),
    Scenario("owner's file damaged", FILES, acts.damage_an_owners_file, 6, 0),
    Scenario("disk full at pull", DISK, acts.fill_disk_at_pull, 3, 0, OWN, 150),
    Scenario("disk full at state write", DISK, acts.fill_disk_at_state_write, 10, 1, OWN, 90),
    Scenario("registry status", REGISTRY, acts.registry_status, 12, 1, limit_s=150),
    Scenario("registry body", REGISTRY, acts.registry_body, 9, 1, limit_s=150),
    Scenario("registry gone", REGISTRY, acts.registry_slow, 3, 0, limit_s=150),
    Scenario("power cut in a pull", ENGINE, acts.cut_power_in_pull, 6, 1, OWN, 150, 90),
    Scenario("engine down 20 s", ENGINE, acts.engine_down, 3, 0, OWN, 150, 120),
    Scenario("engine hung 20 s", ENGINE, acts.engine_hung, 3, 0, OWN, 150, 90),
    Scenario("link cut", NETWORK, acts.cut_link, 6, 0, OWN, 200),
    Scenario("link flaps", NETWORK, acts.flap_link, 4, 0, OWN, 200),
    Scenario("link loses and delays", NETWORK, acts.lose_and_delay, 4, 0, OWN, 200),
    Scenario("link cut one way", NETWORK, acts.cut_one_way, 3, 0, OWN, 200),
    Scenario("hub flaps", HUB, acts.flap_hub, 6, 1, limit_s=120),
    Scenario("hub gone for an hour", HUB, acts.hub_gone_for_an_hour, 2, 0, limit_s=120),
    Scenario("desired duplicated, reordered, skipped", DESIRED, acts.mangle_desired, 12, 2),
    Scenario("desired changed mid-apply", MIDWAY, acts.change_midway, 30, 2, limit_s=90),
    Scenario("desired taken back mid-apply", MIDWAY, acts.take_back_midway, 10, 1, limit_s=90),
    Scenario("bad module", MODULE, acts.bad_module, 14, 1, limit_s=120, gap_s=120),
    Scenario(
        "other layer beside a quarantined one",
        MODULE,
        acts.other_layer_beside_bad,
        3,
        0,
        limit_s=120,
        gap_s=120,
    ),
    Scenario(
        "module crashes while another pulls", MODULE, acts.crash_while_pulling, 4, 0, limit_s=120, gap_s=8
    ),
    Scenario("clock 10 years off", CLOCK, acts.clock_off, 6, 0, limit_s=120, needs_faketime=True),
    Scenario("two agents started", OWNER, acts.start_twice, 4, 1),
)


def named(name: str) -> Scenario:
    """The scenario whose name begins so; fails when there is none."""
    found = [scenario for scenario in SCENARIOS if scenario.name.startswith(name)]
    assert found, f"no scenario {name!r}; there are: {', '.join(one.name for one in SCENARIOS)}"
    return found[0]
