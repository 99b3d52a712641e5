"""Answers that wait until their records are written: they go out then, or once they have waited long enough.

All of `Answers` but `announce` is for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeferry.device.modules.segments import Entries

Sent = Callable[[], None]


@dataclass(slots=True, eq=False)
class Waiting:
    """A group that is not written yet, or not on the disk, and its answers when they wait for that."""

    entries: Entries
    sent: Sent | None
    since: float = field(default_factory=time.monotonic)


class Answers:
    """Those that wait, oldest first. `late` is called before one goes out after `patience_s` of waiting."""

    def __init__(self, patience_s: float, late: Callable[[], None]) -> None:
        self._patience_s = patience_s
        self._late = late
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, waiting: Waiting) -> None:
        """Its answers go out once it is announced, or when that takes too long; without a loop at once."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody's answers
            sent, waiting.sent = waiting.sent or nothing, None
            sent()
            return
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience_s, self._lose_patience)

    def announce(self, done: Sequence[Waiting]) -> None:
        """Their answers go out, soon; for any thread."""
        if done and self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._send, done)

    def close(self) -> None:
        """All go out, and no more wait."""
        if self._timer:
            self._timer.cancel()
        self._send(list(self._waiting))

    def _lose_patience(self) -> None:
        now = time.monotonic()
        self._timer = None
        late = []
        while self._waiting and (
            not self._waiting[0].sent or self._waiting[0].since + self._patience_s <= now
        ):
            late.append(self._waiting.popleft())
        if any(waiting.sent for waiting in late):
            self._late()
        self._send(late)
        if self._waiting and self._loop:
            rest = self._waiting[0].since + self._patience_s - now
            self._timer = self._loop.call_later(max(rest, 0), self._lose_patience)

    def _send(self, done: Sequence[Waiting]) -> None:
        for waiting in done:
            sent, waiting.sent = waiting.sent, None
            if sent:
                sent()
        while self._waiting and not self._waiting[0].sent:
            self._waiting.popleft()


def nothing() -> None:
    """Nobody waits for an answer."""
