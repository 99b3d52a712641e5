"""Many simulations, in processes of their own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence

from bench.rollouts.scenarios import SCENARIOS
from bench.rollouts.simulation import Story


def simulate(task: tuple[int, int, int]) -> tuple[int, int, Story]:
    """(scenario, seed, its story)."""
    number, seed, devices = task
    return number, seed, SCENARIOS[number].run(seed, devices)


def run_seeds(
    seeds: Sequence[int], scenarios: Sequence[int], devices: int, processes: int
) -> dict[int, dict[int, Story]]:
    """The stories by scenario and seed; told as they come."""
    tasks = [(number, seed, devices) for seed in seeds for number in scenarios]
    stories: dict[int, dict[int, Story]] = {number: {} for number in scenarios}
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, seed, story in pool.imap_unordered(simulate, tasks, chunksize=1):
            stories[number][seed] = story
            done = sum(map(len, stories.values()))
            if done % 100 == 0:
                print(f"{done} of {len(tasks)} simulations, {time.monotonic() - began:.0f} s", flush=True)
    return stories
