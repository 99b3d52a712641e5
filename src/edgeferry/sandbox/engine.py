"""The container engine to use: the one that answers; or, as root, one that we start.

Never a second engine beside another in the same network namespace, and never on the default socket:
either would cut off the first one's containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.surroundings import child_environment

OWN_RUN = Path("/run/edgeferry")
OWN_DATA = Path("/var/lib/edgeferry/engine")
OWN_SOCKET = OWN_RUN / "docker.sock"
DEFAULT_SOCKET = Path("/var/run/docker.sock")
INSTALL = "sudo apt-get install docker.io"
_START_S = 60


def open_engine(wanted: str, say: Callable[[str], None]) -> str:
    """The url of an engine that answers, started here if need be and we may; EngineError with what to do."""
    if wanted:
        if _answer(Path(wanted.removeprefix("unix://"))) or not wanted.startswith("unix://"):
            return wanted
        raise EngineError(
            f"no container engine answers at {wanted}", fix="start it, or unset DOCKER_HOST and engine.url"
        )
    if running := find_running():
        return running
    if os.geteuid() != 0:
        raise EngineError("no container engine is running", fix=_advice())
    with _locked("start.lock", fcntl.LOCK_EX):
        if not _answer(OWN_SOCKET):
            _start(say)
    return f"unix://{OWN_SOCKET}"


def find_running() -> str:
    """The url of the engine that answers on this machine where nobody chose one: ours first; "" for none."""
    return next((f"unix://{path}" for path in (OWN_SOCKET, DEFAULT_SOCKET) if _answer(path)), "")


def is_own_engine(url: str) -> bool:
    """Whether that is the engine that edgeferry starts where none runs."""
    return url == f"unix://{OWN_SOCKET}"


@contextlib.contextmanager
def using_engine() -> Iterator[None]:
    """Nobody ends our own engine meanwhile, idle though it looks."""
    with _locked("use.lock", fcntl.LOCK_SH):
        yield


def close_idle_engine() -> bool:
    """Whether an engine that we had started was there and nobody used it: it had no container, no network
    but those it makes itself, and no `using_engine`. It has been told to end."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(BlockingIOError), _locked("use.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        return _own_pid() is not None and _is_idle() and _close()
    return False


def _is_idle() -> bool:
    engine = Engine(f"unix://{OWN_SOCKET}")
    try:
        return not engine.containers({}) and set(engine.networks({})) <= {"bridge", "host", "none"}
    except EngineError:
        return False
    finally:
        engine.close()


def _close() -> bool:
    pid = _own_pid()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while _own_pid() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    """Holds a lock that the kernel lets go with its holder; no lock where no engine of ours can be."""
    try:
        OWN_RUN.mkdir(parents=True, exist_ok=True)
        file = (OWN_RUN / name).open("w")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, how)
        yield


def _start(say: Callable[[str], None]) -> None:
    dockerd = shutil.which("dockerd", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
    if not dockerd:
        raise EngineError("no container engine is installed", fix=f"install one: {INSTALL}")
    other = _other_engine()
    if other:
        raise EngineError(
            f"another dockerd runs here but does not answer at {DEFAULT_SOCKET}: {other}",
            fix="set DOCKER_HOST to its address, or stop it",
        )
    say("starting a container engine of our own")
    for stale in (OWN_RUN / "docker.pid", OWN_RUN / "exec" / "containerd" / "containerd.pid"):
        stale.unlink(missing_ok=True)
    for folder in (OWN_RUN, OWN_DATA):
        folder.mkdir(parents=True, exist_ok=True)
    command = [dockerd, "--data-root", str(OWN_DATA / "data"), "--exec-root", str(OWN_RUN / "exec")]
    command += ["-H", f"unix://{OWN_SOCKET}", "--pidfile", str(OWN_RUN / "docker.pid")]
    log_path = OWN_DATA / "dockerd.log"
    with log_path.open("ab") as log:
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=child_environment(),
        )
    deadline = time.monotonic() + _START_S
    while not _answer(OWN_SOCKET):
        if daemon.poll() is not None or time.monotonic() > deadline:
            words = log_path.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise EngineError(f"the engine did not start: {' '.join(words)}", fix=f"read {log_path}")
        time.sleep(0.05)
    daemon.returncode = 0  # it outlives us on purpose


def _answer(path: Path) -> bool:
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b"200" in connection.recv(64)
    except OSError:
        return False


def _own_pid() -> int | None:
    try:
        pid = int((OWN_RUN / "docker.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else pid


def _other_engine() -> str:
    ours = os.readlink("/proc/self/ns/net")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().strip() != "dockerd":
                continue
            if (
                os.readlink(process / "ns" / "net") == ours
                and "Z" not in (process / "stat").read_text().split()[2]
            ):
                return (process / "cmdline").read_text().replace("\0", " ").strip()
    return ""


def _advice() -> str:
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(DEFAULT_SOCKET))
    except PermissionError:
        return 'allow yourself to use it: sudo usermod -aG docker "$USER", then log in again'
    except OSError:
        pass
    if shutil.which("dockerd", path=os.defpath + ":/usr/sbin"):
        return "start it: sudo systemctl start docker"
    return f"install one: {INSTALL}"
