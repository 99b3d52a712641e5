"""What a request costs with captures on and off: the same server, in slices, in shuffled order.

Requests a second and latencies are of slices of a second. Processor time is of slices that servers share in
short turns: a machine whose speed changes from second to second changes it for all of them. In each round the
servers are new ones: where a process lies in memory makes it faster or slower by some percent.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.capture.models import train, write_graph, write_script
from bench.capture.serving import ROOT, Server, Wanted, serving
from bench.report import Report

CONNECTIONS = (1, 16)
VARIANTS = ("off", "group", "ack")
BARS = {"score.py": 5.0, "onnx": 20.0}
"""Percent of processor time a request that captures may add."""
TURN_S = 0.1
"""Much shorter than a machine's moods, and long enough that a disk is told of it as often as in one go."""
QUIET_S = 0.5
TRIES = 5
"""How often a slice is run until wrk reports a request: on a busy machine it may get none in its time."""


@dataclass(frozen=True)
class Slice:
    """A short load of one server."""

    requests: int
    per_s: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Spent:
    """What a server did in its turns."""

    requests: int
    busy_s: float

    @property
    def each_us(self) -> float:
        """Processor time of a request."""
        return self.busy_s / self.requests * 1e6


def load(server: Server, bodies: Path, connections: int, seconds: int, core: int = -1) -> Slice:
    """What wrk says of so many seconds; a slice without a request is told, and run again."""
    for _ in range(TRIES):
        said = _read(_ask(server, bodies, connections, seconds, core))
        if requests := said["requests"]:
            return Slice(int(requests), requests / said["us"] * 1e6, said["p50"], said["p99"])
        print("    a slice without a request: it is run again", flush=True)
    raise RuntimeError(
        f"{TRIES} slices of {seconds} s without a request: the machine is too busy to measure on"
    )


def take_turns(
    servers: Mapping[str, Server],
    bodies: Path,
    connections: int,
    seconds: int,
    dice: random.Random,
    core: int = -1,
) -> dict[str, Spent]:
    """What servers spend that are asked by turns, for so many seconds each: what asks one is stopped while it
    is another one's turn."""
    before = {name: server.busy_s() for name, server in servers.items()}
    all_s = seconds * len(servers)
    asking = {name: _ask(server, bodies, connections, all_s, core) for name, server in servers.items()}
    try:
        for each in asking.values():
            each.send_signal(signal.SIGSTOP)
        ends = time.monotonic() + all_s
        while time.monotonic() < ends:
            for name in dice.sample(list(asking), len(asking)):
                asking[name].send_signal(signal.SIGCONT)
                time.sleep(TURN_S)
                asking[name].send_signal(signal.SIGSTOP)
    finally:
        for each in asking.values():
            each.send_signal(signal.SIGCONT)
    requests = {name: int(_read(each)["requests"]) for name, each in asking.items()}
    return {name: Spent(requests[name], server.busy_s() - before[name]) for name, server in servers.items()}


def settle(server: Server) -> None:
    """The server has finished what it does beside its answers."""
    before = -1.0
    while server.busy_s() - before > QUIET_S / 100:
        before = server.busy_s()
        time.sleep(QUIET_S)


def _ask(server: Server, bodies: Path, connections: int, seconds: int, core: int) -> subprocess.Popen[str]:
    program = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(ROOT / "bench/capture/wrk.lua")]
    if core >= 0:
        program = ["taskset", "--cpu-list", str(core), *program]
    return subprocess.Popen(
        [*program, f"http://127.0.0.1:{server.port}/score"],
        env={**os.environ, "BODIES": str(bodies)},
        stdout=subprocess.PIPE,
        text=True,
    )


def _read(asking: subprocess.Popen[str]) -> dict[str, float]:
    printed, _ = asking.communicate()
    assert not asking.returncode, printed
    said: dict[str, float] = json.loads(printed.strip().splitlines()[-1])
    assert not said["errors"], printed
    return said


def measure_cost(scratch: Path, report: Report, rounds: int, seconds: int) -> None:
    """Processor time a request, requests a second and latency; medians of the ratios of a round."""
    trained = train("nyc_taxi")
    bodies = scratch / "bodies"
    bodies.write_bytes(b"\n".join(trained.body(number) for number in range(10_000)) + b"\n")
    cores = os.cpu_count() or 1
    server_core, client_core = (0, cores - 1) if cores > 1 else (-1, -1)
    writers = {"score.py": write_script, "onnx": write_graph}
    wanted = {
        (path, variant): _want(scratch / f"captures-{path}-{variant}", variant, server_core)
        for path in writers
        for variant in VARIANTS
    }
    models = {
        (path, variant): write(trained, scratch / f"model-{path}-{variant}")
        for path, write in writers.items()
        for variant in VARIANTS
    }
    dice = random.Random(1)
    slices: dict[tuple[str, int, str], list[Slice]] = defaultdict(list)
    turns: dict[tuple[str, int, str], list[tuple[Spent, Spent]]] = defaultdict(list)
    """Of a server without captures, and of the one beside it with them."""
    whole: dict[tuple[str, str], list[Spent]] = defaultdict(list)
    for path in [path for _ in range(rounds) for path in dice.sample(list(writers), len(writers))]:
        with ExitStack() as stack:
            servers = {}
            for variant in VARIANTS:
                server = servers[variant] = stack.enter_context(
                    serving(models[path, variant], wanted[path, variant])
                )
                load(server, bodies, 16, 1, client_core)
            began = {variant: server.busy_s() for variant, server in servers.items()}
            asked = dict.fromkeys(VARIANTS, 0)
            for connections in dice.sample(CONNECTIONS, len(CONNECTIONS)):
                for variant in dice.sample(VARIANTS, len(VARIANTS)):
                    done = load(servers[variant], bodies, connections, seconds, client_core)
                    slices[path, connections, variant].append(done)
                    asked[variant] += done.requests
                for variant in VARIANTS[1:]:
                    pair = {each: servers[each] for each in ("off", variant)}
                    spent = take_turns(pair, bodies, connections, seconds, dice, client_core)
                    turns[path, connections, variant].append((spent["off"], spent[variant]))
                    for each in pair:
                        asked[each] += spent[each].requests
            for variant, server in servers.items():
                settle(server)
                whole[path, variant].append(Spent(asked[variant], server.busy_s() - began[variant]))
    for path in writers:
        for connections in CONNECTIONS:
            _tell(
                report,
                path,
                connections,
                {variant: slices[path, connections, variant] for variant in VARIANTS},
                {variant: turns[path, connections, variant] for variant in VARIANTS[1:]},
            )
        _tell_all(report, path, whole[path, "off"], whole[path, "group"])


def _want(store: Path, variant: str, core: int) -> Wanted:
    if variant == "off":
        return Wanted(core=core)
    store.mkdir()
    return Wanted(core=core, captures=store, durability="" if variant == "group" else variant)


def _tell(
    report: Report,
    path: str,
    connections: int,
    slices: Mapping[str, Sequence[Slice]],
    turns: Mapping[str, Sequence[tuple[Spent, Spent]]],
) -> None:
    what = f"{path}, {connections} connection{'s' * (connections > 1)}"
    for name, values, unit in (
        ("processor", [off.each_us for pairs in turns.values() for off, _ in pairs], "us"),
        ("requests a second", [each.per_s for each in slices["off"]], "1/s"),
    ):
        report.add(f"{what}: {name}, captures off", statistics.median(values), unit)
    for variant, pairs in turns.items():
        mode = "captures on" if variant == "group" else "durability ack"
        bar = 1 + BARS[path] / 100 if variant == "group" else None
        ratios = [on.each_us / off.each_us for off, on in pairs]
        _add(report, f"{what}: processor, {mode}", ratios, bar)
        for name, field in (("requests a second", "per_s"), ("p50", "p50_us"), ("p99", "p99_us")):
            beside = zip(slices[variant], slices["off"], strict=True)
            ratios = [getattr(mine, field) / getattr(bare, field) for mine, bare in beside]
            _add(report, f"{what}: {name}, {mode}", ratios)


def _tell_all(report: Report, path: str, off: Sequence[Spent], on: Sequence[Spent]) -> None:
    """All that the servers did: segments that are full are compressed in few of the rounds, or between."""
    bare, mine = (
        sum(each.busy_s for each in side) / sum(each.requests for each in side) for side in (off, on)
    )
    report.add(f"{path}: processor, captures on, segments compressed", mine / bare, "x")


def _add(report: Report, what: str, ratios: Sequence[float], goal: float | None = None) -> None:
    report.add(what, statistics.median(ratios), "x", goal)
    print(f"    from {min(ratios):.2f} to {max(ratios):.2f}")
    for number, ratio in enumerate(ratios):
        report.point(what, number, ratio)
