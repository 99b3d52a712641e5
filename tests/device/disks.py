"""Disks for tests of what a device keeps: tiny ones, ones that refuse writes; and writers that are killed."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from edgeferry.device.durable import CheckedFile, Journal
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
    """A file system of that size; skips where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "edgeferry-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a tiny file system needs mount, which is not here")
    if mounted.returncode:
        pytest.skip(f"a tiny file system cannot be mounted: {mounted.stderr.strip()}")
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
