"""`./run chaos`: faults of every kind on devices amid an update; exit code 1 if any is not well afterwards.

A run is repeated by its seed, one point of it with --only and --point."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.report import write
from tests.chaos.running import Outcome, Point, Run, missing_for, opened
from tests.chaos.scenarios import SCENARIOS, Scenario, named

CACHE = Path(".pytest_cache/d/busybox")


def choose(
    scenarios: Sequence[Scenario], seed: int, points: int | None, index: int | None, sample: bool
) -> list[Point]:
    """The points to run: all of each scenario, its sample, at most `points` of each, or one."""
    chosen = []
    for scenario in scenarios:
        if index is not None:
            chosen.append(Point(scenario, index))
            continue
        many = scenario.sample if sample else scenario.full
        many = min(many, points) if points else many
        drawn = random.Random(f"{seed}:{scenario.name}").sample(range(max(scenario.full, many)), many)
        chosen += [Point(scenario, one) for one in sorted(drawn)]
    return chosen


def main(arguments: list[str]) -> int:
    """0 when every device was well after every fault, 1 when not, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; drawn when absent")
    parser.add_argument("--points", type=int, default=None, help="at most so many of each scenario")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="scenarios that begin so")
    parser.add_argument("--point", type=int, default=None, help="one point of --only, as a report names it")
    parser.add_argument("--sample", action="store_true", help="the few points that ./run test has")
    parser.add_argument("--workers", type=int, default=2, help="devices at a time")
    parser.add_argument("--report", type=Path, default=Path("chaos-report"), metavar="FOLDER")
    parser.add_argument("--list", action="store_true", help="the scenarios, and end")
    said = parser.parse_args(arguments)
    if said.list:
        for one in SCENARIOS:
            print(f"{one.name:42} {one.full:4} points  {one.row}")
        return 0
    seed = said.seed if said.seed is not None else random.randrange(1_000_000)
    wanted = [named(name) for name in said.only] or list(SCENARIOS)
    lacking = {one.name: missing for one in wanted if (missing := missing_for(one))}
    scenarios = [one for one in wanted if one.name not in lacking]
    points = choose(scenarios, seed, said.points, said.point, said.sample)
    print(f"seed {seed}: {len(points)} points of {len(scenarios)} scenarios", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began, outcomes, interrupted = time.monotonic(), [], False

    def tell(one: Outcome) -> None:
        outcomes.append(one)
        word = "WRONG" if one.wrong else "ok"
        print(
            f"{len(outcomes):4}/{len(points)} {word:5} {one.scenario} {one.index} ({one.note}) "
            f"{one.seconds:.1f} s, away {one.gap_s:.1f} s",
            *(f"\n          {text}" for text in one.wrong),
            flush=True,
        )

    try:
        with opened(CACHE, scenarios) as grounds:
            Run(grounds, seed, said.report / "evidence", tell).work(points, said.workers)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        text = write(said.report, seed, scenarios, outcomes, lacking, time.monotonic() - began)
    print(f"\n{text}\nreport: {said.report}/chaos-report.md")
    if interrupted:
        return 130
    return 1 if any(one.wrong for one in outcomes) or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
