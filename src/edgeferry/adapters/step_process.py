"""One step of a pipeline as a process of this machine, with all processes that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_GRACE_S = 5.0
_LOOK_S = 0.1


class CanceledError(Exception):
    """Somebody asked the run to end."""


def run_command(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    asked_to_end: Callable[[], bool],
) -> str:
    """Why the command, run in `folder` and writing to `log`, failed; "" when it did not. CanceledError when
    it was asked to end. No process of it is left in any case."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"could not start {command[0]}: {error.strerror}"
        with process:
            try:
                status = _wait(process, asked_to_end)
            finally:
                _end(process)
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}" if status else ""


def _wait(process: subprocess.Popen[bytes], asked_to_end: Callable[[], bool]) -> int:
    """The exit status; CanceledError when the run was asked to end before."""
    while True:
        try:
            return process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            if asked_to_end():
                raise CanceledError from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process of the step's group left: asked to end, and killed after a grace."""
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and _group_lives(process):
            time.sleep(0.02)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
