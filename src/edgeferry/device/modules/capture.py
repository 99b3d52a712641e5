"""Writing captures: each scored request is one line in a segment, written before its answer goes out.

One `write` a record, so that nothing that was answered is lost when the process is killed; a thread puts what
was written on the disk, at most every 100 ms, and always before records are handed out. Nothing here may keep
a model from answering: a record that cannot be written is dropped, counted and told on stderr.

While a model is handed over, two servers write to one store. Each writes under a lock on the store's folder
and first catches up with what the other wrote, so that sequences stay one row.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeferry.domain.capture import Bounds, Counts, Record, Segment, choose_expired, fits, must_rotate
from edgeferry.wire.capture import parse_line, parse_segment_name, render_record, render_segment_name
from edgeferry.wire.serving import ModelCard

SYNC_S = 0.1
AGAIN_S = 1.0
"""A store that cannot be opened is tried again this often."""
LOCK_S = 0.05
"""How long another server may hold the store: one that was halted must not halt this one."""


@dataclass(frozen=True)
class Asked:
    """A request as far as captures care: who asked, and why."""

    id: str
    purpose: str


class Captures:
    """The store of one model server in `folder`; None keeps nothing and counts nothing."""

    def __init__(self, folder: Path | None, card: ModelCard, digest: str, bounds: Bounds = Bounds()) -> None:
        self.folder = folder
        self._model = (card.model, card.version, digest)
        self._group: list[tuple[Asked, bytes, Any, bytes, int, float]] = []
        self._bounds = bounds
        self._run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._file = -1
        self._door = -1
        self._size_bytes = 0
        self._retired: list[int] = []
        self._last = 0
        self._written = self._dropped = self._refused = 0
        self._problems: dict[str, str] = {}
        self._closed_because = ""
        self._try_at = 0.0
        self._unsynced = threading.Event()
        self._closing = False
        if folder is not None:
            with self._lock, contextlib.suppress(OSError), self._alone():
                pass
            threading.Thread(target=self._sync_until_closed, name="captures", daemon=True).start()

    def keep(
        self, asked: Asked, body: bytes, question: Any, output: bytes, status: int, latency_ms: float
    ) -> None:
        """One more record of the group that the next `write` writes; never raises, never waits.

        `question`: what was read from the body and scored.
        """
        if self.folder is not None:
            self._group.append((asked, body, question, output, status, latency_ms))

    def write(self, sent: Callable[[], None]) -> None:
        """The group is written, or dropped and counted; then its answers may go out: `sent` is called."""
        group, self._group = self._group, []
        for kept in group:
            self._write(*kept)
        sent()

    def _write(
        self, asked: Asked, body: bytes, question: Any, output: bytes, status: int, latency_ms: float
    ) -> None:
        text = _render_inputs(body, question)
        with self._lock:
            try:
                with self._alone():
                    self._append(self._render(asked, text, output, status, latency_ms))
            except (OSError, ValueError) as error:
                self._dropped += 1
                self._tell("captures are dropped", str(error))
                return
            self._last += 1
            self._written += 1
            self._tell("captures are dropped", "")
        self._unsynced.set()

    def refuse(self) -> None:
        """One more request that was refused: counted, not stored."""
        self._refused += 1

    def said(self) -> dict[str, int]:
        """What `GET /health` says of captures, since the server started."""
        return {"written": self._written, "dropped": self._dropped, "refused": self._refused}

    def metrics(self) -> dict[str, float]:
        """What `GET /metrics` says of captures: names of Prometheus, `…_total` for counters."""
        return {f"edgeferry_captures_{name}_total": count for name, count in self.said().items()}

    def counts(self) -> Counts:
        """Counts without a look at the records."""
        segments = self.segments()
        first = segments[0].first if segments and self._last else 0
        expired = max(segments[0].first - 1, 0) if segments else 0
        return Counts(
            expired=expired, dropped=self._dropped, refused=self._refused, first=first, last=self._last
        )

    def segments(self) -> list[Segment]:
        """The store's segments, oldest first; none while it cannot be read."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.folder or "") as entries:
            for entry in entries:
                first = parse_segment_name(entry.name)
                if first is not None:
                    found.append(Segment(first, entry.stat().st_size))
        return sorted(found, key=lambda segment: segment.first)

    def sync(self) -> int:
        """The last sequence that is on the disk now."""
        with self._lock:
            if self._file >= 0:
                with contextlib.suppress(OSError), self._alone():
                    pass
            last = self._last
            files, self._retired = self._retired, []
            if self._file >= 0:
                files.append(os.dup(self._file))
        problem = ""
        for file in files:
            try:
                os.fdatasync(file)
            except OSError as error:
                problem = str(error)
            finally:
                os.close(file)
        self._tell("captures may not outlive a loss of power", problem)
        return last

    def close(self) -> None:
        """All records are on the disk, and nothing is kept any more."""
        self._closing = True
        self._unsynced.set()
        self.sync()
        with self._lock:
            self.folder = None
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            if self._door >= 0:
                os.close(self._door)
                self._door = -1

    # with the lock held

    def _render(self, asked: Asked, inputs: str, output: bytes, status: int, latency_ms: float) -> bytes:
        model, version, digest = self._model
        sequence = self._last + 1
        return render_record(
            Record(
                sequence=sequence,
                purpose=asked.purpose,
                id=asked.id or f"{self._run}-{sequence}",
                at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                model=model,
                version=version,
                digest=digest,
                status=status,
                latency_ms=round(latency_ms, 3),
                inputs=inputs,
                output=output.decode(),
            )
        )

    def _append(self, line: bytes) -> None:
        if not fits(len(line), self._bounds):
            raise ValueError(f"a record of {len(line)} bytes is too large for this store")
        if must_rotate(self._size_bytes, len(line), self._bounds):
            self._rotate(len(line))
        written = 0
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError("the disk is full")
        except OSError:
            if written > 0:
                self._cut_off()
            raise
        self._size_bytes += len(line)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The store is open, what another server wrote is known, and none writes; OSError when not."""
        if self.folder is None:
            raise OSError("the store is closed")
        if self._door < 0:
            self._door = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _lock(self._door)
        try:
            if self._file >= 0 and self._has_been_written_to():
                self._retired.append(self._file)
                self._file, self._try_at = -1, 0.0
            if not self._is_open():
                raise OSError(self._closed_because)
            yield
        finally:
            if self._file < 0:  # perhaps the folder is another one now
                os.close(self._door)
                self._door = -1
            else:
                with contextlib.suppress(OSError):
                    fcntl.flock(self._door, fcntl.LOCK_UN)

    def _has_been_written_to(self) -> bool:
        """Whether the segment is longer than this server left it, or no longer the newest one, or gone."""
        said = os.fstat(self._file)
        return said.st_size != self._size_bytes or not said.st_mode & stat.S_IWUSR or said.st_nlink == 0

    def _is_open(self) -> bool:
        if self._file >= 0:
            return True
        if time.monotonic() < self._try_at:
            return False
        self._try_at = time.monotonic() + AGAIN_S
        try:
            self._open()
        except OSError as error:
            self._closed_because = str(error)
        return self._file >= 0

    def _open(self) -> None:
        """The newest segment is open at its end, or the first one is made; a torn last line is cut off."""
        assert self.folder is not None
        os.scandir(self.folder).close()  # a folder that is missing is told as such
        segments = self.segments()
        if not segments:
            self._file, self._size_bytes, self._last = self._create(1), 0, 0
            return
        newest = segments[-1]
        path = self.folder / render_segment_name(newest.first)
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        size = sum(map(len, whole))
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if size != newest.size_bytes:
                os.ftruncate(file, size)
        except OSError:
            os.close(file)
            raise
        good = next((line.sequence for line in map(parse_line, reversed(whole)) if line), 0)
        self._file, self._size_bytes = file, size
        self._last = max(good, newest.first - 1 + len(whole))

    def _cut_off(self) -> None:
        """The piece of a line that was written is gone; if need be when the store is opened again."""
        try:
            os.ftruncate(self._file, self._size_bytes)
        except OSError:
            self._retired.append(self._file)
            self._file = -1

    def _rotate(self, line_bytes: int) -> None:
        """A new segment is open, and the oldest ones are gone so that it may grow."""
        assert self.folder is not None
        closed = self.segments()
        file = self._create(self._last + 1)
        with contextlib.suppress(OSError):
            os.fchmod(self._file, 0o400)  # tells another server that it is closed
        self._retired.append(self._file)
        self._file, self._size_bytes = file, 0
        for segment in choose_expired(closed, line_bytes, self._bounds):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.folder / render_segment_name(segment.first))

    def _create(self, first: int) -> int:
        assert self.folder is not None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(self.folder / render_segment_name(first), flags, 0o600)
        with contextlib.suppress(OSError):
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return file

    def _tell(self, what: str, why: str) -> None:
        """A line on stderr, when things have changed; `why` is empty when all is well."""
        if why != self._problems.get(what, ""):
            self._problems[what] = why
            sys.stderr.write(f"{what}: {why or 'no longer'}\n")

    def _sync_until_closed(self) -> None:
        while True:
            self._unsynced.wait()
            if self._closing:
                return
            time.sleep(SYNC_S)
            self._unsynced.clear()
            self.sync()


def _lock(file: int) -> None:
    """No other server holds it; where nothing can be locked, there is none that could."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise OSError("another server holds the store") from error
            time.sleep(0.001)
        except OSError:
            return  # a file system without locks


def _render_inputs(body: bytes, question: Any) -> str:
    """What was scored, as JSON: the rows; or what a script was given, as a text where it is not JSON."""
    if not isinstance(question, bytes):
        return _posted_rows(body) or json.dumps(question)
    text = question.decode("utf-8", "replace")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return json.dumps(text)
    return text


def _posted_rows(body: bytes) -> str:
    """The rows as they were posted, when they were posted as plain lists; it spares rendering them again.

    The only two quotes in a body that was read well are those of "data": all else in it is numbers.
    """
    if body.count(b'"') == 2 and body.startswith(b"{") and body.endswith(b"}") and b"\0" not in body:
        return body[body.index(b":") + 1 : -1].decode()
    return ""
