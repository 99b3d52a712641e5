"""Captures of a model server: what was asked and answered is written before the answer goes out.

All that was answered in one tick of the event loop is one group, written at once, so that nothing that was
answered is lost when the process is killed, unless the disk is slow. What is kept of an inference is
the policy's to say; how it is written, and what happens when it cannot be, `capture_writer`'s.

All of `Captures` but `folder`, `sync` and `counts` is for the event loop's thread.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeferry.device.modules.capture_answers import nothing
from edgeferry.device.modules.capture_writer import Writer
from edgeferry.device.modules.segment_files import find_files
from edgeferry.domain.capture import USER, Counts, choose_bounds, choose_largest
from edgeferry.domain.capture_policy import (
    ACK,
    CapturePolicy,
    find_redacted,
    hides_output,
    must_keep,
    redact_body,
    redact_rows,
)
from edgeferry.wire.capture_segment import CR, LF, Shared, join_entries, render_entry
from edgeferry.wire.serving import ModelCard, render_rows, takes_bytes

_UNKEPT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)

_BEGIN = b'{"data":'
_LAST_QUOTE = _BEGIN.rindex(b'"')
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
"""Looks whether it is JSON, and makes nothing of it."""


@dataclass(frozen=True)
class Asked:
    """A request as far as captures care: who asked, and why."""

    id: str
    purpose: str


ANYBODY = Asked("", USER)
"""Who says nothing of himself."""


Answered = tuple[Any, Asked, bytes, Any, bytes, int, int]
"""What waits for the answer, who asked, the body as it was posted, what was read from it and scored, the
answer, its status, and how many microseconds it took. One with status 400 is no inference."""
Send = Callable[[Sequence[Answered]], None]


class Captures:
    """The store of one model server in `folder`; None, or a policy that is off, keeps nothing and counts
    nothing."""

    def __init__(self, folder: Path | None, card: ModelCard, digest: str, policy: CapturePolicy) -> None:
        self.folder = folder if policy.enabled else None
        self._policy = policy
        self._samples = policy.rate < 1
        bounds = choose_bounds(policy)
        self._largest, self._segment_bytes = choose_largest(bounds), bounds.segment_bytes
        self._columns = tuple(column.name for column in card.columns)
        self._hides = bool(policy.redact)
        self._redacted = find_redacted(policy, self._columns)
        self._numbers = not takes_bytes(card)  # whose uploads may look like anything
        self._ranges = [(column.low, column.high) for column in card.columns]
        self._refused = self._left_out = 0
        self._writer: Writer | None = None
        if self.folder is not None:
            shared = Shared(card.model, card.version, digest, self._columns, "", 0)
            self._writer = Writer(self.folder, shared, bounds, acks=policy.durability == ACK)

    def write(self, answered: Sequence[Answered], send: Send) -> None:
        """The records of one tick are written, or wait, or are dropped, as all are once the store is closed;
        `send` gets what was answered when it may go out."""
        writer = self._writer
        if writer is None or self.folder is None:
            if writer is not None:
                writer.drop(sum(status != 400 for *_, status, _ in answered))
            send(answered)
            return
        is_plain = len(answered) == 1 and not self._hides
        lines: list[bytes] = []
        room = self._segment_bytes
        for _, asked, body, question, output, status, latency_us in answered:
            if status == 400:
                continue
            try:
                if self._samples and not self._is_wanted(question, status):
                    self._left_out += 1
                    continue
                inputs = None  # unless as posted
                if type(question) is bytes:
                    if question.isascii():
                        inputs = question
                elif (
                    type(question) is list
                    and self._numbers
                    and body.rfind(b'"') == _LAST_QUOTE
                    and body.startswith(_BEGIN)
                    and body.endswith(b"}")
                ):  # all else in a body that was read well is numbers
                    inputs = body[len(_BEGIN) : -1]
                if (
                    is_plain
                    and asked is ANYBODY
                    and status == 200
                    and inputs is not None
                    and writer.append(latency_us, inputs, output)
                ):
                    break
                if self._redacted:
                    inputs = self._hide(question)
                elif inputs is None or (inputs is question and (LF in inputs or CR in inputs)):
                    inputs = _render_inputs(question)
                if self._hides and hides_output(self._policy, status >= 500):
                    output = b"null"
                line = render_entry(latency_us, inputs, output, asked.id, asked.purpose, status)
                size = len(line)
                if size > self._largest:
                    raise ValueError(f"a record of {size} bytes is too large for this store")
            except _UNKEPT as error:
                writer.drop(1)
                writer.tell("a record was dropped", str(error))
                continue
            if size > room and lines:
                writer.write(join_entries(lines), len(lines), nothing)
                lines, room = [], self._segment_bytes
            lines.append(line)
            room -= size
        if lines:
            writer.write(join_entries(lines), len(lines), partial(send, answered))
        else:
            send(answered)

    def refuse(self) -> None:
        """One more request that was refused: counted, not stored."""
        self._refused += 1

    def said(self) -> dict[str, Any]:
        """What `GET /health` says of captures, since the server started."""
        writer = self._writer
        state, reason = writer.state() if writer else ("off", "")
        return {
            "written": writer.written if writer else 0,
            "dropped": writer.dropped if writer else 0,
            "refused": self._refused,
            "state": state,
            "reason": reason,
        }

    def metrics(self) -> dict[str, float]:
        """For Prometheus, by name: since the server started, or as it is now."""
        said, writer = self.said(), self._writer
        return {
            "edgeferry_captures_written_total": said["written"],
            "edgeferry_captures_dropped_total": said["dropped"],
            "edgeferry_captures_refused_total": self._refused,
            "edgeferry_captures_left_out_total": self._left_out,
            "edgeferry_captures_buffered_bytes": writer.queued_bytes if writer else 0,
            "edgeferry_captures_store_bytes": writer.store.size_bytes if writer else 0,
            "edgeferry_captures_slow": said["state"] == "slow",
            "edgeferry_captures_failing": said["state"] == "failing",
            "edgeferry_captures_full": said["state"] == "full",
        }

    def counts(self) -> Counts:
        """Counts without a look at the records; for any thread."""
        first = last = torn = 0
        if self._writer and self.folder is not None:
            last, torn = self._writer.store.last, self._writer.store.torn
            with contextlib.suppress(OSError):
                first = next((each.first for each in find_files(self.folder) if each.is_whole), 0)
        return Counts(
            damaged=torn,
            expired=max(first - 1, 0),
            dropped=self._writer.dropped if self._writer else 0,
            refused=self._refused,
            first=first if last >= first else 0,
            last=last,
        )

    def sync(self) -> int:
        """The last sequence that is on the disk now; for any thread."""
        return self._writer.sync() if self._writer and self.folder else 0

    def close(self) -> None:
        """All records are on the disk, and nothing is kept any more. What hangs is left to itself."""
        if self._writer and self.folder:
            self.folder = None
            self._writer.close()

    def _is_wanted(self, question: Any, status: int) -> bool:
        return must_keep(self._policy, random.random(), status >= 500, self._is_out_of_range(question))

    def _hide(self, question: Any) -> bytes:
        """What was scored, as JSON, without what may not be written."""
        if not isinstance(question, bytes):
            return render_rows(redact_rows(question, self._redacted))
        try:
            said = json.loads(question)
        except (ValueError, RecursionError):
            said = None
        return json.dumps(redact_body(said, self._columns, self._redacted), separators=(",", ":")).encode()

    def _is_out_of_range(self, question: Any) -> bool:
        rows = question if isinstance(question, list) else []
        return any(_is_out(row, self._ranges) for row in rows)


def _is_out(row: Sequence[Any], ranges: Sequence[tuple[float | None, float | None]]) -> bool:
    """Whether a number in the row is outside of what training saw."""
    for value, (low, high) in zip(row, ranges, strict=False):
        if isinstance(value, int | float) and (
            (low is not None and value < low) or (high is not None and value > high)
        ):
            return True
    return False


def _render_inputs(question: Any) -> bytes:
    """What was scored, as JSON: the rows; or what a script was given, as it is if that is one line, else as a
    text where it is not JSON."""
    if not isinstance(question, bytes):
        return render_rows(question)
    text = question if question.isascii() else question.decode("utf-8", "replace").encode()
    if LF not in text and CR not in text:
        return text
    for look in (_decode_raw, json.loads):  # quick, but without NaN; and what Python takes for JSON
        with contextlib.suppress(ValueError, RecursionError):
            look(text)
            return text
    return json.dumps(text.decode()).encode()
