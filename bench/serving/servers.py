"""A server as processes on one core: started, asked, measured, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Rows = Sequence[Sequence[float]]

_TICKS = os.sysconf("SC_CLK_TCK")
_START_S = 120.0
_STOP_S = 10.0


class BenchError(Exception):
    """The bench cannot measure what it is to measure."""


@dataclass(frozen=True)
class Program:
    """How one server is started and how it is asked."""

    name: str
    command: tuple[str, ...]
    """`{port}` and `{port+1}` … stand for ports nobody else uses."""
    path: str
    ask: Callable[[Rows], bytes]
    """The body of a request about rows."""
    read: Callable[[bytes], list[float]]
    """The answers in a reply."""
    rows: Rows
    answers: Sequence[float] | None
    """What is right for the rows; None where anything is."""
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()
    """Where it runs; its log goes there."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Written there before the start; with ports as in the command."""


class Server:
    """A running one; ends with `stop`, or when the bench's own process does."""

    def __init__(self, program: Program, port: int, cpu: int) -> None:
        self.program = program
        self.port = port
        folder = program.folder / program.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in program.files.items():
            (folder / name).write_text(_put_ports(text, port))
        self.log = folder / "log"
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EDGEFERRY"))
        }
        env |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | dict(program.env)
        command = ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(cpu)]
        command += [_put_ports(word, port) for word in program.command]
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.program.path}"

    def wait(self) -> float:
        """Seconds from its start to the first 200; BenchError when it ends before, or none comes."""
        body = self.program.ask(self.program.rows[:1])
        while time.monotonic() < self.began + _START_S:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = self._post(body)
                if status == 200:
                    return time.monotonic() - self.began
            if self.process.poll() is not None:
                raise BenchError(f"{self.program.name} ended with {self.process.returncode}: {self._tail()}")
            time.sleep(0.003)
        raise BenchError(f"{self.program.name} did not answer within {_START_S:g} s: {self._tail()}")

    def check(self) -> None:
        """BenchError when an answer to one row, or to all of them at once, is not the right one."""
        if self.program.answers is None:
            return
        rows, right = self.program.rows, list(self.program.answers)
        found = [answer for row in rows[:20] for answer in self._answers([row])]
        for answers, wanted in ((found, right[:20]), (self._answers(rows), right)):
            if len(answers) != len(wanted) or not all(map(_near, answers, wanted)):
                raise BenchError(f"{self.program.name} answers {answers[:3]}…, right is {wanted[:3]}…")

    def _answers(self, rows: Rows) -> list[float]:
        status, reply = self._post(self.program.ask(rows))
        if status != 200:
            raise BenchError(f"{self.program.name} answers {status}: {reply[:300]!r}")
        try:
            return self.program.read(reply)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BenchError(f"{self.program.name} answers {reply[:300]!r}: {error!r}") from error

    def busy_s(self) -> float:
        """Processor seconds so far, of it and of all processes it started, those that ended too."""
        total = 0
        for process in self._tree():
            with contextlib.suppress(OSError):
                total += sum(int(field) for field in _stat(process)[11:15])
        return total / _TICKS

    def memory_mib(self) -> tuple[float, float]:
        """(resident, proportional) memory of it and of all processes it started."""
        resident = proportional = 0
        for process in self._tree():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
                said = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
                resident += said["Rss"]
                proportional += said["Pss"]
        return resident / 1024, proportional / 1024

    def stop(self) -> None:
        """Ends it and whatever it started, by force when it takes too long."""
        tree = self._tree()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in tree[1:]:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def _tree(self) -> list[int]:
        """It, and all that descend from it."""
        parents: dict[int, int] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(entry)] = int(_stat(int(entry))[1])
        tree = [self.process.pid]
        for process in tree:
            tree += [child for child, parent in parents.items() if parent == process]
        return tree

    def _post(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", self.program.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _tail(self) -> str:
        return f"{self.log} says …{self.log.read_text('utf-8', 'replace')[-1500:]}"


def ask_rows(rows: Rows) -> bytes:
    """The body that Azure ML's server and ours take."""
    return json.dumps({"data": [list(row) for row in rows]}).encode()


def free_ports() -> int:
    """The first of a server's five neighbouring ports that nobody listens on just now."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in range(first, first + 5):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def _near(answer: float, right: float) -> bool:
    return math.isclose(answer, right, rel_tol=1e-6, abs_tol=1e-9)


def _put_ports(text: str, port: int) -> str:
    for more in range(1, 5):
        text = text.replace(f"{{port+{more}}}", str(port + more))
    return text.replace("{port}", str(port))


def _stat(process: int) -> list[str]:
    """The fields after the name: state, parent, …"""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
