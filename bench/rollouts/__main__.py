"""`./run bench rollouts`: how far bad versions get before they are stopped, and how often good ones are."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Report, quantile
from bench.rollouts.releases import release_in_a_row
from bench.rollouts.scenarios import SCENARIOS, Scenario
from bench.rollouts.seeds import run_seeds
from bench.rollouts.simulation import Story
from bench.rollouts.wire import repeat_on_the_wire, take_back


def report_scenario(report: Report, scenario: Scenario, stories: Sequence[Story]) -> None:
    """What became of one scenario."""
    name, seeds = scenario.name, len(stories)
    stopped = [story for story in stories if story.end != "committed"]
    if stopped:
        shares = [100 * story.exposed / story.devices for story in stopped]
        rare = [100 * story.exposed_rare / story.rare for story in stopped if story.rare]
        report.add(f"{name}: exposed when stopped, median", statistics.median(shares), "%")
        report.add(f"{name}: exposed when stopped, most", max(shares), "%")
        report.add(f"{name}: of the rare kind, most", max(rare, default=0.0), "%")
        report.add(f"{name}: from the first wave to the end, median", _median_s(stopped), "s")
        report.add(f"{name}: the same, 99 of 100", quantile([s.lasted_s for s in stopped], 0.99), "s")
    for end in ("committed", "rolled back", "held"):
        report.add(f"{name}: seeds {end}", sum(story.end == end for story in stories), f"of {seeds}")
    report.add(f"{name}: seeds held on the way", sum(story.was_held for story in stories), f"of {seeds}")
    missed = sum(map(scenario.misses, stories))
    report.add(f"{name}: seeds not as they must be", missed, f"of {seeds}", goal=scenario.most(seeds))


def _median_s(stories: Sequence[Story]) -> float:
    return statistics.median(story.lasted_s for story in stories)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench rollouts", description=__doc__)
    parser.add_argument("--seeds", type=int, default=800, help="simulations of each kind (%(default)s)")
    parser.add_argument("--from-seed", type=int, default=1, help="the first seed (%(default)s)")
    parser.add_argument("--only", action="append", help="one kind of version; again for another")
    parser.add_argument("--devices", type=int, default=1000, help="hollow devices in each (%(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once (%(default)s)")
    parser.add_argument("--wire", type=int, default=3, help="seeds repeated on the true wire (%(default)s)")
    parser.add_argument("--wire-devices", type=int, default=200, help="devices of each (%(default)s)")
    parser.add_argument("--speed", type=float, default=10, help="how fast their time passes (%(default)s)")
    parser.add_argument("--back", type=int, default=1000, help="devices of the rollback (%(default)s)")
    parser.add_argument("--releases", type=int, default=1000, help="releases in a row (%(default)s)")
    parser.add_argument("--release-devices", type=int, default=4, help="devices of these (%(default)s)")
    parser.add_argument("--git", action="store_true", help="these with a git ledger, which takes longer")
    parser.add_argument("--out", type=Path, default=Path("bench/rollouts/out"), help="for the JSON")
    given = parser.parse_args()
    report = Report()
    report.add("load of the machine before", os.getloadavg()[0], "")
    began = time.monotonic()
    stories = (
        run_seeds(
            range(given.from_seed, given.from_seed + given.seeds),
            [number for number, each in enumerate(SCENARIOS) if not given.only or each.name in given.only],
            given.devices,
            given.processes,
        )
        if given.seeds
        else {}
    )
    for number, by_seed in stories.items():
        report_scenario(report, SCENARIOS[number], list(by_seed.values()))
    if stories:
        report.add("all simulations", time.monotonic() - began, "s")
    if given.wire:
        repeat_on_the_wire(report, given.wire, given.wire_devices, given.speed)
    if given.back:
        take_back(report, given.back)
    if given.releases:
        release_in_a_row(report, given.releases, given.release_devices, with_git=given.git)
    given.out.mkdir(parents=True, exist_ok=True)
    told = {
        SCENARIOS[number].name: {seed: vars(story) for seed, story in sorted(by_seed.items())}
        for number, by_seed in stories.items()
    }
    document = {"rows": report.rows, "stories": told, "cores": os.cpu_count(), "load": os.getloadavg()}
    (given.out / "rollouts.json").write_text(json.dumps(document, indent=2) + "\n")
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
