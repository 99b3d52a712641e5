"""Requests as fast as they are answered, from `wrk` on a core of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving.servers import BenchError, Server

_SCRIPT = Path(__file__).parent / "inside" / "load.lua"


@dataclass(frozen=True)
class Slice:
    """What came of some seconds of requests to one server."""

    rate: float
    """Requests a second."""
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The server's processor time for one request."""


def ask_for(server: Server, bodies: Path, connections: int, seconds: int, cpu: int) -> Slice:
    """One slice; BenchError when any request failed: a server that refuses is fast."""
    before = server.busy_s()
    said = _run(server.url, bodies, connections, seconds, cpu)
    spent = server.busy_s() - before
    failed = {name: said[name] for name in ("status", "connect", "read", "write", "timeout") if said[name]}
    if failed or not said["requests"]:
        raise BenchError(
            f"{server.program.name}, {connections} connections: {said['requests']} answers, {failed}"
        )
    return Slice(
        rate=said["requests"] / said["microseconds"] * 1e6,
        p50_ms=said["p50"] / 1000,
        p99_ms=said["p99"] / 1000,
        cpu_us=spent / said["requests"] * 1e6,
    )


def _run(url: str, bodies: Path, connections: int, seconds: int, cpu: int) -> dict[str, Any]:
    command = ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(cpu), "wrk"]
    command += ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "10s", "--script", str(_SCRIPT), url, "--", str(bodies)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise BenchError(f"wrk said nothing of {url}: {done.stdout[-500:]} {done.stderr[-500:]}")
