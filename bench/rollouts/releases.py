"""Releases in a row: what they leave on the hub, and whether the last one takes longer than the first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from bench.report import Report
from bench.rollouts.grounds import Grounds, open_grounds, tell_costs
from edgeferry.device.hollow import Clock
from edgeferry.domain.enrolment import new_tags
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.rollout import State
from edgeferry.ports import Services
from tests.hollows import CONDITION, ListedLedger, release, roll, rules, say_yes

OTHER_EVERY = 50
"""So often another model has a release too."""
OTHER_CONDITION = "tags.models.fares = true"
PACE = Pace(pull_s=0.05, ask_s=0.05, requests_per_s=0.0)
TAGS = {"edgeferry": True, "models": {"taxi": True, "fares": True}}
SPEED = 10.0
"""How fast time passes for devices and for who waits for them; the hub's work takes what it takes."""
MOST = 6
"""A base, a companion, and of each of two models the newest layer and the one before."""


def release_in_a_row(report: Report, releases: int, devices: int, *, with_git: bool) -> None:
    """So many releases of one model, each rolled out to all `devices`; another model's now and then."""
    clock = Clock(time.time(), SPEED)
    names = [f"row-{number}" for number in range(1, devices + 1)]
    hollows = [Hollow(name, 1, clock.began_at, (), PACE) for name in names]
    with open_grounds(hollows, {name: new_tags(name, "small", TAGS) for name in names}, clock) as grounds:
        services = grounds.services
        if not with_git:
            services.ledger = ListedLedger(clock.now)  # type: ignore[misc,assignment]
        before = grounds.costs()
        took, busy, counts, bad = _release_all(grounds, releases)
        tell_costs(report, f"{releases} releases in a row", before, grounds.costs())
        kept = [one["priority"] for one in services.hub.configurations()]
        report.add("entries in the ledger", len(services.ledger.all_entries()), "")
    report.add(f"{releases} releases in a row: all", sum(took), "s")
    tenth = max(1, releases // 10)
    report.add(f"{releases} releases in a row: the first tenth, median", statistics.median(took[:tenth]), "s")
    report.add(f"{releases} releases in a row: the last tenth, median", statistics.median(took[-tenth:]), "s")
    report.add(
        f"{releases} releases in a row: controller's in the first tenth, median", _ms(busy[:tenth]), "ms"
    )
    report.add(
        f"{releases} releases in a row: controller's in the last tenth, median", _ms(busy[-tenth:]), "ms"
    )
    report.add(f"{releases} releases in a row: not succeeded", bad, "", goal=0)
    report.add(f"{releases} releases in a row: deployments after each, most", max(counts), "", goal=MOST)
    report.add(f"{releases} releases in a row: highest priority", max(kept), "", goal=2**31 - 1)


def _ms(seconds: Sequence[float]) -> float:
    return 1000 * statistics.median(seconds)


def _release_all(
    grounds: Grounds, releases: int
) -> tuple[Sequence[float], Sequence[float], Sequence[int], int]:
    """Seconds, the controller's processor seconds and deployments by release, and how many of them did not
    succeed."""
    services = grounds.services
    took, busy, counts, bad = [], [], [], 0
    for number in range(1, releases + 1):
        began, began_busy = time.monotonic(), time.process_time()
        bad += not _ship(services, "taxi", number, CONDITION)
        took.append(time.monotonic() - began)
        busy.append(time.process_time() - began_busy)
        if number % OTHER_EVERY == 1:
            bad += not _ship(services, "fares", number, OTHER_CONDITION)
        counts.append(len(services.hub.configurations()))
        if number % 20 == 0:
            lately = statistics.mean(took[-20:])
            print(f"    {number} of {releases}: {lately:.2f} s each, {counts[-1]} deployments", flush=True)
    return took, busy, counts, bad


def _ship(services: Services, model: str, number: int, condition: str) -> bool:
    by = rules(timeout_s="600")
    entry = release(services, number, model=model)
    say_yes(services, entry, by, condition)
    result = roll(services, entry, by, condition)
    if result.state is not State.SUCCEEDED:
        print(f"    {entry.subject}: {result.state}: {result.reason[:160]}", flush=True)
    return result.state is State.SUCCEEDED
