"""Reading captures: pages and counts of a store, over HTTP on a port of its own, in threads of their own.

Only what is on the disk is handed out, so that a loss of power never takes back what was already read. Lines
that do not match their checksum are passed over and counted. The companion asks here; it sits on the device's
network, to which this port is not published.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import urlsplit

from edgeferry.device.modules.capture import Captures
from edgeferry.domain.capture import SMOKE, Cursor, choose_segments
from edgeferry.errors import UsageError
from edgeferry.wire.capture import (
    CAPTURES_PATH,
    COUNT_PATH,
    PAGE_LENGTH,
    Line,
    Page,
    PageRequest,
    parse_line,
    parse_page_query,
    render_counts,
    render_page,
    render_segment_name,
)
from edgeferry.wire.serving import render_refusal

NEAR_BYTES = 64 * 1024
"""Closer than this to a sequence, lines are read one by one."""
MOST_LOOKED_AT = 20_000
"""Lines a page may look at; a page of a rare purpose may hold none and still lead on."""


def read_page(captures: Captures, request: PageRequest) -> Page:
    """The piece of the store that is wanted, never longer than a method's answer may be."""
    last = captures.sync()
    cursor, text, length, kept, damaged, looked_at = request.cursor, "", 0, 0, 0, 0
    more = cursor.after < last
    for line in _read_lines(captures, cursor.after) if more and request.limit else ():
        looked_at += 1
        if line is None:
            damaged += 1
            continue
        if line.sequence > last or kept == request.limit or looked_at > MOST_LOOKED_AT:
            more = line.sequence <= last
            break
        if cursor.skip and line.sequence != cursor.after + 1:
            text, length = "\n", 2  # the rest of that record is gone: end what the reader has of it
            cursor = Cursor(line.sequence - 1)
        if request.purpose in ("", line.purpose):
            skip = cursor.skip
            piece = line.text.decode()[skip:]
            whole = len(json.dumps(piece))
            if length + whole > PAGE_LENGTH:
                if not kept:
                    part = _fit(piece, PAGE_LENGTH - length)
                    text, cursor = text + part, Cursor(line.sequence - 1, skip + len(part))
                break
            text, length, kept = text + piece, length + whole, kept + 1
        cursor = Cursor(line.sequence)
    else:
        more = more and not request.limit
    return Page(text, cursor, more, damaged, captures.counts().first, last)


def count(captures: Captures) -> dict[str, int]:
    """How many records there are of each purpose, by reading all of them."""
    last = captures.sync()
    user = smoke = damaged = 0
    for line in _read_lines(captures, 0):
        if line is None:
            damaged += 1
        elif line.sequence <= last:
            smoke += line.purpose == SMOKE
            user += line.purpose != SMOKE
    return render_counts(replace(captures.counts(), user=user, smoke=smoke, damaged=damaged))


def serve_pages(captures: Captures, host: str, port: int) -> ThreadingHTTPServer:
    """A server of pages and counts, serving; `shutdown` and `server_close` end it."""

    class Pages(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            status, said = _answer(captures, self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Pages)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.1,), name="captures-pages", daemon=True).start()
    return server


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


def _read_lines(captures: Captures, after: int) -> Iterator[Line | None]:
    """The lines behind `after`, None for damaged ones."""
    folder = captures.folder
    if folder is None:
        return
    for segment in choose_segments(captures.segments(), after):
        try:
            file = (folder / render_segment_name(segment.first)).open("rb")
        except FileNotFoundError:
            continue  # it made room meanwhile
        with file:
            file.seek(_find(file, segment.size_bytes, after))
            for text in file:
                if not text.endswith(b"\n"):
                    break  # it is being written
                line = parse_line(text)
                if line is None or line.sequence > after:
                    yield line


def _find(file: IO[bytes], size_bytes: int, after: int) -> int:
    """A place in the file, at most NEAR_BYTES and a line before the first record behind `after`."""
    low, high = 0, size_bytes
    while high - low > NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        place = file.tell()
        line = next((line for line in map(parse_line, file) if line), None)
        if place >= high or line is None or line.sequence > after:
            high = middle
        else:
            low = place
    return low


def _fit(piece: str, room: int) -> str:
    """As much of the text's beginning as fits into `room` characters of JSON."""
    piece = piece[:room]
    while len(json.dumps(piece)) > room:
        piece = piece[: len(piece) * 3 // 4]
    return piece
