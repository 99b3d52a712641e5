"""A record of captures: a line of JSON, as it comes home. Format: ours.

Its members stand in this order, and `crc32` (zlib's, of everything before `,"crc32"`) tells a torn or damaged
line from a good one:

    {"sequence":17,"purpose":"user","id":"…","at":"…","model":"…","version":"…","digest":"…","status":200,
     "latency_ms":0.41,"inputs":[[1.5,2.0]],"output":[12.5],"crc32":"89abcdef"}

A device keeps records more tightly (`wire.capture_segment`), in files named by the sequence of their first
record, and hands them out as these lines, in pages (`wire.capture_page`). `output` is the very text the
client got (line ends outside of texts become spaces).
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted

from edgeferry.domain.capture import PURPOSES, USER, Record

CAPTURES_FOLDER = "/var/lib/edgeferry/captures"
"""Where a model's image has a folder that its user may write to, and its container a volume."""
PURPOSE_HEADER = "X-Edgeferry-Purpose"
ID_HEADER = "X-Request-Id"

PLAIN, PACKED, PART = "", ".gz", ".gz.part"
"""Kinds of a segment's file: lines; compressed (`wire.capture_block`); being compressed, and good for nothing
yet. Where lines and compressed ones are both there, they hold the same."""

_CRC = b',"crc32":"'
_INPUTS = ',"inputs":'
_OUTPUT = ',"output":'
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


def render_segment_name(first: int, kind: str = PLAIN) -> str:
    """The file name of the segment that begins with that sequence."""
    return f"{first:019d}.jsonl{kind}"


def parse_segment_name(name: str) -> tuple[int, str] | None:
    """The sequence a segment begins with and the file's kind; None for any other file's name."""
    found = _SEGMENT.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


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
