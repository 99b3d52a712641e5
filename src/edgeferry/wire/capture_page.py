"""Captures on their way home, in pages. Format: ours.

Pages carry records' lines (`wire.capture`) as text, so that no hub on the way re-writes a number, and every
line is checked again at home:

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

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from edgeferry.domain.capture import PURPOSES, Counts, Cursor
from edgeferry.errors import UsageError

CAPTURES_PORT = 8082
"""On the device's own network only: the port that scores does not hand out what others asked."""
CAPTURES_PATH = "/captures"
COUNT_PATH = "/captures/count"
COLUMNS_LENGTH = 20_000
"""Characters of a page's column names as JSON; longer ones stay on the device."""
PAGE_LENGTH = 90_000
"""Characters of a page's text as JSON: a method's answer has at most 128 KiB."""

_LIMIT = 1000
_CURSOR = re.compile(r"(\d{1,19})(?:\+(\d{1,9}))?")


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
