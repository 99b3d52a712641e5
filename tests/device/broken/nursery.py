"""Starts model servers without importing what they need each time: one process has, and forks.

The program reads an order a line and says the new process's id: `python -m tests.device.broken.nursery`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.device.broken import liar


class Nursery:
    """Servers that were started, by process id."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program
        self._one_order = threading.Lock()

    def start(self, folder: Path, port: int, digest: str, fault: str | None) -> int:
        """The process id of a server of the model layer in `folder`: the liar with a fault, else the real
        one. It may not answer yet; what it has to complain of is in the folder's `log`."""
        order = {"folder": str(folder), "port": port, "digest": digest, "fault": fault}
        assert self._program.stdin
        assert self._program.stdout
        with self._one_order:
            self._program.stdin.write(json.dumps(order) + "\n")
            self._program.stdin.flush()
            return int(self._program.stdout.readline())

    def stop(self, process: int) -> None:
        """The server is told to end, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


@contextlib.contextmanager
def open_nursery() -> Iterator[Nursery]:
    """A nursery that ends afterwards; servers are stopped by whoever started them."""
    program = [sys.executable, "-m", __name__]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield Nursery(running)


def serve(order: Mapping[str, Any]) -> int:
    """What runs in a process of its own until SIGTERM."""
    with Path(order["folder"], "log").open("wb", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if order["fault"] is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        liar.main(order["folder"], order["port"], order["digest"], order["fault"])
        return 0
    os.environ["EDGEFERRY_MODEL_DIR"] = order["folder"]
    os.environ["EDGEFERRY_DIGEST"] = order["digest"]
    os.environ["EDGEFERRY_CAPTURES"] = "off"
    from edgeferry.device.modules.server import main

    return main(["--host", "127.0.0.1", "--port", str(order["port"]), "--captures-port", "0"])


def run() -> None:
    """Forks until its orders end."""
    import edgeferry.device.modules.runtime_onnx
    import edgeferry.device.modules.server  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                code = serve(json.loads(line))
            except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
                traceback.print_exc()
            finally:
                os._exit(code)
        print(child, flush=True)


if __name__ == "__main__":
    run()
