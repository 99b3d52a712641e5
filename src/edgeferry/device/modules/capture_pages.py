"""Reading captures: pages and counts of a store, over HTTP on a port of its own, a few at once and beside the
loop that scores.

Only what is on the disk is handed out, so that a loss of power never takes back what was already read. What
matches no checksum, or is no record, is passed over and counted. The companion asks here, on the device's own
network; the port is not published beyond it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from edgeferry.device.modules.capture import Captures
from edgeferry.device.modules.segment_reading import read_lines
from edgeferry.device.modules.small_server import serve_small
from edgeferry.domain.capture import SMOKE, Cursor
from edgeferry.errors import UsageError
from edgeferry.wire.capture import Line
from edgeferry.wire.capture_page import (
    CAPTURES_PATH,
    COLUMNS_LENGTH,
    COUNT_PATH,
    PAGE_LENGTH,
    Page,
    PageRequest,
    parse_page_query,
    render_counts,
    render_page,
)
from edgeferry.wire.serving import render_refusal

MOST_LOOKED_AT = 20_000
"""Lines a page may look at; a page of a rare purpose may hold none and still lead on."""


def read_page(captures: Captures, request: PageRequest) -> Page:
    """The piece of the store that is wanted, never longer than a method's answer may be."""
    last, folder = captures.sync(), captures.folder
    cursor, text, length, kept, looked_at = request.cursor, "", 0, 0, 0
    damaged = passed = 0
    columns = _Columns()
    more = cursor.after < last
    if not more or not request.limit or folder is None:
        return Page(text, cursor, more, 0, captures.counts().first, last)
    for line in read_lines(folder, cursor.after, purpose=request.purpose):
        looked_at += 1
        if isinstance(line, int):
            passed += line
            continue
        if line.sequence > last or kept == request.limit or looked_at > MOST_LOOKED_AT:
            more = line.sequence <= last
            break
        if cursor.skip and line.sequence != cursor.after + 1:
            text, length = "\n", 2  # the rest of that record is gone: end what the reader has of it
            cursor = Cursor(line.sequence - 1)
        damaged, passed = damaged + passed, 0
        if request.purpose in ("", line.purpose):
            columns.see(line)
            skip = cursor.skip
            piece = line.text.decode()[skip:]
            whole = len(json.dumps(piece[: PAGE_LENGTH + 1]))  # a longer one fits no page
            if length + whole > PAGE_LENGTH:
                if not kept:
                    part = _fit(piece, PAGE_LENGTH - length)
                    text, cursor = text + part, Cursor(line.sequence - 1, skip + len(part))
                break
            text, length, kept = text + piece, length + whole, kept + 1
        cursor = Cursor(line.sequence)
    else:
        more, damaged = False, damaged + passed
    return Page(text, cursor, more, damaged, captures.counts().first, last, tuple(columns.runs))


class _Columns:
    """The names of columns that a page says: those of its lines, from where on they hold."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, tuple[str, ...]]] = []
        self._last: tuple[str, ...] = ()
        self._room = COLUMNS_LENGTH

    def see(self, line: Line) -> None:
        if line.columns != self._last:
            self._last = line.columns
            length = len(json.dumps(line.columns))
            fitting = length <= self._room
            self._room -= length if fitting else 0
            self.runs.append((line.sequence, line.columns if fitting else ()))


def count(captures: Captures) -> dict[str, int]:
    """How many records there are of each purpose, by reading all of them."""
    last, folder = captures.sync(), captures.folder
    user = smoke = damaged = 0
    for line in read_lines(folder, 0, texts=False) if folder else ():
        if isinstance(line, int):
            damaged += line
        elif line.sequence <= last:
            smoke += line.purpose == SMOKE
            user += line.purpose != SMOKE
    counts = captures.counts()
    return render_counts(replace(counts, user=user, smoke=smoke, damaged=counts.damaged + damaged))


def serve_pages(captures: Captures, host: str, port: int) -> ThreadingHTTPServer:
    """A server of pages and counts, serving; `shutdown` and `server_close` end it."""
    return serve_small(partial(_answer, captures), host, port, "captures-pages")


def _answer(captures: Captures, target: str) -> tuple[int, bytes]:
    parts = urlsplit(target)
    if captures.folder is None:
        return 404, render_refusal("captures are off here", "unset EDGEFERRY_CAPTURES in the module's layer")
    try:
        if parts.path == CAPTURES_PATH:
            return 200, json.dumps(render_page(read_page(captures, parse_page_query(parts.query)))).encode()
        if parts.path == COUNT_PATH:
            return 200, json.dumps(count(captures)).encode()
    except UsageError as error:
        return 400, render_refusal(error.problem, error.fix)
    except OSError as error:
        return 500, render_refusal(f"captures cannot be read: {error}", "look at the module's volume")
    return 404, render_refusal(f"{parts.path} cannot be answered", f"ask {CAPTURES_PATH} or {COUNT_PATH}")


def _fit(piece: str, room: int) -> str:
    """As much of the text's beginning as fits into `room` characters of JSON."""
    piece = piece[:room]
    while len(json.dumps(piece)) > room:
        piece = piece[: len(piece) * 3 // 4]
    return piece
