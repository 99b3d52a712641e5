"""Background processes that `up` and `hub start` begin and `down` and `hub stop` end: known by pid *and*
start time, so that a pid that has passed to somebody else is never touched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.errors import OutsideError, UsageError

_LOG_BYTES = 32 * 1024 * 1024


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else holds the lock file meanwhile; OutsideError when somebody does for minutes, UsageError
    where only what a device needs is installed."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise UsageError("the hub's parts are not installed", fix="pip install 'edgeferry[hub]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=300)
    except Timeout as error:
        raise OutsideError(
            f"another edgeferry holds {path}", fix="wait for it, or end it", retryable=True
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Process:
    """One background process by name; its record is `run/NAME.json`, its output `logs/NAME.log`."""

    state: Path
    name: str

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.state / "logs" / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.state / "run" / f"{self.name}.json"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """The process runs in a session of its own, output appended to its log; one that has grown
        large is put aside first."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=dict(environment),
            )
        record = {"pid": child.pid, "started": _started(child.pid), "command": list(command)}
        self._record.write_text(json.dumps(record))
        child.returncode = 0  # it outlives us on purpose: no warning when the object goes

    def command(self) -> Sequence[str]:
        """How it was started last; nothing when it never was, or was stopped."""
        try:
            return tuple(json.loads(self._record.read_text())["command"])
        except (FileNotFoundError, ValueError, KeyError):
            return ()

    def is_running(self) -> bool:
        """Whether the very process that we started still runs."""
        return self.pid() is not None

    def stop(self, patience_s: float = 15) -> bool:
        """Whether it ran; it is asked to end, then made to, and its record is gone."""
        pid = self.pid()
        if pid is not None:
            self._end(pid, patience_s)
        self._record.unlink(missing_ok=True)
        return pid is not None

    def last_words(self, lines: int = 5) -> str:
        """The last lines of its log."""
        try:
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def must_run(self, what: str, fix: str) -> None:
        """OutsideError with its last words when it does not run."""
        if not self.is_running():
            raise OutsideError(f"{what} ended: {self.last_words(3) or 'without a word'}", fix=fix)

    def pid(self) -> int | None:
        """Its number while the very process that we started runs, else None."""
        try:
            record = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        pid = int(record["pid"])
        return pid if record["started"] and _started(pid) == record["started"] else None

    def _end(self, pid: int, patience_s: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while self.pid() is not None and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)
        if self.pid() is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _started(pid: int) -> str:
    """The process's start time as the system tells it; "" when it is gone or only a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        text = stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        if stat.parent.parent.joinpath("self").exists():
            return ""
        told = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return told.stdout.strip()
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
