"""Captures of a model server: what was asked and answered is written before the answer goes out.

All that was answered in one tick of the event loop is one group, written with one `write`, so that nothing
that was answered is lost when the process is killed. A thread puts it on the disk, at most every 100 ms, and
always before records are handed out; it also does whatever may take longer than a write to a local disk.
Nothing here may keep a model from answering: an answer waits for the thread for a few milliseconds at most.
While the disk is slower than that, answers go first and their records wait in memory; what finds no room
there, or cannot be written, is dropped, counted and told.

All of `Captures` but `sync` and what only reads is for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeferry.device.modules.segment_closing import compress_closed
from edgeferry.device.modules.segment_files import find_files
from edgeferry.device.modules.segments import Entries, Segments, StoreBusyError, StoreFullError
from edgeferry.domain.capture import Counts, choose_bounds, fits
from edgeferry.domain.capture_policy import (
    ACK,
    CapturePolicy,
    find_redacted,
    hides_output,
    must_keep,
    redact_body,
    redact_rows,
)
from edgeferry.wire.capture_segment import Shared, render_entry
from edgeferry.wire.serving import ModelCard

SLOW_S = 0.005
"""A disk that takes longer is slow: answers do not wait for it."""
ACK_S = 1.0
"""How long answers wait for the disk when the policy says that they do."""
SYNC_S = 0.1
BUSY_S = 0.1
"""How long readers wait for another server that holds the store."""
AGAIN_S = 1.0
"""A store that failed is tried again this often."""
IDLE_S = 60.0
"""How often a store without news is looked after."""
CLOSE_S = 5.0
SWITCH_S = 0.0005
"""How long the thread that compresses may keep the loop waiting for the interpreter."""
BUFFER_BYTES = 8_000_000
_UNKEPT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT)

_BEGIN = b'{"data":'

Sent = Callable[[], None]


@dataclass(frozen=True)
class Asked:
    """A request as far as captures care: who asked, and why."""

    id: str
    purpose: str


@dataclass(slots=True, eq=False)
class _Waiting:
    """A group that waits for the thread, and its answers when they wait with it."""

    entries: Entries
    sent: Sent | None
    since: float = field(default_factory=time.monotonic)


class Captures:
    """The store of one model server in `folder`; None, or a policy that is off, keeps nothing and counts
    nothing."""

    def __init__(self, folder: Path | None, card: ModelCard, digest: str, policy: CapturePolicy) -> None:
        self.folder = folder if policy.enabled else None
        self._policy = policy
        self._bounds = choose_bounds(policy)
        self._acks = policy.durability == ACK
        self._patience_s = ACK_S if self._acks else SLOW_S
        self._columns = tuple(column.name for column in card.columns)
        self._redacted = find_redacted(policy, self._columns)
        self._ranges = [(column.low, column.high) for column in card.columns]
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._earlier: list[Entries] = []
        self._written = self._dropped = self._refused = self._left_out = 0
        self._lock = threading.Lock()
        """Of the store. The loop never waits for it."""
        self._mutex = threading.Lock()
        """Of the counts and of what waits; held for moments only."""
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._unsynced: list[_Waiting] = []
        self._answers: deque[_Waiting] = deque()
        """Groups whose answers wait, oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slow = self._slow_writes = False
        self._busy = False
        self._problem = ""
        self._full = False
        self._retry_at = 0.0
        self._told: dict[str, str] = {}
        self._closing = False
        self._dirty, self._urgent = threading.Event(), threading.Event()
        if self.folder is not None:
            shared = Shared(card.model, card.version, digest, self._columns, "", 0)
            self._store = Segments(self.folder, shared, self._bounds)
            self._compressing = threading.Thread()
            self._urgent.set()
            self._dirty.set()
            threading.Thread(target=self._work, name="captures", daemon=True).start()

    def keep(
        self, asked: Asked, body: bytes, question: Any, output: bytes, status: int, latency_ms: float
    ) -> None:
        """One more record of this tick, or one more dropped. `question`: what was read from the body and
        scored."""
        if self.folder is None:
            return
        try:
            if self._policy.rate < 1 and not self._is_wanted(question, status):
                self._left_out += 1
                return
            line = render_entry(
                max(round(latency_ms * 1000), 0),
                self._hide(question) if self._redacted else _render_inputs(body, question),
                b"null" if self._policy.redact and hides_output(self._policy, status >= 500) else output,
                asked.id,
                asked.purpose,
                status,
            )
            if not fits(len(line), self._bounds):
                raise ValueError(f"a record of {len(line)} bytes is too large for this store")
        except _UNKEPT as error:
            self._drop(1)
            self._tell("a record was dropped", str(error))
            return
        if self._lines and self._lines_bytes + len(line) > self._bounds.segment_bytes:
            self._earlier.append(self._take_lines())
        self._lines.append(line)
        self._lines_bytes += len(line)

    def write(self, sent: Sent) -> None:
        """What was kept in this tick is written, or waits, or is dropped; `sent` is called once its answers
        may go out."""
        while self._earlier:
            self._write(self._earlier.pop(0), _nothing)
        if self._lines:
            self._write(self._take_lines(), sent)
        else:
            sent()

    def refuse(self) -> None:
        """One more request that was refused: counted, not stored."""
        self._refused += 1

    def said(self) -> dict[str, Any]:
        """What `GET /health` says of captures, since the server started."""
        counts = {"written": self._written, "dropped": self._dropped, "refused": self._refused}
        state, reason = self._state()
        return {**counts, "state": state, "reason": reason}

    def metrics(self) -> dict[str, float]:
        """For Prometheus, by name: since the server started, or as it is now."""
        state, _ = self._state()
        return {
            "edgeferry_captures_written_total": self._written,
            "edgeferry_captures_dropped_total": self._dropped,
            "edgeferry_captures_refused_total": self._refused,
            "edgeferry_captures_left_out_total": self._left_out,
            "edgeferry_captures_buffered_bytes": self._queued_bytes,
            "edgeferry_captures_store_bytes": self._store.size_bytes if self.folder else 0,
            "edgeferry_captures_slow": state == "slow",
            "edgeferry_captures_failing": state == "failing",
            "edgeferry_captures_full": state == "full",
        }

    def counts(self) -> Counts:
        """Counts without a look at the records."""
        first = last = torn = 0
        if self.folder is not None:
            last, torn = self._store.last, self._store.torn
            with contextlib.suppress(OSError):
                first = next((each.first for each in find_files(self.folder) if each.is_whole), 0)
        return Counts(
            damaged=torn,
            expired=max(first - 1, 0),
            dropped=self._dropped,
            refused=self._refused,
            first=first if last >= first else 0,
            last=last,
        )

    def sync(self) -> int:
        """The last sequence that is on the disk now; for any thread."""
        if self.folder is None:
            return 0
        deadline = time.monotonic() + BUSY_S
        while True:
            with self._lock:
                self._turn()
                if not self._busy or time.monotonic() > deadline:
                    return self._store.last
            time.sleep(BUSY_S / 50)

    def close(self) -> None:
        """All records are on the disk, and nothing is kept any more. What hangs is left to itself."""
        if self.folder is None:
            return
        self.write(_nothing)
        self._closing = True
        self._urgent.set()
        self._dirty.set()
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                self._turn()
                self._store.close()
            finally:
                self._lock.release()
        self.folder = None
        with self._mutex:
            self._dropped += sum(waiting.entries.records for waiting in self._queue)
            self._queue.clear()
        if self._timer:
            self._timer.cancel()
        self._send(list(self._answers))

    # on the loop

    def _take_lines(self) -> Entries:
        lines, self._lines, self._lines_bytes = self._lines, [], 0
        return Entries(b"".join(lines), len(lines), time.time_ns() // 1000)

    def _is_wanted(self, question: Any, status: int) -> bool:
        return must_keep(self._policy, random.random(), status >= 500, self._is_out_of_range(question))

    def _hide(self, question: Any) -> bytes:
        """What was scored, as JSON, without what may not be written."""
        if not isinstance(question, bytes):
            return json.dumps(redact_rows(question, self._redacted), separators=(",", ":")).encode()
        try:
            said = json.loads(question)
        except (ValueError, RecursionError):
            said = None
        return json.dumps(redact_body(said, self._columns, self._redacted), separators=(",", ":")).encode()

    def _is_out_of_range(self, question: Any) -> bool:
        rows = question if isinstance(question, list) else []
        return any(_is_out(row, self._ranges) for row in rows)

    def _write(self, entries: Entries, sent: Sent) -> None:
        began = time.monotonic()
        if self._problem and began < self._retry_at:
            self._drop(entries.records)
            sent()
            return
        quick = self._store.is_local and not self._slow_writes
        if quick and self._lock.acquire(blocking=False):
            try:
                if not self._queue and self._store.append(entries, began):
                    self._slow_writes = self._store.write_s > SLOW_S
                    self._note(entries.records)
                    if self._acks and not self._slow:
                        self._await(_Waiting(entries, sent, began), self._unsynced)
                        sent = _nothing
                    if not self._dirty.is_set():
                        self._dirty.set()
                    sent()
                    return
            except OSError as error:
                self._fail(error, entries.records)
                sent()
                return
            finally:
                self._lock.release()
        self._defer(entries, sent)

    def _defer(self, entries: Entries, sent: Sent) -> None:
        """The thread writes it; its answers wait, unless the disk is slow."""
        size = len(entries.lines)
        if self._queued_bytes and self._queued_bytes + size > BUFFER_BYTES:
            self._drop(entries.records)
            self._tell("captures are dropped", "the disk is too slow for them")
            sent()
            return
        with self._mutex:
            self._queued_bytes += size
        waiting = _Waiting(entries, sent)
        if self._slow or self._slow_writes:
            waiting.sent = None
            sent()
            self._queue.append(waiting)
        else:
            self._await(waiting, self._queue)
        self._dirty.set()
        self._urgent.set()

    def _await(self, waiting: _Waiting, place: deque[_Waiting] | list[_Waiting]) -> None:
        """Its answers go out once the thread has done with it, or when that takes too long."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody's answers
            sent, waiting.sent = waiting.sent or _nothing, None
            sent()
        else:
            self._answers.append(waiting)
            if self._timer is None:
                self._timer = self._loop.call_later(self._patience_s, self._lose_patience)
        place.append(waiting)
        self._urgent.set()

    def _lose_patience(self) -> None:
        now = time.monotonic()
        self._timer = None
        late = []
        while self._answers and (
            not self._answers[0].sent or self._answers[0].since + self._patience_s <= now
        ):
            late.append(self._answers.popleft())
        if any(waiting.sent for waiting in late):
            self._slow = True
        self._send(late)
        if self._answers and self._loop:
            rest = self._answers[0].since + self._patience_s - now
            self._timer = self._loop.call_later(max(rest, 0), self._lose_patience)

    def _send(self, done: Sequence[_Waiting]) -> None:
        for waiting in done:
            sent, waiting.sent = waiting.sent, None
            if sent:
                sent()
        while self._answers and not self._answers[0].sent:
            self._answers.popleft()

    # in any thread

    def _state(self) -> tuple[str, str]:
        if self.folder is None:
            return "off", ""
        if self._problem:
            return "full" if self._full else "failing", self._problem
        if self._busy:
            return "slow", "another server holds the store"
        if self._slow or self._slow_writes:
            return "slow", f"the disk takes longer than {SLOW_S * 1000:.0f} ms"
        return "ok", ""

    def _note(self, written: int) -> None:
        with self._mutex:
            self._written += written
        if written and self._problem:
            self._problem = ""
            self._tell("captures are dropped", "")

    def _drop(self, count: int) -> None:
        with self._mutex:
            self._dropped += count

    def _fail(self, error: OSError, count: int) -> None:
        self._drop(count)
        self._full = isinstance(error, StoreFullError) or error.errno in _FULL
        self._problem = error.strerror or str(error)
        self._retry_at = time.monotonic() + AGAIN_S
        self._tell("captures are dropped", self._problem)

    def _tell(self, what: str, why: str) -> None:
        """A line on stderr, when things have changed; `why` is empty when all is well."""
        if why != self._told.get(what, ""):
            self._told[what] = why
            sys.stderr.write(f"{what}: {why or 'no longer'}\n")

    # in the thread, or another one that holds the lock

    def _work(self) -> None:
        while not self._closing:
            if self._dirty.wait(IDLE_S):
                self._urgent.wait(SYNC_S)
            self._urgent.clear()
            self._dirty.clear()
            with self._lock:
                if self._closing:
                    return
                self._turn()
            if self._busy:
                time.sleep(SLOW_S)
                self._dirty.set()
                self._urgent.set()

    def _turn(self) -> None:
        """What waits is written, what was written is on the disk, and the store is looked after."""
        done = self._drain()
        began = time.monotonic()
        unsynced, self._unsynced = self._unsynced, []
        if not self._acks:
            self._announce(done)
            done = []
        problem = ""
        try:
            self._store.sync()
        except OSError as error:
            problem = str(error)
        self._tell("captures may not outlive a loss of power", problem)
        self._announce([*unsynced, *done])
        if not self._queue and not self._busy:
            self._slow_writes = self._slow_writes and not (done and self._store.write_s <= SLOW_S)
            self._slow = self._slow and time.monotonic() - began > SLOW_S
        if self._store.closed and not self._compressing.is_alive():
            self._store.closed = False
            self._compressing = threading.Thread(
                target=self._compress, name="captures-compressing", daemon=True
            )
            self._compressing.start()

    def _drain(self) -> list[_Waiting]:
        """The groups that waited and do so no longer."""
        waiting = list(self._queue)
        entries = [each.entries for each in waiting]
        written = 0
        try:
            with self._store.alone():
                try:
                    self._store.write(entries)
                    self._store.tidy()
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
                self._queued_bytes -= len(each.entries.lines)
        return waiting

    def _announce(self, done: Sequence[_Waiting]) -> None:
        """Their answers go out."""
        if done and self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._send, done)

    def _compress(self) -> None:
        problem, usual_s = "", sys.getswitchinterval()
        sys.setswitchinterval(min(usual_s, SWITCH_S))
        try:
            compress_closed(self._store.folder, lambda: self._closing)
        except OSError as error:
            problem = str(error)
        finally:
            sys.setswitchinterval(usual_s)
        self._tell("closed captures are not compressed", problem)


def _nothing() -> None:
    pass


def _is_out(row: Sequence[Any], ranges: Sequence[tuple[float | None, float | None]]) -> bool:
    """Whether a number in the row is outside of what training saw."""
    for value, (low, high) in zip(row, ranges, strict=False):
        if isinstance(value, int | float) and (
            (low is not None and value < low) or (high is not None and value > high)
        ):
            return True
    return False


def _render_inputs(body: bytes, question: Any) -> bytes:
    """What was scored, as JSON: the rows; or what a script was given, as a text where it is not JSON."""
    if not isinstance(question, bytes):
        return _posted_rows(body) or json.dumps(question, separators=(",", ":")).encode()
    text = question.decode("utf-8", "replace")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(text).encode()
    return text.encode()


def _posted_rows(body: bytes) -> bytes:
    """The rows as they were posted, when they were posted as plain lists; it spares rendering them again.

    The only two quotes in a body that was read well are those of "data": all else in it is numbers.
    """
    if body.startswith(_BEGIN) and body.endswith(b"}") and body.count(b'"') == 2:
        return body[len(_BEGIN) : -1]
    return b""
