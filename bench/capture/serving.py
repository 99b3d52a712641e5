"""Model servers as processes, run as an image runs them; their processor time and memory, from Linux."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.device.conftest import free_port
from tests.device.crowds import fetch

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-capture"
_REQUIREMENTS = ROOT / "src/edgeferry/adapters/requirements/server.txt"
READY_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """How a server captures; what is 0 or "" is as by default."""

    captures: Path | None = None
    store_bytes: int = 0
    durability: str = ""
    core: int = -1
    """The one processor it may use; any, when below 0."""
    env: tuple[tuple[str, str], ...] = ()
    program: str = "edgeferry.device.modules.server"
    log: Path = Path(os.devnull)
    """Where its stderr goes."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int
    pages_port: int

    def busy_s(self) -> float:
        """Processor seconds so far, of all its threads."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # the process's clock, as Linux numbers it

    def memory_mib(self) -> float:
        """Resident memory."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024

    def said(self) -> dict[str, int]:
        """What `/health` says of captures."""
        return dict(fetch(self.port, "/health")["captures"])

    def counts(self) -> dict[str, int]:
        """What `countCaptures` answers."""
        return fetch(self.pages_port, "/captures/count")

    def kill(self) -> None:
        """It ends as by `kill -9`."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """It ends as by `docker stop`."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


def find_python() -> Path:
    """The interpreter of an environment with what an image has, and what an untouched score.py needs."""
    pins = [f"{name}=={version(name)}" for name in ("scikit-learn", "pandas")]
    wanted = "\n".join([_REQUIREMENTS.read_text(), *pins])
    python, stamp = VENV / "bin/python", VENV / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = str(ROOT / ".venv/bin/uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.11", str(VENV)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "--link-mode", "copy"]
        subprocess.run([*install, "-r", str(_REQUIREMENTS)], check=True)
        subprocess.run([*install, *pins], check=True)
        stamp.write_text(wanted)
    return python


def start(model: Path, wanted: Wanted = Wanted(), *, wait: bool = True) -> Server:
    """The server of the model in that folder; it answers, unless nobody waits."""
    _write_policy(model, wanted)
    port, pages = free_port(), free_port()
    program = [str(find_python()), "-m", wanted.program, "--host", "127.0.0.1"]
    if wanted.core >= 0:
        program = ["taskset", "--cpu-list", str(wanted.core), *program]
    with wanted.log.open("wb") as log:
        process = subprocess.Popen(
            [*program, "--port", str(port), "--captures-port", str(pages)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                "PYTHONUNBUFFERED": "1",
                "ORT_DISABLE_TELEMETRY": "1",
                "EDGEFERRY_MODEL_DIR": str(model),
                "EDGEFERRY_DIGEST": "sha256:" + "d" * 64,
                "EDGEFERRY_CAPTURES": str(wanted.captures or "off"),
                "EDGEFERRY_CAPTURES_BYTES": str(wanted.store_bytes or ""),
                **dict(wanted.env),
            },
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    server = Server(process, port, pages)
    if wait:
        wait_ready(server)
    return server


def wait_ready(server: Server) -> None:
    """The server answers `/health`."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            fetch(server.port, "/health")
            return
        except (OSError, AssertionError):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # asked more often under a faked clock, it finds no time to load its model


@contextmanager
def serving(model: Path, wanted: Wanted = Wanted()) -> Iterator[Server]:
    """A server that answers, and has ended afterwards."""
    server = start(model, wanted)
    try:
        yield server
    finally:
        server.end()


def _write_policy(model: Path, wanted: Wanted) -> None:
    """The card asks for what is wanted of captures."""
    card = model / "model.json"
    said = json.loads(card.read_text())
    said.pop("capture", None)
    asked = {"durability": wanted.durability, "store_bytes": wanted.store_bytes}
    if any(asked.values()):
        said["capture"] = {name: value for name, value in asked.items() if value}
    card.write_text(json.dumps(said))
