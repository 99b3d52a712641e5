import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.errors import UsageError
from edgeferry.wire.module_logs import (
    LogFilter,
    LogLine,
    parse_log_request,
    parse_moment,
    read_line,
    render_json,
    render_text,
    select_lines,
)

NOW = datetime(2026, 2, 14, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "level", "said_at", "text"),
    [
        pytest.param(
            "<6> 2026-02-14 16:15:35.243 -08:00 [INF] [EdgeHub] - Version 1.5",
            6,
            "2026-02-14T16:15:35.243000-08:00",
            "[INF] [EdgeHub] - Version 1.5",
            id="IoT Edge's form",
        ),
        pytest.param("<3> it broke", 3, None, "it broke", id="a level alone"),
        pytest.param(
            "2026-02-14T16:15:35,243Z [W] x",
            6,
            "2026-02-14T16:15:35.243000+00:00",
            "[W] x",
            id="a time alone",
        ),
        pytest.param("plain text", 6, None, "plain text", id="plain"),
        pytest.param("", 6, None, "", id="empty"),
        pytest.param("<12> x", 6, None, "<12> x", id="no level"),
        pytest.param(
            "<2> 2026-99-14 16:15:35.243 +00:00 x",
            2,
            None,
            "<2> 2026-99-14 16:15:35.243 +00:00 x",
            id="no time",
        ),
    ],
)
def test_a_line_says_level_time_and_text(written, level, said_at, text):
    read = read_line(written)
    assert (read.level, read.said_at and read.said_at.isoformat(), read.text) == (level, said_at, text)


@given(st.text(), st.integers(0, 9))
def test_any_line_can_be_read(written, level):
    read_line(written)
    assert read_line(f"<{level}>{written}").level == level


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        pytest.param(NOW.timestamp(), NOW.timestamp(), id="a number"),
        pytest.param("1771070400", NOW.timestamp(), id="a number as text"),
        pytest.param("2026-02-14T12:00:00Z", NOW.timestamp(), id="RFC 3339"),
        pytest.param("2026-02-14T13:00:00.000000001+01:00", NOW.timestamp(), id="another zone"),
        pytest.param("2026-02-14 12:00", NOW.timestamp(), id="no zone"),
        pytest.param("1d", NOW.timestamp() - 86400, id="a day"),
        pytest.param("1 day 2h 30min", NOW.timestamp() - 95400, id="a span"),
    ],
)
def test_a_moment_is_a_number_a_time_or_a_span_back_from_now(said, seconds):
    assert parse_moment("since", said, NOW) == seconds


LINES = [
    LogLine("<6> 2026-02-14 16:15:35.243 +00:00 [INF] - one", "stdout", "2026-02-14T16:15:36.000000000Z"),
    LogLine("<3> two", "stderr", "2026-02-14T16:15:37.000000000Z"),
    LogLine("three", "stdout", "2026-02-14T16:15:38.000000000Z"),
]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        pytest.param(LogFilter(), [0, 1, 2], id="all"),
        pytest.param(LogFilter(tail=2), [1, 2], id="tail"),
        pytest.param(LogFilter(tail=0), [], id="no tail"),
        pytest.param(LogFilter(level=3), [1], id="level"),
        pytest.param(LogFilter(level=6, tail=1), [2], id="tail of those of a level"),
        pytest.param(LogFilter(pattern=re.compile("^t")), [1, 2], id="a pattern sees the text only"),
        pytest.param(LogFilter(pattern=re.compile("INF")), [0], id="a pattern"),
    ],
)
def test_lines_are_selected_before_the_last_of_them_are_counted(wanted, numbers):
    assert select_lines(LINES, wanted) == [LINES[number] for number in numbers]


def test_lines_are_given_as_text_or_as_iot_edges_records():
    assert render_text(LINES[1:]) == "<3> two\nthree\n"
    first, second, _ = json.loads(render_json(LINES, "hub.example", "oven-1", "taxi"))
    assert first == {
        "iothub": "hub.example",
        "device": "oven-1",
        "id": "taxi",
        "stream": "stdout",
        "loglevel": 6,
        "text": "[INF] - one",
        "timestamp": "2026-02-14T16:15:35.243000+00:00",
    }
    assert (second["loglevel"], second["stream"]) == (3, "stderr")
    assert second["timestamp"] == "2026-02-14T16:15:37.000000000Z"


def test_a_request_names_modules_filters_and_form():
    said = {
        "items": [
            {"id": "ED", "filter": {"tail": 3, "since": "1h", "until": 9, "loglevel": "4", "regex": "a+"}},
            {"id": "All", "filter": None},
        ],
        "encoding": "GZIP",
        "contentType": "json",
    }
    request = parse_log_request(said, NOW)
    assert (request.zipped, request.as_json) == (True, True)
    first, rest = request.items
    assert [first.is_for(name) for name in ("edgeAgent", "sedan", "taxi")] == [True, True, False]
    assert rest.is_for("taxi")
    assert first.filter == LogFilter(3, NOW.timestamp() - 3600, 9.0, 4, re.compile("a+"))
    assert rest.filter == LogFilter()
    assert parse_log_request({"items": {"id": "^taxi$"}}, NOW).items[0].is_for("taxi")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        pytest.param({}, "items is missing", id="no items"),
        pytest.param({"items": []}, "items is missing", id="empty items"),
        pytest.param({"items": "taxi"}, r"items\[0\] is not an object", id="a name alone"),
        pytest.param({"items": [{"id": "a"}, {}]}, r"items\[1\].id is missing", id="no id"),
        pytest.param({"items": {"id": 7}}, "id is missing", id="a number as id"),
        pytest.param({"items": {"id": "["}}, "no regular expression", id="id"),
        pytest.param({"items": {"id": "a", "filter": 7}}, "filter is not an object", id="filter"),
        pytest.param({"items": {"id": "a", "filter": {"tail": -1}}}, "tail -1", id="tail"),
        pytest.param({"items": {"id": "a", "filter": {"tail": True}}}, "tail True", id="a bool as tail"),
        pytest.param(
            {"items": {"id": "a", "filter": {"since": "soon"}}}, "since 'soon' is no time", id="since"
        ),
        pytest.param({"items": {"id": "a", "filter": {"until": [1]}}}, "until", id="until"),
        pytest.param({"items": {"id": "a", "filter": {"since": "9" * 12 + "w"}}}, "since", id="too long ago"),
        pytest.param({"items": {"id": "a", "filter": {"loglevel": "x"}}}, "loglevel 'x'", id="level"),
        pytest.param({"items": {"id": "a", "filter": {"regex": "("}}}, "no regular expression", id="regex"),
        pytest.param({"items": {"id": "a", "filter": {"tial": 1}}}, "tial is not known", id="unknown"),
        pytest.param({"items": {"id": "a"}, "encoding": "zip"}, "encoding 'zip'", id="encoding"),
        pytest.param({"items": {"id": "a"}, "contentType": 7}, "contentType 7", id="content type"),
    ],
)
def test_what_cannot_be_read_in_a_request_is_named(said, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        parse_log_request(said, NOW)
    assert caught.value.fix


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(("id", "filter", "tail", "since", "regex", "loglevel")), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(("items", "encoding", "contentType")), ANY))
def test_any_request_is_read_or_refused(said):
    try:
        parse_log_request(said, NOW)
    except UsageError as error:
        refused = error
    else:
        refused = None
    assert refused is None or refused.fix
