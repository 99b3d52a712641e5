import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.capture import Counts, Cursor, Record
from edgeferry.errors import UsageError
from edgeferry.wire.capture import (
    PACKED,
    PART,
    PLAIN,
    parse_purpose,
    parse_record,
    parse_request_id,
    parse_segment_name,
    render_record,
    render_segment_name,
)
from edgeferry.wire.capture_page import (
    Page,
    PageRequest,
    parse_counts,
    parse_cursor,
    parse_page,
    parse_page_query,
    parse_page_request,
    parse_source,
    render_counts,
    render_cursor,
    render_page,
    render_page_query,
    render_source,
)

RECORD = Record(
    sequence=17,
    purpose="user",
    id="a1-17",
    at="2026-11-23T10:00:00.000001Z",
    model="taxi",
    version="3",
    digest="sha256:aa",
    status=200,
    latency_ms=0.41,
    inputs="[[1.5, 2.0]]",
    output="[12.5]",
)
BODY = (
    b'{"sequence":17,"purpose":"user","id":"a1-17","at":"2026-11-23T10:00:00.000001Z","model":"taxi",'
    b'"version":"3","digest":"sha256:aa","status":200,"latency_ms":0.41,"inputs":[[1.5, 2.0]],"output":[12.5]'
)
LINE = BODY + b',"crc32":"%08x"}\n' % zlib.crc32(BODY)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_texts = st.builds(
    json.dumps,
    json_values,
    ensure_ascii=st.just(True),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]),
)
texts = st.text(max_size=20)
records = st.builds(
    Record,
    sequence=st.integers(1, 10**15),
    purpose=st.sampled_from(["user", "smoke"]),
    id=texts,
    at=texts,
    model=texts,
    version=texts,
    digest=texts,
    status=st.integers(200, 599),
    latency_ms=st.floats(0, 1e9),
    inputs=json_texts,
    output=json_texts,
)


def test_a_record_is_one_line_of_json():
    assert render_record(RECORD) == LINE
    assert json.loads(LINE)["output"] == [12.5]
    assert parse_record(LINE) == RECORD


@given(records)
def test_every_record_comes_back_with_the_very_text_of_its_answer(record):
    line = render_record(record)
    assert line.count(b"\n") == 1
    assert parse_record(line) == record


@given(records, st.data())
def test_a_torn_line_is_never_read_as_good(record, data):
    line = render_record(record)
    torn = line[: data.draw(st.integers(0, len(line) - 2))]
    with pytest.raises(ValueError, match="checksum"):
        parse_record(torn)


@given(records, st.data())
def test_a_line_with_one_wrong_byte_is_never_read_as_good(record, data):
    line = bytearray(render_record(record))
    place = data.draw(st.integers(0, len(line) - 2))
    line[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        parse_record(bytes(line))


@given(st.binary(max_size=200))
def test_nothing_else_is_a_record(line):
    with pytest.raises(ValueError, match="checksum"):
        parse_record(line)


def test_two_lines_run_together_are_not_read_as_one():
    torn = LINE[:50] + LINE
    with pytest.raises(ValueError, match="checksum"):
        parse_record(torn)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param('[{"a":1,"output":2,"inputs":3}]', id="members named as ours"),
        pytest.param('[{"x":"\\",\\"output\\":1"}]', id="a text that looks like ours"),
        pytest.param('"not JSON at all"', id="a body as text"),
    ],
)
def test_what_was_asked_cannot_pass_for_what_was_answered(inputs):
    assert parse_record(render_record(replace(RECORD, inputs=inputs))) == replace(RECORD, inputs=inputs)


def test_an_answer_of_many_lines_becomes_one_line_with_the_same_value():
    found = parse_record(render_record(replace(RECORD, output='{\r\n  "result": [1.0]\n}')))
    assert json.loads(found.output) == {"result": [1.0]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("0000000000000000017.jsonl", (17, PLAIN), id="a segment"),
        pytest.param("0000000000000000017.jsonl.gz", (17, PACKED), id="compressed"),
        pytest.param("0000000000000000017.jsonl.gz.part", (17, PART), id="being compressed"),
        pytest.param("17.jsonl", None, id="too few digits"),
        pytest.param("0000000000000000017.jsonl.bak", None, id="another file"),
    ],
)
def test_a_segments_name_says_where_it_begins(name, said):
    assert parse_segment_name(name) == said
    assert said is None or render_segment_name(*said) == name


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        pytest.param("", Cursor(0), id="the beginning"),
        pytest.param("17", Cursor(17), id="behind a record"),
        pytest.param("17+90", Cursor(17, 90), id="within the next one"),
    ],
)
def test_a_cursor_is_a_place(text, cursor):
    assert parse_cursor(text) == cursor
    assert parse_cursor(render_cursor(cursor)) == cursor


@pytest.mark.parametrize("text", ["x", "-1", "1+", "1+2+3", "1" * 30])
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(UsageError, match="no place in captures"):
        parse_cursor(text)


def test_a_page_request_survives_its_query():
    request = PageRequest(Cursor(17, 90), 5, "smoke")
    assert parse_page_query(render_page_query(request)) == request
    assert parse_page_query("") == PageRequest(Cursor(), 1000, "")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        pytest.param({"limit": -1}, "no number", id="negative limit"),
        pytest.param({"limit": "x"}, "no number", id="limit that is no number"),
        pytest.param({"purpose": "fun"}, "unknown", id="unknown purpose"),
        pytest.param({"after": "x"}, "no place", id="no cursor"),
    ],
)
def test_a_page_request_that_cannot_be_read_says_why(said, problem):
    with pytest.raises(UsageError, match=problem):
        parse_page_request(said)


def test_pages_counts_and_sources_survive_the_wire():
    page = Page(LINE.decode(), Cursor(17), more=True, damaged=1, first=3, last=20)
    assert parse_page(json.loads(json.dumps(render_page(page)))) == page
    counts = Counts(user=5, smoke=2, damaged=1, expired=3, dropped=1, refused=4, first=4, last=10)
    assert parse_counts(render_counts(counts)) == counts
    assert parse_source(render_source("http://taxi:8082")) == "http://taxi:8082"


@pytest.mark.parametrize("said", [None, [], {}, {"text": ""}, {"user": "many"}])
def test_what_is_no_answer_is_told(said):
    with pytest.raises(UsageError):
        parse_page(said)
    with pytest.raises(UsageError):
        parse_counts(said)
    assert parse_source(said) == ""


@pytest.mark.parametrize(
    ("header", "id_"),
    [
        pytest.param("order-7.b:c_D", "order-7.b:c_D", id="an id"),
        pytest.param("", "", id="none"),
        pytest.param("a b", "", id="a space"),
        pytest.param("x" * 65, "", id="too long"),
        pytest.param('"', "", id="a quote"),
    ],
)
def test_a_callers_own_id_is_taken_when_it_is_short_and_plain(header, id_):
    assert parse_request_id(header) == id_


def test_an_unknown_purpose_counts_as_a_users():
    assert [parse_purpose(text) for text in ("smoke", "user", "", "fun")] == ["smoke", "user", "user", "user"]
