"""Group commit: what arrives while one write is under way is written together with the next.

Messages and presence alike. Who sent a message learns when it is safe, or that it is not; a disk that is
slow or full costs connections, never the hub. Used from the event loop; the file is touched in threads.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from edgeferry.domain.message import Message, MessagePage
from edgeferry.hub.messages import Key, MessageStore
from edgeferry.wire.hub import Presence, RefusalError

SLOW_S = 5.0
"""How long a message waits for the disk before its sender is told that it is not kept."""
PENDING_BYTES = 32 * 1024 * 1024
"""Above this, those who send wait for the disk."""
_TICK_S = 5.0

Settled = Callable[[bool], None]
_Entry = tuple[Message, Settled | None]


class Journal:
    """Keeps messages and presence durably."""

    def __init__(self, store: MessageStore, log: Callable[..., None], now: Callable[[], float]) -> None:
        self._store = store
        self._log = log
        self._now = now
        self._writing = ThreadPoolExecutor(1, "messages-write")
        self._reading = ThreadPoolExecutor(1, "messages-read")
        self._messages: list[_Entry] = []
        self._presence: dict[Key, Presence | None] = {}
        self._waiting: list[Callable[[], None]] = []
        self._bytes = 0
        self._last = store.last()
        self._task: asyncio.Task[None] | None = None
        self._arrival: asyncio.Event = asyncio.Event()
        self._due = False
        self._closing = False

    @property
    def full(self) -> bool:
        """Whether senders should wait for the disk."""
        return self._bytes > PENDING_BYTES

    def append(self, message: Message, settled: Settled | None = None) -> None:
        """Takes the message in; `settled` is told, once, whether it is safe."""
        self._messages.append((message, settled))
        self._bytes += message.size_bytes
        self._start()

    def note(self, key: Key, presence: Presence | None, soon: bool = True) -> None:
        """Writes this down, in place of what was known; None forgets. Not `soon`: with the next write."""
        self._presence[key] = presence
        if soon:
            self._start()

    def when_written(self, then: Callable[[], None]) -> None:
        """Calls `then` after the write that is under way, or soon when there is none."""
        self._waiting.append(then)
        self._start()

    async def run(self) -> None:
        """Writes what is not urgent and drops what is too old, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._start()

    def dismiss(self) -> None:
        """Who waits for messages, now or from now on, is answered that there are none."""
        self._closing = True
        self._arrival.set()

    async def close(self) -> None:
        """All is written, as far as the disk takes it."""
        self.dismiss()
        self._start()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._task), SLOW_S)
        self._writing.shutdown(wait=False, cancel_futures=True)
        self._reading.shutdown(wait=False)

    async def read(self, after: str, limit: int, wait_s: float, device: str) -> MessagePage:
        """At most `limit` messages after the cursor (empty: all that are kept; `end`: only new ones), of one
        device if it is named; when there are none, waits up to `wait_s` for one. RefusalError for a cursor
        that is not ours."""
        loop = asyncio.get_running_loop()
        position, lost = self._position(after), 0
        deadline = loop.time() + wait_s
        while True:
            arrival = self._arrival
            if self._closing:
                return MessagePage([], f"{self._store.origin}-{position}", lost)
            found = await loop.run_in_executor(self._reading, self._store.read, position, limit, device)
            position, lost = found.last, lost + (found.lost if after else 0)
            left_s = deadline - loop.time()
            if found.messages or left_s <= 0:
                return MessagePage(found.messages, f"{self._store.origin}-{position}", lost)
            with suppress(TimeoutError):
                await asyncio.wait_for(arrival.wait(), left_s)

    def _position(self, cursor: str) -> int:
        if not cursor:
            return 0
        if cursor == "end":
            return self._last
        origin, _, number = cursor.partition("-")
        if origin != self._store.origin or not (number.isascii() and number.isdigit() and len(number) < 19):
            raise RefusalError(
                "ArgumentInvalid",
                f"the cursor {cursor[:40]!r} is not one of this hub's",
                fix="send the last page's, or none to begin with the oldest message",
            )
        return int(number)

    def _start(self) -> None:
        self._due = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._due:
            self._due = False
            entries, self._messages = self._messages, []
            presence, self._presence = self._presence, {}
            kept = await self._commit(entries, presence)
            self._settle(entries, kept)
            waiting, self._waiting = self._waiting, []
            for then in waiting:
                then()

    async def _commit(self, entries: list[_Entry], presence: Mapping[Key, Presence | None]) -> bool:
        messages = [message for message, _ in entries]
        future = asyncio.get_running_loop().run_in_executor(
            self._writing, self._store.write, messages, presence, self._now()
        )
        while not (await asyncio.wait((future,), timeout=SLOW_S))[0]:
            self._log("messages not kept", reason="the disk is too slow", messages=len(self._messages))
            self._settle(entries, False)
            stalled, self._messages = self._messages, []
            self._settle(stalled, False)
        try:
            last = future.result()
        except (sqlite3.Error, ValueError) as error:
            self._log("messages not kept", reason=str(error), messages=len(messages))
            self._presence = {**presence, **self._presence}
            return False
        if last != self._last:
            self._last = last
            arrival, self._arrival = self._arrival, asyncio.Event()
            arrival.set()
        return True

    def _settle(self, entries: list[_Entry], kept: bool) -> None:
        """Tells the senders, and forgets the entries."""
        self._bytes -= sum(message.size_bytes for message, _ in entries)
        for _, settled in entries:
            if settled is not None:
                settled(kept)
        entries.clear()
