"""Runs points of scenarios on devices, several at a time, and judges the device after each."""

from __future__ import annotations

import contextlib
import queue
import random
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import invariants, lab
from tests.chaos.acts import find_faketime
from tests.chaos.devices import MODULES, Device
from tests.chaos.grounds import Grounds, InterruptedRun, open_grounds
from tests.chaos.scenarios import OWN, Scenario
from tests.chaos.sights import Sight

REAPPLIED = 0.1
"""The share of points after which the same is applied again."""


@dataclass(frozen=True)
class Point:
    """One fault, once."""

    scenario: Scenario
    index: int


@dataclass(frozen=True)
class Outcome:
    """What came of a point."""

    scenario: str
    index: int
    note: str
    wrong: tuple[str, ...]
    seconds: float
    converged_s: float = 0.0
    """From the end of the fault."""
    gap_s: float = 0.0
    """The longest time in which a module was away."""
    mixed_s: float = 0.0
    """The longest time in which the layer's modules were of two layers."""

    def has(self, number: str) -> bool:
        """Whether an invariant of that number was broken."""
        return any(one.startswith(number) for one in self.wrong)


@dataclass
class Run:
    """Points on the grounds; `say` is told of each outcome."""

    grounds: Grounds
    seed: int
    evidence: Path
    say: Callable[[Outcome], None]
    outcomes: list[Outcome] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _points: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)

    def work(self, points: Sequence[Point], workers: int) -> list[Outcome]:
        """The outcomes, in the order in which they came; those of an interrupted run as far as it got."""
        for point in points:
            self._points.put(point)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(0.2)
        finally:
            self.grounds.interrupted.set()
            for thread in threads:
                thread.join(60)
        return self.outcomes

    def _work(self) -> None:
        devices: dict[str, Device] = {}
        try:
            while not self.grounds.interrupted.is_set():
                try:
                    point = self._points.get_nowait()
                except queue.Empty:
                    return
                outcome = self._try(devices, point)
                with self._lock:
                    self.outcomes.append(outcome)
                self.say(outcome)
        except InterruptedRun:
            return
        finally:
            for device in devices.values():
                close(device)

    def _try(self, devices: dict[str, Device], point: Point) -> Outcome:
        """The outcome; a device that something is wrong with is put away."""
        where = point.scenario.where
        try:
            if where not in devices:
                devices[where] = open_device(self.grounds, where)
        except InterruptedRun:
            raise
        except Exception:  # noqa: BLE001 - told as what is wrong with the point
            return _failed(point, f"no device: {traceback.format_exc(limit=3)}")
        device = devices[where]
        outcome = run_point(device, point, self.seed)
        if outcome.wrong:
            folder = self.evidence / f"{point.scenario.name.replace(' ', '-')}-{point.index}"
            with contextlib.suppress(Exception):
                device.keep_evidence(folder)
            close(devices.pop(where))
        return outcome


def open_device(grounds: Grounds, where: str) -> Device:
    """A device that is settled with its first layer."""
    folder = grounds.place()
    machine = None
    if where == OWN:
        assert grounds.bridge is not None, "no bridge for machines of their own"
        machine = grounds.bridge.machine(folder)
    device = Device(grounds, folder / "state", machine)
    try:
        device.open()
        device.measure_pace()
    except BaseException:
        close(device)
        raise
    return device


def close(device: Device) -> None:
    """Nothing of the device is left, whatever state it is in."""
    with contextlib.suppress(Exception):
        device.close()
    if device.machine is not None:
        with contextlib.suppress(Exception):
            device.machine.close()
    shutil.rmtree(device.folder.parent, ignore_errors=True)


def run_point(device: Device, point: Point, seed: int) -> Outcome:
    """The outcome of the point on a settled device, which it leaves settled unless something is wrong."""
    scenario = point.scenario
    chance = random.Random(f"{seed}:{scenario.name}:{point.index}")
    began = time.monotonic()
    device.watcher.forget()
    device.versions[:-1] = []
    note, wrong, converged_s = "", [], 0.0
    try:
        note = scenario.run(device, chance, point.index)
        over = time.monotonic()
        device.heal()
        wrong = converge(device, scenario.limit_s)
        converged_s = time.monotonic() - over
        if not wrong and chance.random() < REAPPLIED:
            wrong = apply_again(device, scenario.limit_s)
    except InterruptedRun:
        raise
    except AssertionError as error:
        wrong = [f"{_number_of(str(error))}{error}"]
    except Exception:  # noqa: BLE001 - told as what is wrong with the point
        wrong = [f"the harness failed: {traceback.format_exc(limit=4)}"]
    finally:
        with contextlib.suppress(Exception):
            device.heal()
    until = time.monotonic()
    moments = device.watcher.moments()
    gaps = [invariants.longest_gap_s(moments, module, until) for module in MODULES]
    wrong += invariants.find_unserved(moments, MODULES, until, scenario.gap_s)
    wrong += invariants.find_steps_back(device.versions)
    wrong += invariants.find_unverified(sorted(device.watcher.starts(), key=str), device.known())
    if not wrong:
        device.note_settled()
    return Outcome(
        scenario.name,
        point.index,
        note,
        tuple(wrong),
        until - began,
        converged_s,
        max(gaps),
        invariants.longest_mixed_s(moments, MODULES, until),
    )


def converge(device: Device, limit_s: float) -> list[str]:
    """What is still wrong after `limit_s`; nothing as soon as all is as it must be."""
    deadline = time.monotonic() + limit_s
    while True:
        device.ensure_running()
        late = time.monotonic() > deadline
        if device.is_settled() or late:
            wrong = judge(device.look())
            if not wrong or late:
                return wrong
        device.pause(0.25)


def judge(sight: Sight) -> list[str]:
    """What is wrong with a device whose faults are over."""
    return [
        *invariants.find_mixed(sight),
        *invariants.find_unconverged(sight),
        *invariants.find_flattery(sight),
        *invariants.find_secrets(sight),
        *invariants.find_leftovers(sight),
    ]


def apply_again(device: Device, limit_s: float) -> list[str]:
    """I4, by another configuration that asks for the same."""
    before = device.containers()
    device.deploy_again()
    return converge(device, limit_s) or invariants.find_remade(before, device.containers())


def _failed(point: Point, why: str) -> Outcome:
    return Outcome(point.scenario.name, point.index, "", (why,), 0.0)


def _number_of(text: str) -> str:
    """Which invariant an act found broken: what does not come in time has not converged."""
    if text.startswith("reported as done"):
        return "I2 "
    return "I3 " if text.startswith("not ") else "I1 " if "run" in text or "touched" in text else ""


def missing_for(scenario: Scenario) -> str:
    """What this machine lacks for it; "" when nothing."""
    if scenario.where == OWN and (lacking := lab.missing()):
        return lacking
    return "libfaketime" if scenario.needs_faketime and not find_faketime() else ""


@contextlib.contextmanager
def opened(cache: Path, scenarios: Sequence[Scenario]):
    """Grounds for these scenarios."""
    grounds = open_grounds(cache, with_bridge=any(one.where == OWN for one in scenarios))
    try:
        yield grounds
    finally:
        grounds.interrupted.set()
        grounds.close()
