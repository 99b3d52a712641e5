"""What a request costs with captures on and off: one server, which switches them.

Requests a second and latencies are of slices of a second. Processor time is of short turns of one load: a
machine whose speed changes from second to second changes it for both. In each round the servers are new ones:
where a process lies in memory makes captures cost more or less.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.capture import switched
from bench.capture.models import train, write_graph, write_script
from bench.capture.serving import ROOT, Server, Wanted, serving
from bench.report import Report
from edgeferry.device.modules.segment_closing import compress_closed
from edgeferry.wire.capture import render_segment_name

Found = TypeVar("Found")
CONNECTIONS = (1, 16)
BARS = {"score.py": 5.0, "onnx": 20.0}
"""Percent of processor time a request that captures may add."""
TURN_S = 0.25
"""Much shorter than a machine's moods. A turn's last records are put on the disk in the next one, without
captures: of the percents that they cost, 0.1 at most is missing."""
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

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.requests + other.requests, self.busy_s + other.busy_s)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.requests - other.requests, self.busy_s - other.busy_s)

    @property
    def each_us(self) -> float:
        """Processor time of a request."""
        return self.busy_s / self.requests * 1e6


@dataclass(frozen=True)
class Round:
    """Of one runtime, number of connections and durability: captures off, and on."""

    slices: Mapping[bool, Slice]
    turns: Mapping[bool, Spent]
    compressed_us: float
    """Processor time of compressing a record; segments are compressed when they are full, which no round
    sees."""

    def ratio(self, field: str) -> float:
        """On by off, of the slices."""
        on, off = (float(getattr(self.slices[is_on], field)) for is_on in (True, False))
        return on / off


def load(server: Server, bodies: Path, connections: int, seconds: int, core: int = -1) -> Slice:
    """What wrk says of so many seconds; a slice without a request is told, and run again."""

    def once() -> Slice | None:
        said = _read(_ask(server, bodies, connections, seconds, core))
        requests = int(said["requests"])
        return Slice(requests, requests / said["us"] * 1e6, said["p50"], said["p99"]) if requests else None

    return _until_asked(f"a slice of {seconds} s", once)


class Switch:
    """Of a server that runs `bench.capture.switched`."""

    def __init__(self, server: Server, marks: Path) -> None:
        self._server = server
        self._marks = marks
        self.is_on = True

    def turn(self, is_on: bool) -> None:
        """Captures are on, or off, from now on."""
        if is_on != self.is_on:
            self.flip()

    def flip(self) -> Spent:
        """Captures are on if they were off, and the other way; what the server did until then. RuntimeError
        when it does not switch."""
        before = len(self._lines())
        os.kill(self._server.process.pid, signal.SIGUSR1)
        gives_up = time.monotonic() + PATIENCE_S
        while len(lines := self._lines()) == before:
            if time.monotonic() > gives_up:
                raise RuntimeError(f"the server has not switched within {PATIENCE_S:g} s")
            time.sleep(0.001)
        is_on, busy_ns, answered = map(int, lines[-1].split())
        self.is_on = bool(is_on)
        return Spent(answered, busy_ns / 1e9)

    def _lines(self) -> list[str]:
        """The whole ones."""
        text = self._marks.read_text() if self._marks.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()


def take_turns(
    server: Server, switch: Switch, bodies: Path, connections: int, seconds: int, core: int = -1
) -> dict[bool, Spent]:
    """What a request takes with captures off and on, by turns, for so many seconds each; turns without a
    request are told, and run again. They are on afterwards, if they were before."""

    def once() -> dict[bool, Spent] | None:
        spent = {False: Spent(0, 0.0), True: Spent(0, 0.0)}
        with _ask(server, bodies, connections, 2 * seconds + 60, core) as asking:
            try:
                time.sleep(TURN_S)
                before = switch.flip()
                for _ in range(2 * round(seconds / TURN_S)):
                    time.sleep(TURN_S)
                    was_on, now = switch.is_on, switch.flip()
                    spent[was_on] += now - before
                    before = now
                switch.flip()
                asking.send_signal(signal.SIGINT)
                _read(asking)
            finally:
                asking.kill()
        return spent if all(each.requests for each in spent.values()) else None

    return _until_asked(f"turns of {seconds} s", once)


def _until_asked(what: str, once: Callable[[], Found | None]) -> Found:
    for _ in range(TRIES):
        if (found := once()) is not None:
            return found
        print(f"    {what} without a request: it is run again", flush=True)
    raise RuntimeError(f"{TRIES} times {what} without a request: the machine is too busy to measure on")


def settle(server: Server) -> None:
    """It has finished what it does beside its answers, or a minute is over."""
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


def measure_cost(
    scratch: Path, report: Report, rounds: int, seconds: int, durabilities: Sequence[str]
) -> None:
    """Processor time a request, requests a second and latency; medians of the ratios of a round."""
    trained = train("nyc_taxi")
    bodies = scratch / "bodies"
    bodies.write_bytes(b"\n".join(trained.body(number) for number in range(10_000)) + b"\n")
    cores = os.cpu_count() or 1
    server_core, client_core = (0, cores - 1) if cores > 1 else (-1, -1)
    writers = {"score.py": write_script, "onnx": write_graph}
    models = {path: write(trained, scratch / f"model-{path}") for path, write in writers.items()}
    dice = random.Random(1)
    found: dict[tuple[str, int, str], list[Round]] = defaultdict(list)
    kinds = [(path, most, kept) for path in writers for most in CONNECTIONS for kept in durabilities]
    for number, kind in enumerate([kind for _ in range(rounds) for kind in dice.sample(kinds, len(kinds))]):
        path, connections, durability = kind
        store = scratch / f"captures-{number}"
        wanted = Wanted(
            captures=store,
            durability="" if durability == "group" else durability,
            core=server_core,
            env=((switched.MARKS, str(scratch / f"marks-{number}")),),
            program=switched.__name__,
        )
        found[kind].append(
            _measure_round(models[path], wanted, bodies, connections, seconds, dice, client_core)
        )
    for path in writers:
        for connections in CONNECTIONS:
            _tell(report, path, connections, {kept: found[path, connections, kept] for kept in durabilities})


def _measure_round(
    model: Path,
    wanted: Wanted,
    bodies: Path,
    connections: int,
    seconds: int,
    dice: random.Random,
    core: int,
) -> Round:
    assert wanted.captures is not None
    wanted.captures.mkdir()
    slices: dict[bool, Slice] = {}
    with serving(model, wanted) as server:
        switch = Switch(server, Path(dict(wanted.env)[switched.MARKS]))
        load(server, bodies, 16, 1, core)
        for is_on in dice.sample((False, True), 2):
            switch.turn(is_on)
            load(server, bodies, 16, 1, core)
            settle(server)
            slices[is_on] = load(server, bodies, connections, seconds, core)
        switch.turn(True)
        settle(server)
        turns = take_turns(server, switch, bodies, connections, seconds, core)
    return Round(slices, turns, _compress(wanted.captures))


def _compress(store: Path) -> float:
    """Processor microseconds that compressing a record takes."""
    (store / render_segment_name(10**9)).touch()  # the newest segment stays as it is
    segments = [each for each in store.iterdir() if each.stat().st_size]
    if len(segments) > 1:
        raise RuntimeError("a segment was closed and compressed amid the turns: ask for fewer --seconds")
    records = segments[0].read_bytes().count(b"\n[")
    began = time.process_time()
    compress_closed(store, lambda: False)
    return (time.process_time() - began) / records * 1e6


def _tell(report: Report, path: str, connections: int, found: Mapping[str, Sequence[Round]]) -> None:
    what = f"{path}, {connections} connection{'s' * (connections > 1)}"
    every = [each for rounds in found.values() for each in rounds]
    bare_us = statistics.median(each.turns[False].each_us for each in every)
    report.add(f"{what}: processor, captures off", bare_us, "us")
    per_s = statistics.median(each.slices[False].per_s for each in every)
    report.add(f"{what}: requests a second, captures off", per_s, "1/s")
    for durability, rounds in found.items():
        mode = "captures on" if durability == "group" else "durability ack"
        bar = 1 + BARS[path] / 100 if durability == "group" else None
        ratios = [each.turns[True].each_us / each.turns[False].each_us for each in rounds]
        _add(report, f"{what}: processor, {mode}", ratios, bar)
        for name, field in (("requests a second", "per_s"), ("p50", "p50_us"), ("p99", "p99_us")):
            _add(report, f"{what}: {name}, {mode}", [each.ratio(field) for each in rounds])
        if durability == "group":
            ratios = [
                ratio + each.compressed_us / bare_us for ratio, each in zip(ratios, rounds, strict=True)
            ]
            _add(report, f"{what}: processor, captures on and compressed", ratios)


def _add(report: Report, what: str, ratios: Sequence[float], goal: float | None = None) -> None:
    report.add(what, statistics.median(ratios), "x", goal)
    print(f"    from {min(ratios):.2f} to {max(ratios):.2f}")
    for number, ratio in enumerate(ratios):
        report.point(what, number, ratio)
