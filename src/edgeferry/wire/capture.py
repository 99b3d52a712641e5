"""Captures on their way home, and in stores of format 1. Format: ours.

A record is a line of JSON. Its members stand in this order, and `crc32` (zlib's, of everything before
`,"crc32"`) tells a torn or damaged line from a good one:

    {"sequence":17,"purpose":"user","id":"…","at":"…","model":"…","version":"…","digest":"…","status":200,
     "latency_ms":0.41,"inputs":[[1.5,2.0]],"output":[12.5],"crc32":"89abcdef"}

A device keeps records in files named by the sequence of their first record: segments, of these very lines in
format 1, more tightly in format 2 (`wire.capture_segment`). Both are handed out as these lines.

`output` is the very text the client got (line ends outside of texts become spaces). Pages carry the lines as
text, so that no hub on the way re-writes a number, and every line is checked again at home:

    page     {"text", "next": cursor, "more", "damaged", "first", "last", "columns": [[from, [name, …]], …]}
    counts   {"user", "smoke", "damaged", "expired", "dropped", "refused", "first", "last"}

    GET :8082/captures?after=CURSOR&limit=N&purpose=P  -> a page
    GET :8082/captures/count                           -> counts
    method captures       {"model", "after"?: cursor, "limit"?: number, "purpose"?}  -> a page
    method countCaptures  {"model"}                                                  -> counts
    companion desired     captures.<model> = {"url": where its pages are}

A page's text may begin or end within a line: the cursor, `SEQUENCE` or `SEQUENCE+CHARACTERS`, knows.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any
from urllib.parse import parse_qsl, urlencode

from edgeferry.domain.capture import PURPOSES, USER, Counts, Cursor, Record
from edgeferry.errors import UsageError

CAPTURES_PORT = 8082
"""On the device's own network only: the port that scores does not hand out what others asked."""
CAPTURES_FOLDER = "/var/lib/edgeferry/captures"
"""Where a model's image has a folder that its user may write to, and its container a volume."""
CAPTURES_PATH = "/captures"
COUNT_PATH = "/captures/count"
PURPOSE_HEADER = "X-Edgeferry-Purpose"
ID_HEADER = "X-Request-Id"
COLUMNS_LENGTH = 20_000
"""Characters of a page's column names as JSON; longer ones stay on the device."""
PAGE_LENGTH = 90_000
"""Characters of a page's text as JSON: a method's answer has at most 128 KiB."""

PLAIN, PACKED, PART = "", ".gz", ".gz.part"
"""Kinds of a segment's file: lines; compressed (`wire.capture_block`); being compressed, and good for nothing
yet. Where lines and compressed ones are both there, they hold the same."""

_HEAD = re.compile(rb'\{"sequence":(\d{1,19}),"purpose":"([a-z]+)",')
_CRC = b',"crc32":"'
_INPUTS = ',"inputs":'
_OUTPUT = ',"output":'
_LIMIT = 1000
_CURSOR = re.compile(r"(\d{1,19})(?:\+(\d{1,9}))?")
_SEGMENT = re.compile(r"(\d{19})\.jsonl(|\.gz|\.gz\.part)")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LINE_ENDS = str.maketrans("\r\n", "  ")


@dataclass(frozen=True)
class Line:
    """A good line, without a look at what was asked and answered."""

    sequence: int
    purpose: str
    text: bytes
    """With its line end."""
    columns: tuple[str, ...] = ()
    """The names of the model's columns, none when they are not known."""


@dataclass(frozen=True)
class Page:
    """A piece of a store, on its way home."""

    text: str
    next: Cursor
    more: bool
    damaged: int
    first: int
    """The oldest record's sequence; 0 when there is none."""
    last: int
    columns: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """The names of the model's columns, from that sequence on; none when they are not known."""


@dataclass(frozen=True)
class PageRequest:
    """Which piece of a store is wanted; `limit` 0 asks for `first` and `last` alone."""

    cursor: Cursor
    limit: int
    purpose: str


def render_record(record: Record) -> bytes:
    """The record's line. `inputs` and `output` must be JSON texts."""
    body = (
        f'{{"sequence":{record.sequence},"purpose":{quoted(record.purpose)},"id":{quoted(record.id)},'
        f'"at":{quoted(record.at)},"model":{quoted(record.model)},"version":{quoted(record.version)},'
        f'"digest":{quoted(record.digest)},"status":{record.status},"latency_ms":{record.latency_ms!r}'
        f"{_INPUTS}{_one_line(record.inputs.strip())}{_OUTPUT}{_one_line(record.output)}"
    ).encode()
    return seal(body)


def parse_record(line: bytes) -> Record:
    """The record in a line; ValueError when the line is torn, damaged or something else."""
    body = unseal(line)
    text = body.decode()
    cut = text.index(_INPUTS)
    said = json.loads(text[:cut] + "}")
    try:
        _, end = json.JSONDecoder().raw_decode(text, cut + len(_INPUTS))
        if not text.startswith(_OUTPUT, end):
            raise ValueError("no output follows the inputs")
        output = text[end + len(_OUTPUT) :]
        json.loads(output)
        return Record(inputs=text[cut + len(_INPUTS) : end], output=output, **said)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"this is no record: {error}") from error


def parse_line(line: bytes) -> Line | None:
    """Sequence and purpose of a line; None when it is torn, damaged or something else."""
    head = _HEAD.match(line)
    try:
        unseal(line)
    except ValueError:
        return None
    return Line(int(head[1]), head[2].decode(), line) if head else None


def render_segment_name(first: int, kind: str = PLAIN) -> str:
    """The file name of the segment that begins with that sequence."""
    return f"{first:019d}.jsonl{kind}"


def parse_segment_name(name: str) -> tuple[int, str] | None:
    """The sequence a segment begins with and the file's kind; None for any other file's name."""
    found = _SEGMENT.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


def render_cursor(cursor: Cursor) -> str:
    """`SEQUENCE` or `SEQUENCE+CHARACTERS`."""
    return f"{cursor.after}+{cursor.skip}" if cursor.skip else str(cursor.after)


def parse_cursor(text: str) -> Cursor:
    """The place that the text names, the beginning when it is empty; UsageError when it is no cursor."""
    found = _CURSOR.fullmatch(text or "0")
    if found is None:
        raise UsageError(f"{text!r} is no place in captures", fix="give a sequence, or the 'next' of a page")
    return Cursor(int(found[1]), int(found[2] or 0))


def render_page_query(request: PageRequest) -> str:
    """The query of `GET /captures`."""
    said = {"after": render_cursor(request.cursor), "limit": str(request.limit), "purpose": request.purpose}
    return urlencode(said)


def parse_page_query(query: str) -> PageRequest:
    """What a query asks for; UsageError when it cannot be read."""
    return parse_page_request(dict(parse_qsl(query)))


def parse_page_request(said: Mapping[str, Any]) -> PageRequest:
    """What a query or a method's payload asks for; UsageError when it cannot be read."""
    purpose, limit = said.get("purpose") or "", str(said.get("limit", _LIMIT))
    if purpose not in ("", *PURPOSES):
        raise UsageError(f"the purpose {purpose!r} is unknown", fix=f"give one of: {', '.join(PURPOSES)}")
    if not limit.isdecimal() or len(limit) > 9:
        raise UsageError(f"the limit {limit} is no number of records", fix="give a number from 0 on")
    return PageRequest(parse_cursor(str(said.get("after") or "")), int(limit), str(purpose))


def render_source(url: str) -> dict[str, str]:
    """The value of the companion's `properties.desired.captures.<model>`."""
    return {"url": url}


def parse_source(said: object) -> str:
    """Where a model's pages are; "" when it is not said."""
    url = said.get("url") if isinstance(said, Mapping) else None
    return url if isinstance(url, str) else ""


def render_page(page: Page) -> dict[str, Any]:
    """The page as JSON."""
    return {**asdict(page), "next": render_cursor(page.next)}


def parse_page(said: object) -> Page:
    """The page in an answer; UsageError when it is none."""
    try:
        if not isinstance(said, Mapping):
            raise TypeError("it is not an object")
        numbers = {key: int(said[key]) for key in ("damaged", "first", "last")}
        cursor = parse_cursor(str(said["next"]))
        columns = tuple(
            (int(begin), tuple(str(name) for name in names)) for begin, names in said.get("columns", ())
        )
        return Page(str(said["text"]), cursor, said["more"] is True, **numbers, columns=columns)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"this is no page of captures: {error!r}", fix="look at what answers on the device"
        ) from error


def render_counts(counts: Counts) -> dict[str, int]:
    """The counts as JSON."""
    return asdict(counts)


def parse_counts(said: object) -> Counts:
    """The counts in an answer; UsageError when it holds none."""
    try:
        if not isinstance(said, Mapping):
            raise TypeError("it is not an object")
        return Counts(**{key: int(said[key]) for key in asdict(Counts())})
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"these are no counts of captures: {error!r}", fix="look at what answers on the device"
        ) from error


def parse_purpose(header: str) -> str:
    """The purpose in a request's header, `user` for none and for an unknown one."""
    return header if header in PURPOSES else USER


def parse_request_id(header: str) -> str:
    """The caller's id for its request; "" when there is none or it is not 1 to 64 of A-Z a-z 0-9 _ . : -"""
    return header if _ID.fullmatch(header) else ""


def seal(body: bytes) -> bytes:
    """The line of a JSON object without its last brace, with its checksum."""
    return b'%b%b%08x"}\n' % (body, _CRC, zlib.crc32(body))


def unseal(line: bytes) -> bytes:
    """What the checksum at the line's end covers; ValueError when it does not match."""
    body, _, tail = line.removesuffix(b"\n").rpartition(_CRC)
    if tail != b'%08x"}' % zlib.crc32(body):
        raise ValueError("the line does not match its checksum")
    return body


def _one_line(text: str) -> str:
    """The same JSON without line ends: they can only stand between its values."""
    return text.translate(_LINE_ENDS) if "\n" in text or "\r" in text else text
