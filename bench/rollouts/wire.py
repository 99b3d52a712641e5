"""The same rollouts on the true wire: a real hub, hollow devices over MQTT, the rollout's own loop."""

from __future__ import annotations

from bench.report import Report


def repeat_on_the_wire(report: Report, seeds: int) -> None:
    """Seeds of each kind decided as in the simulation."""
    raise NotImplementedError(seeds)


def take_back(report: Report, devices: int) -> None:
    """How long until a whole fleet runs the previous release again."""
    raise NotImplementedError(devices)
