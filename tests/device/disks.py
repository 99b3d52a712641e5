"""Disks for tests of what a device keeps: tiny ones, some that refuse or stall; writers that are killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.needs import lack

_KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from edgeferry.device.journal import Journal
from edgeferry.device.checked_file import CheckedFile
from tests.needs import lack
{program}
def run(folder, left):
    def count(frame, event, called):
        nonlocal left
        if event == "c_call" and called.__module__ == "posix":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    act(folder)
    sys.setprofile(None)
for calls in itertools.count():
    folder = Path(sys.argv[1]) / str(calls)
    folder.mkdir()
    prepare(folder)
    child = os.fork()
    if not child:
        try:
            run(folder, calls)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended != -signal.SIGKILL:
        sys.exit(ended)
"""


@contextlib.contextmanager
def tiny_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A file system of that size; lacking where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "edgeferry-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        lack("a tiny file system needs mount, which is not here")
    if mounted.returncode:
        lack(f"a tiny file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def refusing_writes(folder: Path) -> Iterator[None]:
    """Nothing in the folder (a `tiny_disk`) can be changed meanwhile."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that was free."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


def run_killed_everywhere(program: str, root: Path) -> list[Path]:
    """A folder for each system call of `act(folder)` in the program, in their order: after `prepare(folder)`
    it was killed instead of making that call. In the last folder it came to its end."""
    command = [sys.executable, "-c", _KILLED.replace("{program}", program), str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return sorted(root.iterdir(), key=lambda folder: int(folder.name))


def lacks_for_stalls() -> str:
    """Why there can be no `StallingDisk` here; "" when there can."""
    if os.geteuid() != 0:
        return "only root may mount a file system that stalls"
    if not os.path.exists("/dev/fuse"):
        return "a file system that stalls needs /dev/fuse"
    return "" if shutil.which("bindfs") else "a file system that stalls needs bindfs"


class StallingDisk:
    """A file system that can be made to wait: bindfs serves it, and may be stopped. Ends with the `with`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "stalling"
        self._behind = root / "behind"
        self._calm = threading.Event()
        self._stutter: threading.Thread | None = None

    def __enter__(self) -> StallingDisk:
        self.folder.mkdir(parents=True)
        self._behind.mkdir(mode=0o777)
        self._process = subprocess.Popen(["bindfs", "-f", str(self._behind), str(self.folder)])
        deadline = time.monotonic() + 10
        while not self.folder.is_mount():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self._process.kill()
                self._process.wait()
                lack("bindfs does not mount here")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        subprocess.run(["umount", str(self.folder)], check=False, capture_output=True)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)
            self._process.kill()
            self._process.wait()

    def hang(self) -> None:
        """Whatever is asked of the disk waits, until it is calm."""
        self._process.send_signal(signal.SIGSTOP)

    def slow_down(self, stall_s: float = 0.04, between_s: float = 0.002) -> None:
        """Whatever is asked of the disk waits for up to that long, nearly always, until it is calm."""
        self._calm.clear()

        def stutter() -> None:
            while not self._calm.is_set():
                self._process.send_signal(signal.SIGSTOP)
                self._calm.wait(stall_s)
                self._process.send_signal(signal.SIGCONT)
                self._calm.wait(between_s)

        self._stutter = threading.Thread(target=stutter, daemon=True)
        self._stutter.start()

    def calm(self) -> None:
        """The disk is as it was."""
        self._calm.set()
        if self._stutter:
            self._stutter.join()
            self._stutter = None
        self._process.send_signal(signal.SIGCONT)
