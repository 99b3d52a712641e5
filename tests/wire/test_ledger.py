"""An entry's file."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from edgeferry.wire.ledger import parse_entry, parse_name, render_entry, render_folder, render_name

HEAD = ("wave", "taxi-v1-01", "2026-11-28T12:00:00.000+00:00", "ann", {"wave": 1}, "abc", "SHA256:k")
DATA = render_entry(*HEAD, "c2ln")


def test_an_entry_is_read_back_with_its_place_in_the_chain() -> None:
    found = parse_entry("0000/000007-wave-taxi-v1-01.json", DATA)
    entry = found.entry
    assert (entry.id, entry.kind, entry.subject) == ("000007-wave-taxi-v1-01", "wave", "taxi-v1-01")
    assert (entry.author, entry.body, entry.key, entry.signature) == ("ann", {"wave": 1}, "SHA256:k", "c2ln")
    assert (found.previous, found.digest) == ("abc", hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("number", [1, 99, 100, 123_456, 1_234_567])
def test_a_name_is_read_back_in_any_folder(number: int) -> None:
    name = render_name(number, "end", "taxi-v1-01")
    assert parse_name(f"{render_folder(number)}/{name}") == parse_name(name) == (number, "end", "taxi-v1-01")


@pytest.mark.parametrize("path", ["README.md", "0000/7-end-x.json", "0000/000007-End-x.json", "000007.json"])
def test_another_file_is_no_entry(path: str) -> None:
    assert parse_name(path) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"author": None}, "lacks 'author'", id="no author"),
        pytest.param({"body": []}, "lacks 'body'", id="a body that is no object"),
        pytest.param({"previous": 7}, "lacks 'previous'", id="a number for a digest"),
        pytest.param({"note": "hi"}, "has 'note'", id="something that no signature covers"),
    ],
)
def test_what_is_no_entry_is_refused_with_the_field(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_entry("000001-wave-x.json", json.dumps({**json.loads(DATA), **change}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words, and ours
        parse_entry("000001-wave-x.json", data)
