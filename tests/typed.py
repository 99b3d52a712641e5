"""A command as a user types it, in a process of its own that has read the program in already.

Reading all of it in takes a second of processor time, and the tests type hundreds of commands. So their
processes are forked from one that has done so. How a fresh interpreter starts is shown by the tests that run
`python -m edgeferry`."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgeferry.__main__ import main
from tests.commands import late_modules

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.commands", "tests.typed", *late_modules()])
_STREAMS = {"in": os.O_RDONLY, "out": os.O_WRONLY | os.O_CREAT, "err": os.O_WRONLY | os.O_CREAT}


def typed(
    *arguments: str,
    environment: Mapping[str, str],
    where: Path | None = None,
    given: str = "",
    timeout_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """What became of `edgeferry ARGUMENTS` in the folder `where` (else here), with `given` on stdin."""
    with tempfile.TemporaryDirectory(prefix="typed-") as name:
        folder = Path(name)
        (folder / "in").write_text(given, "utf-8")
        target = (arguments, dict(environment), where or Path.cwd(), folder)
        process = _FORKS.Process(target=_run, args=target)
        process.start()
        try:
            process.join(timeout_s)
            code = process.exitcode
        finally:
            process.kill()
            process.join()
            process.close()
        out, err = ((folder / stream).read_text("utf-8") for stream in ("out", "err"))
    command = ["edgeferry", *arguments]
    if code is None:
        raise subprocess.TimeoutExpired(command, timeout_s, out, err)
    return subprocess.CompletedProcess(command, code, out, err)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what was set for edgeferry; no colours, wide lines, and `more`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EDGEFERRY_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", **more}


def _run(arguments: tuple[str, ...], environment: dict[str, str], where: Path, folder: Path) -> None:
    for number, (stream, flags) in enumerate(_STREAMS.items()):
        opened = os.open(folder / stream, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(where)
    sys.argv = ["edgeferry", *arguments]
    main()
