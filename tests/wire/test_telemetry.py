import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.message import Message, MessagePage
from edgeferry.wire.telemetry import parse_page, render_page, sort_properties

texts = st.text(max_size=9)
messages = st.builds(
    Message,
    device=st.text(min_size=1, max_size=9),
    module=st.none() | st.text(min_size=1, max_size=9),
    enqueued_at=st.just("2026-03-01T09:30:00.000000Z"),
    system=st.dictionaries(texts, texts, max_size=3),
    properties=st.dictionaries(texts, st.none() | texts, max_size=3),
    body=st.binary(max_size=50),
    sequence=st.integers(1, 2**62),
)
JSON = {"contentType": "application/json", "contentEncoding": "utf-8"}


@given(st.lists(messages, max_size=3), texts, st.integers(0, 9))
def test_any_page_survives_its_document(found, cursor, lost):
    page = MessagePage(found, cursor, lost)
    assert parse_page(json.loads(json.dumps(render_page(page)))) == page


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists, max_leaves=5))
def test_a_body_that_says_json_stands_as_json(value):
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    page = MessagePage([Message("d", None, "t", JSON, {}, body, 1)], "1")
    [shown] = render_page(page)["messages"]
    assert (shown["encoding"], shown["body"]) == ("json", value)
    assert parse_page(render_page(page)) == page


@pytest.mark.parametrize(
    ("system", "is_json"),
    [
        ({}, False),
        ({"contentType": "application/json"}, False),
        ({"contentEncoding": "utf-8"}, False),
        (JSON, True),
        ({"contentType": "Application/JSON", "contentEncoding": "UTF-8"}, True),
        ({"contentType": "application/json; charset=utf-8"}, True),
        ({"contentType": 'application/json;charset="UTF-8"'}, True),
        ({"contentType": "application/json;charset=utf-16"}, False),
        ({"contentType": "application/json", "contentEncoding": "gzip"}, False),
        ({"contentType": "text/plain", "contentEncoding": "utf-8"}, False),
    ],
)
def test_what_counts_as_saying_json_in_utf_8(system, is_json):
    assert Message("d", None, "t", system).is_json is is_json


def test_system_properties_get_their_long_names_and_unknown_ones_keep_theirs():
    bag = {"$.mid": "1", "$.ct": "text/plain", "$.new": "x", "$.on": None, "a": "b", "flag": None}
    assert sort_properties(bag) == (
        {"messageId": "1", "contentType": "text/plain", "$.new": "x", "outputName": ""},
        {"a": "b", "flag": None},
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"messages": [], "next": "1"},
        {"messages": [{}], "next": "1", "lost": 0},
        {"messages": 1, "next": "1", "lost": 0},
        {"messages": [{"deviceId": "d"}], "next": "1", "lost": 0},
    ],
)
def test_what_is_no_page_is_refused(document):
    with pytest.raises(ValueError, match="page"):
        parse_page(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda a: st.lists(a) | st.dictionaries(texts, a)
    )
)
def test_no_document_crashes_the_reader(document):
    with suppress(ValueError):
        parse_page({"messages": [document], "next": document, "lost": document})


def test_size_counts_body_names_and_values():
    empty = Message("d", None, "t", {}, {}, b"").size_bytes
    assert empty > 0
    full = Message("d", None, "t", {"ä": "1"}, {"bb": "ö", "c": None}, b"12345").size_bytes
    assert full - empty == 3 + 4 + 1 + 5
