"""One ledger entry as a file: readable JSON, signed over its canonical form without `signature`.

`previous` is the sha256 of the file before it, so entries form a chain; file names count up, so their
order is the ledger's.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgeferry.domain.release import Entry
from edgeferry.wire.canonical import render_canonical

_NAME = re.compile(r"^(\d{6})-([a-z]+)-(.+)\.json$")


def render_name(number: int, kind: str, subject: str) -> str:
    """The file name of entry `number`, e.g. `000007-release-nyc_taxi-v1-3fa9c1d2.json`."""
    return f"{number:06d}-{kind}-{subject}.json"


def parse_name(name: str) -> tuple[int, str, str] | None:
    """(number, kind, subject) of a ledger file; None for any other file."""
    match = _NAME.match(name)
    return (int(match[1]), match[2], match[3]) if match else None


def render_signed_part(
    kind: str, subject: str, at: str, author: str, body: dict[str, Any], previous: str, key: str
) -> bytes:
    """The bytes that an entry's signature covers."""
    return render_canonical(_content(kind, subject, at, author, body, previous, key))


def render_entry(
    kind: str,
    subject: str,
    at: str,
    author: str,
    body: dict[str, Any],
    previous: str,
    key: str,
    signature: str,
) -> bytes:
    """The entry's file."""
    content = _content(kind, subject, at, author, body, previous, key)
    return (
        json.dumps({**content, "signature": signature}, indent=2, ensure_ascii=False, sort_keys=True).encode()
        + b"\n"
    )


def parse_entry(name: str, data: bytes) -> tuple[Entry, bytes]:
    """The entry in file `name`, and the bytes its signature must cover; ValueError when malformed."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"{name} is not a JSON object")
    signature = document.pop("signature", "")
    try:
        entry = Entry(
            id=name.removesuffix(".json"),
            kind=document["kind"],
            subject=document["subject"],
            at=document["at"],
            author=document["author"],
            body=document["body"],
            key=document["key"],
            signature=signature,
        )
    except KeyError as error:
        raise ValueError(f"{name} lacks {error}") from error
    return entry, render_canonical(document)


def _content(
    kind: str, subject: str, at: str, author: str, body: dict[str, Any], previous: str, key: str
) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": subject,
        "at": at,
        "author": author,
        "body": body,
        "previous": previous,
        "key": key,
    }
