"""Our own commands, several at once, each in a process of its own: one that ends badly takes none along."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from edgeferry.domain.several import Ended

_PATIENCE_S = {signal.SIGINT: 60.0, signal.SIGTERM: 20.0, signal.SIGKILL: 5.0}
"""How long a command may clear up after each signal."""


class OwnCommands:
    """Implements the `Commands` port."""

    def run_each(
        self, calls: Mapping[str, Sequence[str]], at_once: int, tell: Callable[[str, str], None]
    ) -> Mapping[str, Ended]:
        """How each call ended, by its name, `at_once` of them at a time. `tell` hears each line of a call's
        stderr, never two at a time. When this process is interrupted, those that run are, and have cleared
        up before it goes on; the others are not started."""
        batch = _Batch(tell)
        with ThreadPoolExecutor(at_once) as pool:
            futures = {name: pool.submit(batch.run, name, words) for name, words in calls.items()}
            try:
                wait(futures.values())
            except BaseException:
                batch.end(list(futures.values()))
                raise
        return {name: future.result() for name, future in futures.items()}


class _Batch:
    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[str]] = []
        self._ending = False

    def run(self, name: str, words: Sequence[str]) -> Ended:
        since, last = time.monotonic(), ""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
            with self._lock:
                if self._ending:
                    return Ended(128 + signal.SIGINT, "", "not started", 0.0)
                child = subprocess.Popen(
                    [sys.executable, "-m", "edgeferry", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    # A terminal interrupts this process alone, which passes it on once.
                    start_new_session=True,
                )
                self._running.append(child)
            assert child.stderr is not None
            with child.stderr as lines:
                for line in lines:
                    last = line.rstrip("\n")
                    with self._lock:
                        self._tell(name, last)
            code = child.wait()
            answer.seek(0)
            return Ended(code if code >= 0 else 128 - code, answer.read(), last, time.monotonic() - since)

    def end(self, futures: Collection[Future[Ended]]) -> None:
        """None runs any more: asked to end, then told to. Another interrupt moves on to the next signal."""
        with self._lock:
            self._ending = True
        for number, patience_s in _PATIENCE_S.items():
            for child in self._running:
                with contextlib.suppress(ProcessLookupError):
                    if number is signal.SIGKILL and child.poll() is None:
                        os.killpg(child.pid, number)
                    elif child.poll() is None:
                        child.send_signal(number)
            with contextlib.suppress(KeyboardInterrupt):
                if not wait(futures, patience_s).not_done:
                    return
