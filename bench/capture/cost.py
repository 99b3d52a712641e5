"""What a request costs with captures on and off: the same server, in pairs of slices, in shuffled order."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
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


TRIES = 5
"""How often a slice is run until wrk reports a request: on a busy machine it may get none in its time."""


@dataclass(frozen=True)
class Slice:
    """A short load of one server."""

    requests: int
    cpu_us: float
    """A request."""
    per_s: float
    p50_us: float
    p99_us: float


def load(server: Server, bodies: Path, connections: int, seconds: int, core: int = -1) -> Slice:
    """What wrk says of so many seconds; a slice without a request is told, and run again."""
    program = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(ROOT / "bench/capture/wrk.lua")]
    if core >= 0:
        program = ["taskset", "--cpu-list", str(core), *program]
    for _ in range(TRIES):
        before = server.busy_s()
        done = subprocess.run(
            [*program, f"http://127.0.0.1:{server.port}/score"],
            env={**os.environ, "BODIES": str(bodies)},
            capture_output=True,
            text=True,
            check=True,
        )
        busy = server.busy_s() - before
        said = json.loads(done.stdout.strip().splitlines()[-1])
        assert not said["errors"], done.stdout
        if requests := said["requests"]:
            each_us = busy / requests * 1e6
            return Slice(requests, each_us, requests / said["us"] * 1e6, said["p50"], said["p99"])
        print("    a slice without a request: it is run again", flush=True)
    raise RuntimeError(
        f"{TRIES} slices of {seconds} s without a request: the machine is too busy to measure on"
    )


def measure_cost(scratch: Path, report: Report, rounds: int, seconds: int) -> None:
    """Processor time a request, requests a second and latency; medians of the ratios of a round."""
    trained = train("nyc_taxi")
    bodies = scratch / "bodies"
    bodies.write_bytes(b"\n".join(trained.body(number) for number in range(10_000)) + b"\n")
    cores = os.cpu_count() or 1
    server_core, client_core = (0, cores - 1) if cores > 1 else (-1, -1)
    writers = {"score.py": write_script, "onnx": write_graph}
    dice = random.Random(1)
    found: dict[tuple[str, str, int], list[Slice]] = {}
    with ExitStack() as stack:
        servers = {}
        for path, write in writers.items():
            for variant in VARIANTS:
                store = scratch / f"captures-{path}-{variant}"
                store.mkdir()
                on = {"captures": store, "durability": "" if variant == "group" else variant}
                wanted = Wanted(core=server_core, **({} if variant == "off" else on))  # type: ignore[arg-type]
                model = write(trained, scratch / f"model-{path}-{variant}")
                server = servers[path, variant] = stack.enter_context(serving(model, wanted))
                load(server, bodies, 16, 1, client_core)
        began = {each: server.busy_s() for each, server in servers.items()}
        for _ in range(rounds):
            blocks = [(path, connections) for path in writers for connections in CONNECTIONS]
            dice.shuffle(blocks)
            for path, connections in blocks:
                for variant in dice.sample(VARIANTS, len(VARIANTS)):
                    done = load(servers[path, variant], bodies, connections, seconds, client_core)
                    found.setdefault((path, variant, connections), []).append(done)
        spent = {each: server.busy_s() - began[each] for each, server in servers.items()}
    for path in writers:
        for connections in CONNECTIONS:
            _tell(report, path, connections, found)
        _tell_beside(report, path, found, spent)


def _tell(
    report: Report, path: str, connections: int, found: dict[tuple[str, str, int], list[Slice]]
) -> None:
    off = found[path, "off", connections]
    what = f"{path}, {connections} connection{'s' * (connections > 1)}"
    report.add(f"{what}: processor, captures off", statistics.median(each.cpu_us for each in off), "us")
    report.add(
        f"{what}: requests a second, captures off", statistics.median(each.per_s for each in off), "1/s"
    )
    for variant in VARIANTS[1:]:
        on = found[path, variant, connections]
        mode = "captures on" if variant == "group" else "durability ack"
        for name, field, goal in (
            ("processor", "cpu_us", 1 + BARS[path] / 100 if variant == "group" else None),
            ("requests a second", "per_s", None),
            ("p50", "p50_us", None),
            ("p99", "p99_us", None),
        ):
            ratios = [getattr(mine, field) / getattr(bare, field) for mine, bare in zip(on, off, strict=True)]
            report.add(f"{what}: {name}, {mode}", statistics.median(ratios), "x", goal)
            print(f"    from {min(ratios):.2f} to {max(ratios):.2f}")
            for number, ratio in enumerate(ratios):
                report.point(f"{what}: {name}, {mode}", number, ratio)


def _tell_beside(
    report: Report,
    path: str,
    found: dict[tuple[str, str, int], list[Slice]],
    spent: dict[tuple[str, str], float],
) -> None:
    """What was done outside of the slices: closed segments are packed when there is time."""
    for variant in VARIANTS[1:]:
        slices = [each for count in CONNECTIONS for each in found[path, variant, count]]
        requests = sum(each.requests for each in slices)
        beside = spent[path, variant] - sum(each.cpu_us * each.requests for each in slices) / 1e6
        mode = "captures on" if variant == "group" else "durability ack"
        report.add(f"{path}: processor between the slices, {mode}", beside / requests * 1e6, "us")
