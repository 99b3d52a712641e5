"""Rounds: everything that is compared has its turn in each, in an order thrown afresh."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.serving.load import Slice, ask_for
from bench.serving.servers import BenchError, Program, Server, free_ports

CONNECTIONS = (1, 16)
BODIES = "bodies.txt"
_ANSWERS_S = 0.3
"""How long a process that answers without a server is watched."""


@dataclass(frozen=True)
class Cores:
    """Which core serves, which asks."""

    server: int
    load: int


@dataclass
class Loaded:
    """Of each whole round, one figure."""

    slices: dict[tuple[str, int], list[Slice]] = field(default_factory=lambda: defaultdict(list))
    answers_us: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Processor time of an answer without a server, and of the model's part of it."""
    rounds: int = 0


@dataclass
class Started:
    """Of each whole round, one figure for each server."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    resident_mib: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    proportional_mib: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    rounds: int = 0


@dataclass(frozen=True)
class Alone:
    """A process that answers without a server, on the server's core: `inside/process.py`."""

    name: str
    python: Path
    arguments: tuple[str, ...]


class Answering:
    """A running one."""

    def __init__(self, alone: Alone, cpu: int) -> None:
        script = Path(__file__).parent / "inside" / "process.py"
        command = ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(cpu)]
        command += ["env", "OMP_NUM_THREADS=1", str(alone.python), "-I", str(script), *alone.arguments]
        self.alone = alone
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.times = 20

    def measure(self) -> tuple[float, float]:
        """(µs of an answer, µs of the model's part of it)."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.times}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise BenchError(f"{self.alone.name} without a server ended with {self.process.wait()}")
        answer, predict = (float(word) for word in line)
        self.times = max(20, int(_ANSWERS_S * 1e6 / (answer + predict)))
        return answer, predict

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def measure_load(
    all_programs: Sequence[Program],
    alone: Sequence[Alone],
    rounds: int,
    seconds: int,
    cores: Cores,
    found: Loaded,
) -> None:
    """Adds whole rounds to `found`; all servers are alive at once, and have answered right before."""
    with ExitStack() as stack:
        turns: list[tuple[str, int, Callable[[], object]]] = []
        for program in all_programs:
            server = Server(program, free_ports(), cores.server)
            stack.callback(server.stop)
            server.wait()
            server.check()
            bodies = server.log.with_name(BODIES)
            bodies.write_bytes(b"".join(program.ask([row]) + b"\n" for row in program.rows))
            for connections in CONNECTIONS:
                turn = partial(ask_for, server, bodies, connections, seconds, cores.load)
                turns.append((program.name, connections, turn))
        for each in alone:
            process = Answering(each, cores.server)
            stack.callback(process.stop)
            turns.append((each.name, 0, process.measure))
        for number in range(rounds + 1):
            random.shuffle(turns)
            seen = [(name, connections, turn()) for name, connections, turn in turns]
            if number == 0:  # all are warm from here on
                continue
            for name, connections, figures in seen:
                if isinstance(figures, Slice):
                    found.slices[name, connections].append(figures)
                elif isinstance(figures, tuple):
                    found.answers_us[name].append(figures)
            found.rounds += 1
            print(f"· round {number} of {rounds}", file=sys.stderr, flush=True)


def measure_start(all_programs: Sequence[Program], rounds: int, cores: Cores, found: Started) -> None:
    """Adds whole rounds to `found`: each server alone, from its start to an answer, then its memory."""
    for number in range(rounds + 1):
        seen = []
        for program in random.sample(all_programs, len(all_programs)):
            server = Server(program, free_ports(), cores.server)
            try:
                seconds = server.wait()
                server.check()
                seen.append((program.name, seconds, *server.memory_mib()))
            finally:
                server.stop()
        if number == 0:  # what it reads is in the page cache from here on
            continue
        for name, seconds, resident, proportional in seen:
            found.seconds[name].append(seconds)
            found.resident_mib[name].append(resident)
            found.proportional_mib[name].append(proportional)
        found.rounds += 1
        print(f"· start {number} of {rounds}", file=sys.stderr, flush=True)
