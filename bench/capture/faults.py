"""Disks that fail under load: every prediction is answered, and what could not be kept is counted."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.capture.models import Trained, train, write_graph
from bench.capture.serving import Server, Wanted, serving
from bench.report import Report, quantile
from tests.device.crowds import Answers, Audit, Captured, Crowd
from tests.device.disks import StallingDisk, fill, lacks_for_stalls

RATE = 300.0
CLIENTS = 8
P50_BAR, P99_BAR = 2.0, 5.0
"""How many times slower than without a fault answers may be that do not wait for the disk."""
BEFORE_S, FAULT_S, AFTER_S = 1.5, 3.0, 1.0
SETTLED_S = 20.0
FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


@dataclass
class Fault:
    """A place for a store, and what goes wrong there."""

    folder: Path
    begin: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None
    env: dict[str, str] = field(default_factory=dict)
    keeps: bool = True
    """Whether what was written can be read when it is over."""
    lasts_s: float = FAULT_S
    rate: float = RATE
    rows: int = 1
    """In each request."""


@contextlib.contextmanager
def none(root: Path) -> Iterator[Fault]:
    with _disk(root) as folder:
        yield Fault(folder)


@contextlib.contextmanager
def full(root: Path) -> Iterator[Fault]:
    """Something else takes all the room, and gives it back."""
    with _disk(root) as folder:
        yield Fault(folder, lambda: fill(folder.parent), lambda: (folder.parent / "filler").unlink())


@contextlib.contextmanager
def read_only(root: Path) -> Iterator[Fault]:
    """ext4 finds an error in itself and takes no more writes, as `errors=remount-ro` has it."""
    with _disk(root) as folder:
        device = Path(_mounted_from(folder.parent)).name
        trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
        yield Fault(folder, lambda: trigger.write_text("1"), keeps=False)


@contextlib.contextmanager
def missing(root: Path) -> Iterator[Fault]:
    """There is no folder, until one is made."""
    yield Fault(root / "missing", end=(root / "missing").mkdir)


@contextlib.contextmanager
def moved(root: Path) -> Iterator[Fault]:
    """The folder is moved away, and back."""
    here, there = root / "store", root / "elsewhere"
    here.mkdir()
    yield Fault(here, lambda: here.rename(there), lambda: there.rename(here))


@contextlib.contextmanager
def slow(root: Path) -> Iterator[Fault]:
    """Whatever is asked of the file system waits, 20 ms on average."""
    with StallingDisk(root) as disk:
        yield Fault(disk.folder, disk.slow_down, disk.calm)


@contextlib.contextmanager
def hanging(root: Path) -> Iterator[Fault]:
    """The file system does not answer."""
    with StallingDisk(root) as disk:
        yield Fault(disk.folder, disk.hang, disk.calm)


@contextlib.contextmanager
def flooded(root: Path) -> Iterator[Fault]:
    """The file system does not answer, and more is to be written than may wait."""
    with StallingDisk(root) as disk:
        yield Fault(disk.folder, disk.hang, disk.calm, lasts_s=10, rate=50, rows=400)


@contextlib.contextmanager
def throttled(root: Path) -> Iterator[Fault]:
    """The disk behind ext4 takes ten writes a second from the server, by its control group."""
    with _disk(root) as folder, _group() as (group, name, limit):
        device = Path(f"/sys/class/block/{Path(_mounted_from(folder.parent)).name}/dev").read_text().strip()

        def set_limit(writes: str) -> None:
            (group / name).write_text(limit.format(device=device, writes=writes))

        fault = Fault(
            folder, lambda: set_limit("10"), lambda: set_limit("0" if "throttle" in name else "max")
        )
        fault.env["BENCH_GROUP"] = str(group / "cgroup.procs")
        yield fault


@contextlib.contextmanager
def clock(root: Path) -> Iterator[Fault]:
    """The wall clock jumps by days, to and fro."""
    (root / "store").mkdir()
    said = root / "clock"
    said.write_text("+0")
    library = next(each for each in FAKETIME if os.path.exists(each))
    env = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(said),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def jump() -> None:
        for step in ("+3d", "-9000d", "+20y", "-1s"):
            said.write_text(step)
            time.sleep(FAULT_S / 5)

    yield Fault(root / "store", jump, lambda: said.write_text("+0"), env)


FAULTS = {
    each.__name__: each
    for each in (none, full, read_only, missing, moved, slow, hanging, flooded, throttled, clock)
}


def measure_faults(scratch: Path, report: Report, durability: str, only: list[str]) -> None:
    """Each fault in turn, of a server of its own, in the middle of a load of 300 requests a second."""
    trained = train("nyc_taxi")
    model = write_graph(trained, scratch / "faults-model")
    for name, make in FAULTS.items():
        if only and name not in only and name != "none":
            continue
        lacking = _lacks(name)
        if lacking:
            print(f"    {name}: left out: {lacking}")
            continue
        root = scratch / f"fault-{name}-{durability or 'group'}"
        root.mkdir()
        what = f"{name}, {durability or 'group'}"
        with make(root) as fault:
            before, meanwhile = _suffer(model, trained, fault, report, what, durability)
        if name == "none":
            continue
        for share, bar in ((0.5, P50_BAR), (0.99, P99_BAR)):
            calm, found = quantile(before, share), quantile(meanwhile, share)
            report.add(f"{what}: p{share * 100:g} meanwhile", found * 1000, "ms")
            goal = bar if not durability else None
            report.add(f"{what}: p{share * 100:g} meanwhile, against before", found / calm, "x", goal)


def _suffer(
    model: Path, trained: Trained, fault: Fault, report: Report, what: str, durability: str
) -> tuple[list[float], list[float]]:
    """How long answers took before, and while it lasted, seconds."""
    wanted = Wanted(captures=fault.folder, durability=durability, env=tuple(fault.env.items()))
    total = int(fault.rate * (BEFORE_S + fault.lasts_s + AFTER_S))
    body = partial(trained.body, rows=fault.rows)
    with serving(model, wanted) as server:
        if group := fault.env.get("BENCH_GROUP"):
            Path(group).write_text(str(server.process.pid))
        crowd = Crowd(server.port, body, clients=CLIENTS, most=total, rate=fault.rate, prefix="f")
        time.sleep(BEFORE_S)
        memory, began = server.memory_mib(), time.monotonic()
        fault.begin()
        time.sleep(max(0.0, began + fault.lasts_s - time.monotonic()))
        memory, ended = server.memory_mib() - memory, time.monotonic()
        fault.end()
        said = crowd.wait()
        health, counts = _settle(server, len(said.good))
        audit, captured = (
            Audit(partial(trained.asked, rows=fault.rows), partial(trained.right, rows=fault.rows)),
            Captured(server.pages_port),
        )
        days = set()
        for record in captured.read():
            audit.add(record, {said.prefix: said})
            days.add(record.at[:10])
        if group:
            Path(group).parent.parent.joinpath("cgroup.procs").write_text(str(server.process.pid))
    _tell(report, what, fault, total, said, health, counts, audit)
    if what.startswith("clock"):
        report.add(f"{what}: days that records name", len(days), "")
    report.add(f"{what}: memory meanwhile, over before", memory, "MiB")
    before = [took for due, took in said.took if began - BEFORE_S * 0.7 <= due < began]
    return before, [took for due, took in said.took if began <= due < ended] or [0.0]


def _tell(
    report: Report,
    what: str,
    fault: Fault,
    total: int,
    said: Answers,
    health: dict[str, int],
    counts: dict[str, int],
    audit: Audit,
) -> None:
    good = len(said.good)
    report.add(f"{what}: not answered, of {total}", total - good, "", goal=0)
    report.add(f"{what}: dropped", health["dropped"], "")
    uncounted = abs(good - health["written"] - health["dropped"])
    report.add(f"{what}: answers neither written nor dropped", uncounted, "", goal=0)
    report.add(
        f"{what}: countCaptures counts other drops", abs(counts["dropped"] - health["dropped"]), "", goal=0
    )
    unread = abs(health["written"] - counts["user"] - counts["expired"])
    report.add(f"{what}: written and not counted", unread, "", goal=0 if fault.keeps else None)
    unread = abs(health["written"] - len(audit.seen) - counts["expired"])
    report.add(f"{what}: written and not read", unread, "", goal=0 if fault.keeps else None)
    report.add(f"{what}: read twice or not right", len(audit.twice()) + len(audit.wrong), "", goal=0)
    for name, count in said.failures.items():
        print(f"    {count} x {name}")
    for problem in [*audit.twice(), *audit.wrong][:4]:
        print(f"    {problem}")


def _settle(server: Server, answered: int) -> tuple[dict[str, int], dict[str, int]]:
    """What is said of captures once all of them are told, or no longer change."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        health = server.said()
        if health["written"] + health["dropped"] == answered or time.monotonic() > deadline:
            return health, server.counts()
        time.sleep(0.1)


@contextlib.contextmanager
def _disk(root: Path, size: str = "24M") -> Iterator[Path]:
    """A folder on an ext4 of its own, in a file."""
    image, place = root / "image", root / "disk"
    place.mkdir()
    subprocess.run(["truncate", "-s", size, str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", "nodiscard", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(place)], check=True)
    try:
        (place / "captures").mkdir()
        yield place / "captures"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mounted_from(place: Path) -> str:
    for line in Path("/proc/mounts").read_text().splitlines():
        device, folder, *_ = line.split()
        if folder == str(place):
            return device
    raise AssertionError(f"{place} is not mounted")


def _limits() -> tuple[Path, str, str] | None:
    """(where control groups are, the file that limits writes, what is written there), of cgroup 1 or 2."""
    for place, mark, name, limit in (
        ("/sys/fs/cgroup/blkio", "tasks", "blkio.throttle.write_iops_device", "{device} {writes}"),
        ("/sys/fs/cgroup", "cgroup.subtree_control", "io.max", "{device} wiops={writes}"),
    ):
        told = Path(place, mark)
        if told.exists() and (mark == "tasks" or "io" in told.read_text().split()):
            return Path(place), name, limit
    return None


@contextlib.contextmanager
def _group() -> Iterator[tuple[Path, str, str]]:
    """(a control group of its own, the file that limits writes, what is written there)."""
    limits = _limits()
    assert limits is not None
    place, name, limit = limits
    group = place / f"bench-capture-{os.getpid()}"
    group.mkdir()
    try:
        yield group, name, limit
    finally:
        group.rmdir()


def _lacks(name: str) -> str:
    """Why this machine cannot have the fault; "" when it can."""
    if name in ("missing", "moved"):
        return ""
    if name in ("slow", "hanging", "flooded"):
        return lacks_for_stalls()
    if name == "clock":
        return "" if any(map(os.path.exists, FAKETIME)) else "needs the package faketime"
    if os.geteuid() != 0:
        return "only root may mount"
    if name == "throttled" and _limits() is None:
        return "no control group limits writes"
    return "" if shutil.which("mkfs.ext4") else "needs the package e2fsprogs"
