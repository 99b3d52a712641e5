"""One ledger entry as a file: readable JSON, signed over its canonical form without `signature`.

`previous` is the sha256 of the file before it, so entries form a chain; file names count up, so their
order is the ledger's. A folder holds a hundred of them: each commit then writes two small trees.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.release import Entry
from edgeferry.wire.canonical import render_canonical

_NAME = re.compile(r"^(\d{6,})-([a-z]+)-(.+)\.json$")
_FOLDER_ENTRIES = 100
_TEXTS = ("kind", "subject", "at", "author", "key")


@dataclass(frozen=True)
class Stored:
    """What an entry's file says."""

    entry: Entry
    previous: str
    """The sha256 of the file before it; "" for the first."""
    digest: str
    """The sha256 of this file."""


def render_name(number: int, kind: str, subject: str) -> str:
    """The file name of entry `number`, e.g. `000007-release-nyc_taxi-v1-3fa9c1d2.json`."""
    return f"{number:06d}-{kind}-{subject}.json"


def render_folder(number: int) -> str:
    """The folder of entry `number`, e.g. `0012` for 1234."""
    return f"{number // _FOLDER_ENTRIES:04d}"


def parse_name(path: str) -> tuple[int, str, str] | None:
    """(number, kind, subject) of a ledger file in any folder; None for any other file."""
    match = _NAME.match(path.rpartition("/")[2])
    return (int(match[1]), match[2], match[3]) if match else None


def render_signed_part(
    kind: str, subject: str, at: str, author: str, body: Mapping[str, Any], previous: str, key: str
) -> bytes:
    """The bytes that an entry's signature covers."""
    return render_canonical(_content(kind, subject, at, author, body, previous, key))


def render_entry(
    kind: str,
    subject: str,
    at: str,
    author: str,
    body: Mapping[str, Any],
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


def parse_entry(path: str, data: bytes) -> Stored:
    """The entry in the file `path`; ValueError when malformed."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    signature = document.pop("signature", "")
    for name in (*_TEXTS, "previous"):
        if not isinstance(document.get(name), str):
            raise ValueError(f"it lacks {name!r}, or it is no text")
    if not isinstance(document.get("body"), dict):
        raise ValueError("it lacks 'body', or it is no object")
    if unknown := document.keys() - {*_TEXTS, "previous", "body"}:
        raise ValueError(f"it has {min(unknown)!r}, which no entry has")
    entry = Entry(
        id=path.rpartition("/")[2].removesuffix(".json"),
        body=document["body"],
        signature=str(signature),
        **{name: document[name] for name in _TEXTS},
    )
    return Stored(entry, document["previous"], hashlib.sha256(data).hexdigest())


def _content(
    kind: str, subject: str, at: str, author: str, body: Mapping[str, Any], previous: str, key: str
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
