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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.capture.models import train, write_graph, write_script
from bench.capture.serving import ROOT, Server, Wanted, serving
from bench.report import Report

Found = TypeVar("Found")
CONNECTIONS = (1, 16)
VARIANTS = ("off", "group", "ack")
BARS = {"score.py": 5.0, "onnx": 20.0}
"""Percent of processor time a request that captures may add."""
TURN_S = 0.1
"""Much shorter than a machine's moods. The disk is told of each turn once or twice, of a load in one go once
in so long: of the percents that captures cost, up to one is this."""
PATIENCE_S = 60.0
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


@dataclass(frozen=True)
class Round:
    """Of one runtime and number of connections, by how captures are kept."""

    slices: Mapping[str, Slice]
    turns: Mapping[str, Mapping[str, Spent]]
    """Each with a server without captures beside it."""
    whole: Mapping[str, Spent]
    """All that the servers `off` and `group` did until they were idle: segments are compressed when they are
    full, which few rounds see."""


def load(server: Server, bodies: Path, connections: int, seconds: int, core: int = -1) -> Slice:
    """What wrk says of so many seconds; a slice without a request is told, and run again."""

    def once() -> Slice | None:
        said = _read(_ask(server, bodies, connections, seconds, core))
        requests = int(said["requests"])
        return Slice(requests, requests / said["us"] * 1e6, said["p50"], said["p99"]) if requests else None

    return _until_asked(f"a slice of {seconds} s", once)


def take_turns(
    servers: Mapping[str, Server],
    bodies: Path,
    connections: int,
    seconds: int,
    dice: random.Random,
    core: int = -1,
) -> dict[str, Spent]:
    """What servers spend that are asked by turns, for so many seconds each; turns without a request are told,
    and run again."""

    def once() -> dict[str, Spent] | None:
        before = {name: server.busy_s() for name, server in servers.items()}
        asked = _ask_by_turns(servers, bodies, connections, seconds * len(servers), dice, core)
        spent = {name: Spent(asked[name], server.busy_s() - before[name]) for name, server in servers.items()}
        return spent if all(asked.values()) else None

    return _until_asked(f"turns of {seconds} s", once)


def _until_asked(what: str, once: Callable[[], Found | None]) -> Found:
    for _ in range(TRIES):
        if (found := once()) is not None:
            return found
        print(f"    {what} without a request: it is run again", flush=True)
    raise RuntimeError(f"{TRIES} times {what} without a request: the machine is too busy to measure on")


def _ask_by_turns(
    servers: Mapping[str, Server],
    bodies: Path,
    connections: int,
    seconds: int,
    dice: random.Random,
    core: int,
) -> dict[str, int]:
    """Requests of each. What asks one server is stopped while it is another one's turn."""
    gives_up = time.monotonic() + seconds + PATIENCE_S
    with ExitStack() as stack:
        asking = {}
        for name, server in servers.items():
            each = asking[name] = stack.enter_context(_ask(server, bodies, connections, seconds, core))
            stack.callback(each.kill)
            each.send_signal(signal.SIGSTOP)
        while left := [name for name, each in asking.items() if each.poll() is None]:
            if time.monotonic() > gives_up:
                raise RuntimeError(f"wrk has not ended {PATIENCE_S:g} s after its time")
            for name in dice.sample(left, len(left)):
                asking[name].send_signal(signal.SIGCONT)
                time.sleep(TURN_S)
                asking[name].send_signal(signal.SIGSTOP)
        return {name: int(_read(each)["requests"]) for name, each in asking.items()}


def settle(servers: Iterable[Server]) -> None:
    """They have finished what they do beside their answers, or a minute is over."""
    for server in servers:
        before, gives_up = -1.0, time.monotonic() + PATIENCE_S
        while server.busy_s() - before > QUIET_S / 100 and time.monotonic() < gives_up:
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
    found: dict[tuple[str, int], list[Round]] = defaultdict(list)
    for path in [path for _ in range(rounds) for path in dice.sample(list(writers), len(writers))]:
        with ExitStack() as stack:
            servers = {}
            for variant in VARIANTS:
                server = servers[variant] = stack.enter_context(
                    serving(models[path, variant], wanted[path, variant])
                )
                load(server, bodies, 16, 1, client_core)
            for connections in dice.sample(CONNECTIONS, len(CONNECTIONS)):
                found[path, connections].append(
                    _measure_round(servers, bodies, connections, seconds, dice, client_core)
                )
    for path in writers:
        for connections in CONNECTIONS:
            _tell(report, path, connections, found[path, connections])


def _measure_round(
    servers: Mapping[str, Server],
    bodies: Path,
    connections: int,
    seconds: int,
    dice: random.Random,
    core: int,
) -> Round:
    settle(servers.values())
    began = {variant: servers[variant].busy_s() for variant in ("off", "group")}
    slices = {
        variant: load(servers[variant], bodies, connections, seconds, core)
        for variant in dice.sample(VARIANTS, len(VARIANTS))
    }
    turns, whole = {}, {}
    for variant in VARIANTS[1:]:
        settle(servers.values())
        pair = {each: servers[each] for each in ("off", variant)}
        turns[variant] = take_turns(pair, bodies, connections, seconds, dice, core)
        if variant == "group":
            settle(pair.values())
            for each, server in pair.items():
                requests = slices[each].requests + turns[variant][each].requests
                whole[each] = Spent(requests, server.busy_s() - began[each])
    settle(servers.values())
    return Round(slices, turns, whole)


def _want(store: Path, variant: str, core: int) -> Wanted:
    if variant == "off":
        return Wanted(core=core)
    store.mkdir()
    return Wanted(core=core, captures=store, durability="" if variant == "group" else variant)


def _tell(report: Report, path: str, connections: int, rounds: Sequence[Round]) -> None:
    what = f"{path}, {connections} connection{'s' * (connections > 1)}"
    bare_us = [each.turns[variant]["off"].each_us for each in rounds for variant in VARIANTS[1:]]
    report.add(f"{what}: processor, captures off", statistics.median(bare_us), "us")
    per_s = statistics.median(each.slices["off"].per_s for each in rounds)
    report.add(f"{what}: requests a second, captures off", per_s, "1/s")
    for variant in VARIANTS[1:]:
        mode = "captures on" if variant == "group" else "durability ack"
        bar = 1 + BARS[path] / 100 if variant == "group" else None
        pairs = [each.turns[variant] for each in rounds]
        ratios = [pair[variant].each_us / pair["off"].each_us for pair in pairs]
        _add(report, f"{what}: processor, {mode}", ratios, bar)
        for name, field in (("requests a second", "per_s"), ("p50", "p50_us"), ("p99", "p99_us")):
            ratios = [
                getattr(each.slices[variant], field) / getattr(each.slices["off"], field) for each in rounds
            ]
            _add(report, f"{what}: {name}, {mode}", ratios)
    off, on = (_sum_up([each.whole[variant] for each in rounds]) for variant in ("off", "group"))
    report.add(f"{what}: processor, captures on and compressed", on.each_us / off.each_us, "x")


def _sum_up(spent: Sequence[Spent]) -> Spent:
    return Spent(sum(each.requests for each in spent), sum(each.busy_s for each in spent))


def _add(report: Report, what: str, ratios: Sequence[float], goal: float | None = None) -> None:
    report.add(what, statistics.median(ratios), "x", goal)
    print(f"    from {min(ratios):.2f} to {max(ratios):.2f}")
    for number, ratio in enumerate(ratios):
        report.point(what, number, ratio)
