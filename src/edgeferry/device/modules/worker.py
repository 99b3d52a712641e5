"""One thread that does work one piece at a time, for a loop that must not wait.

The thread loads the model as well, so that a model whose parts belong to a thread finds itself in one.
Everything but the work itself happens on the loop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Job:
    """One piece of work, to be done unless it is given up before it has begun."""

    __slots__ = ("done", "is_taken", "work")

    def __init__(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.work = work
        self.done = done
        self.is_taken = False


class Worker:
    """The thread, and at most `room` jobs that wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, room: int) -> None:
        self.waiting = 0
        self._loop = loop
        self._room = room
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._finished: deque[tuple[Job, Any]] = deque()
        self._is_told = False
        self._busy_since = 0.0
        threading.Thread(target=self._run, name="model", daemon=True).start()

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> Job | None:
        """`done` gets what `work` returns, or the exception that it raised; None when there is no room."""
        if self.waiting >= self._room:
            return None
        job = Job(work, done)
        with self._lock:
            self.waiting += 1
        self._jobs.put(job)
        return job

    def give_up(self, job: Job) -> bool:
        """Whether the job had not begun; then it never will."""
        return self._take(job)

    def busy_s(self) -> float:
        """How long the thread has been at one job; 0 when it has none."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    def _take(self, job: Job) -> bool:
        with self._lock:
            if job.is_taken:
                return False
            job.is_taken = True
            self.waiting -= 1
            return True

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if not self._take(job):
                continue
            self._busy_since = time.monotonic()
            try:
                result = job.work()
            except BaseException as error:  # noqa: BLE001 - the thread outlives its jobs
                result = error
            self._busy_since = 0.0
            self._finished.append((job, result))
            if not self._is_told:
                self._is_told = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop has ended
                    return
            del job, result

    def _deliver(self) -> None:
        self._is_told = False
        while self._finished:
            job, result = self._finished.popleft()
            try:
                job.done(result)
            except Exception as error:  # noqa: BLE001 - those behind it are told as well
                sys.stderr.write("".join(traceback.format_exception(error)))
