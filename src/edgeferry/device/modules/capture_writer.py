"""Writing captures: beside the event loop, so that nothing keeps a model from answering.

What was answered in one tick of the loop is one group. On a local disk that is quick, it is written at once.
Else it waits for the thread, and its answers wait with it, for a few milliseconds at most; while the disk is
slower than that, answers go first and their records wait in memory. What finds no room there, or cannot be
written, is dropped, counted and told. The thread also puts what was written on the disk, at most every 100
ms, and does whatever takes longer than a write.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time_ns  # by name in `append`, where each look-up counts

from edgeferry.device.modules.capture_answers import Answers, Sent, Waiting, nothing
from edgeferry.device.modules.segment_closing import compress_closed
from edgeferry.device.modules.segments import (
    Entries,
    Segments,
    StoreBusyError,
    StoreFullError,
    sync_all,
)
from edgeferry.domain.capture import Bounds
from edgeferry.wire.capture_segment import Shared

SLOW_S = 0.005
"""A disk that takes longer is slow: answers do not wait for it."""
ACK_S = 1.0
"""How long answers wait for the disk when the policy says that they do."""
SYNC_S = 0.1
BUSY_S = 0.1
"""How long readers wait for another server that holds the store."""
AGAIN_S = 1.0
"""A store that failed is tried again this often."""
TIDY_S = 1.0
"""How often the thread looks for what is too old, at least while records come."""
IDLE_S = 60.0
"""How often a store without news is looked after."""
CLOSE_S = 5.0
SWITCH_S = 0.0005
"""How long the thread that compresses may keep the loop waiting for the interpreter."""
BUFFER_BYTES = 8_000_000
_AHEAD = "answers go ahead of their records"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Writer:
    """The store of one server, and what waits for it. `append`, `write` and `close` are for the loop's
    thread."""

    def __init__(self, folder: Path, shared: Shared, bounds: Bounds, *, acks: bool) -> None:
        self.store = Segments(folder, shared, bounds)
        self.written = self.dropped = 0
        self.queued_bytes = 0
        self._acks = acks
        self._patience_s = ACK_S if acks else SLOW_S
        self._answers = Answers(self._patience_s, self._be_late)
        self._lock = threading.Lock()
        """Of the store. The loop never waits for it."""
        self._mutex = threading.Lock()
        """Of what was dropped and of what waits."""
        self._queue: deque[Waiting] = deque()
        self._unsynced: list[Waiting] = []
        self._slow = self._slow_writes = self._busy = False
        self._problem = ""
        self._full = False
        self._retry_at = self._synced_at = self._tidied_at = 0.0
        self._told: dict[str, str] = {}
        self._closing = False
        self._dirty, self._urgent = threading.Event(), threading.Event()
        self._is_clean = False
        self._dirty.set()
        self._urgent.set()
        self._compressing = threading.Thread()
        threading.Thread(target=self._work, name="captures", daemon=True).start()

    def append(self, latency_us: int, inputs: bytes, output: bytes) -> bool:
        """A user's record that says no more than this is written; False, and nothing done, when that takes
        more than a write into memory, see `write`."""
        store = self.store
        if store.quick is None or not self._lock.acquire(False):
            return False
        try:
            file, now = store.quick, monotonic()
            if file is None or now > store.calm_until:
                return False
            if not file.append(latency_us, inputs, output, time_ns() // 1000, now):
                return False
            self.written += 1
            if monotonic() > now + SLOW_S:
                self._slow_writes, store.quick = True, None
        finally:
            self._lock.release()
        return True

    def write(self, lines: bytes, records: int, sent: Sent) -> None:
        """The group is written, or waits, or is dropped; `sent` is called once its answers may go out."""
        began, at_us = time.monotonic(), time.time_ns() // 1000
        if self._problem and began < self._retry_at:
            self.drop(records)
            sent()
            return
        store = self.store
        if store.is_local and not (self._slow_writes or self._queue) and self._lock.acquire(False):
            try:
                is_done = store.append(lines, records, at_us, began)
            except OSError as error:
                self._fail(error, records)
                is_done = True
            else:
                if is_done:
                    self._slow_writes = store.write_s > SLOW_S
                    if self._slow_writes or self._acks:
                        store.quick = None
                    self.written += records
                    if self._problem:
                        self._be_well()
                    if self._is_clean:  # asking an event costs more
                        self._is_clean = False
                        self._dirty.set()
                    if self._acks and not self._slow:
                        self._await(Waiting(Entries(lines, records, at_us), sent, began), self._unsynced)
                        sent = nothing
            finally:
                self._lock.release()
            if is_done:
                sent()
                return
        self._defer(Entries(lines, records, at_us), sent)

    def drop(self, count: int) -> None:
        """So many records are not kept."""
        with self._mutex:
            self.dropped += count

    def tell(self, what: str, why: str) -> None:
        """A line on stderr, when things have changed; `why` is empty when all is well."""
        if why != self._told.get(what, ""):
            self._told[what] = why
            sys.stderr.write(f"{what}: {why or 'no longer'}\n")

    def state(self) -> tuple[str, str]:
        """How the store does: `ok`, `slow`, `failing` or `full`; and why."""
        if self._problem:
            return "full" if self._full else "failing", self._problem
        if self._busy or self._slow:
            return "slow", self._slowness()
        return "ok", ""

    def _slowness(self) -> str:
        if self._busy:
            return "another server holds the store"
        return f"the disk takes longer than {self._patience_s * 1000:.0f} ms"

    def sync(self) -> int:
        """The last sequence that is on the disk now; for any thread."""
        deadline = time.monotonic() + BUSY_S
        while True:
            last = self._turn()
            if not self._busy or time.monotonic() > deadline:
                return last
            time.sleep(BUSY_S / 50)

    def close(self) -> None:
        """All records are on the disk, and no more are taken. What hangs is left to itself."""
        self._closing = True
        self._urgent.set()
        self._dirty.set()
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                done = self._drain(tidies=False)
                with contextlib.suppress(OSError):
                    sync_all(self.store.take_unsynced())
                self._answers.announce([*self._unsynced, *done])
                self.store.close()
            finally:
                self._lock.release()
        with self._mutex:
            self.dropped += sum(waiting.entries.records for waiting in self._queue)
            self._queue.clear()
        self._answers.close()

    # on the loop

    def _defer(self, entries: Entries, sent: Sent) -> None:
        """The thread writes it; its answers wait, unless the disk is slow."""
        self.store.quick = None
        size = len(entries.lines)
        if self.queued_bytes and self.queued_bytes + size > BUFFER_BYTES:
            self.drop(entries.records)
            self.tell("captures are dropped", "the disk is too slow for them")
            sent()
            return
        with self._mutex:
            self.queued_bytes += size
        waiting = Waiting(entries, sent)
        if self._slow:
            waiting.sent = None
            sent()
            self._queue.append(waiting)
        else:
            self._await(waiting, self._queue)
        self._dirty.set()
        self._urgent.set()

    def _await(self, waiting: Waiting, place: deque[Waiting] | list[Waiting]) -> None:
        self._answers.wait(waiting)
        place.append(waiting)
        self._urgent.set()

    def _be_late(self) -> None:
        if not self._catch_up():
            self._slow = True
            self.tell(_AHEAD, self._slowness())

    def _catch_up(self) -> bool:
        """Whether what waited for the thread could be written without it: then it is a busy machine that
        keeps the thread waiting, and no slow disk. An answer that went first would be lost with the process.
        """
        if self._acks or self._slow or not self.store.is_local or self._slow_writes:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._answers.announce(self._drain(tidies=False))
        finally:
            self._lock.release()
        return not self._queue and self.store.write_s <= SLOW_S

    # in any thread; with the lock

    def _note(self, written: int) -> None:
        self.written += written
        if self._problem and written:
            self._be_well()

    def _be_well(self) -> None:
        self._problem = ""
        self.tell("captures are dropped", "")

    def _fail(self, error: OSError, count: int) -> None:
        self.drop(count)
        self._full = isinstance(error, StoreFullError) or error.errno in _FULL
        self._problem = error.strerror or str(error)
        self._retry_at = time.monotonic() + AGAIN_S
        self.tell("captures are dropped", self._problem)

    # in the thread, or another one

    def _work(self) -> None:
        while not self._closing:
            self._urgent.wait(max(self._synced_at + SYNC_S - time.monotonic(), 0))
            self._dirty.wait(IDLE_S)  # by now it nearly always is
            self._urgent.clear()
            if self._closing:
                return
            now = time.monotonic()
            tidies = now >= self._tidied_at + TIDY_S
            try:
                self._turn(syncs=tidies or self._acks or now >= self._synced_at + SYNC_S, tidies=tidies)
            except Exception as error:  # noqa: BLE001 - without this thread nothing is put on the disk any more
                self.tell("captures wait", f"{type(error).__name__}: {error}; tried again each second")
                time.sleep(AGAIN_S)
                self._dirty.set()
                continue
            self.tell("captures wait", "")
            if self._slow:
                self._dirty.set()  # to see whether it still is
            if self._busy:
                time.sleep(SLOW_S)
                self._dirty.set()
                self._urgent.set()

    def _turn(self, *, syncs: bool = True, tidies: bool = True) -> int:
        """What waits is written; if it `syncs`, what was written is on the disk; if it `tidies`, the store is
        looked after. The last sequence that was written before.

        Putting it on the disk may take long, and the loop goes on writing meanwhile: what is not written
        when its answer goes out would be lost with the process.
        """
        with self._lock:
            if self._closing:
                return self.store.last
            if syncs:
                self._dirty.clear()
                self._is_clean = True
            if tidies:
                self._tidied_at = time.monotonic()
            done = self._drain(tidies=tidies) if self._queue or tidies or self._busy else []
            if self._queue:  # the thread comes again, whoever cleared it
                self._dirty.set()
            self._slow_writes = self._slow_writes and not (done and self.store.write_s <= SLOW_S)
            last = self.store.last
            if not syncs:
                self._answers.announce(done)
                return last
            self.store.let_go()
            try:
                files = self.store.take_unsynced()
            except OSError:
                self._answers.announce(done)
                self._dirty.set()
                raise
            unsynced, self._unsynced = self._unsynced, []
        began = time.monotonic()
        if not self._acks:
            self._answers.announce(done)
            done = []
        problem = ""
        try:
            sync_all(files)
        except OSError as error:
            problem = str(error)
            with self._lock:
                self.store.doubt()
        self.tell("captures may not outlive a loss of power", problem)
        self._answers.announce([*unsynced, *done])
        self._synced_at = time.monotonic()
        took = max(self._synced_at - began, self.store.write_s) if self._acks else self.store.write_s
        if self._slow and not (self._busy or self._queue or took > self._patience_s):
            self._slow = False
            self.tell(_AHEAD, "")
        if self.store.closed and not self._compressing.is_alive():
            self.store.closed = False
            self._compressing = threading.Thread(
                target=self._compress, name="captures-compressing", daemon=True
            )
            self._compressing.start()
        return last

    def _drain(self, *, tidies: bool) -> list[Waiting]:
        """The groups that waited and do so no longer. Only with the lock."""
        waiting = list(self._queue)
        entries = [each.entries for each in waiting]
        written = 0
        try:
            with self.store.alone():
                try:
                    self.store.write(entries)
                    if tidies:
                        self.store.tidy()
                finally:
                    written = sum(each.entries.records for each in waiting[: len(waiting) - len(entries)])
                    self._busy = False
        except StoreBusyError:
            self._busy = True
            return []
        except OSError as error:
            self._note(written)
            self._fail(error, sum(each.records for each in entries))
        else:
            self._note(written)
        with self._mutex:
            for each in waiting:
                self._queue.popleft()
                self.queued_bytes -= len(each.entries.lines)
        return waiting

    def _compress(self) -> None:
        problem, usual_s = "", sys.getswitchinterval()
        sys.setswitchinterval(min(usual_s, SWITCH_S))
        try:
            compress_closed(self.store.folder, lambda: self._closing, self._alone)
        except StoreBusyError:
            self.store.closed = True  # to be seen to later
        except OSError as error:
            problem = str(error)
        finally:
            sys.setswitchinterval(usual_s)
        self.tell("closed captures are not compressed", problem)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Neither another server nor another thread of this one changes the store. With a lock of its own on
        the folder, this server would take itself for another one."""
        with self._lock:
            if self._closing:
                raise StoreBusyError("the store is being closed")
            with self.store.alone():
                yield
