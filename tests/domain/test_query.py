"""Queries: which rows and columns the answer has."""

import pytest

from edgeferry.domain.condition import matches
from edgeferry.domain.query import aggregate, find_answer_paths, parse_query, project
from edgeferry.domain.value import UNDEFINED
from edgeferry.errors import ConditionError

DEVICE = {"deviceId": "d1", "tags": {"env": "test", "n": 3, "group": "g"}}


@pytest.mark.parametrize(
    ("text", "collection", "row"),
    [
        ("select * from devices", "devices", DEVICE),
        ("SELECT * FROM Devices.Modules", "devices.modules", DEVICE),
        (
            "select DEVICEID, tags.n, tags.env as e from devices",
            "devices",
            {"deviceId": "d1", "n": 3, "e": "test"},
        ),
        ("select deviceId, tags.missing from devices where tags.n = 3", "devices", {"deviceId": "d1"}),
        ("select tags from devices where not is_defined(tags.x)", "devices", {"tags": DEVICE["tags"]}),
    ],
)
def test_a_query_picks_columns_of_what_it_selects(text, collection, row):
    query = parse_query(text)
    assert query.collection == collection
    assert matches(query.condition, DEVICE)
    assert project(query, DEVICE) == row


FLEET = [
    {"deviceId": "d1", "tags": {"line": "a", "n": 1, "mixed": 1, "group": 1}},
    {"deviceId": "d2", "tags": {"line": "b", "n": 2.5, "mixed": "x", "group": 1.0}},
    {"deviceId": "d3", "tags": {"line": "a", "mixed": None, "list": [1], "group": True}},
    {"deviceId": "d4", "tags": {"n": -2, "mixed": False, "group": {"b": 1, "a": 2}}},
    {"deviceId": "d5", "tags": {"line": "b", "group": {"a": 2, "b": 1}}},
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("select count() as n from devices", [{"n": 5}]),
        pytest.param("SELECT COUNT() FROM devices", [{"count": 5}], id="without AS, the function's name"),
        pytest.param("select count(tags.line) as n from devices", [{"n": 4}], id="those that have it"),
        pytest.param("select count() as n from devices where tags.x = 1", [{"n": 0}], id="none, one row"),
        pytest.param(
            "select sum(tags.n) as s, avg(tags.n) as a, min(tags.n) as l, max(tags.n) as h from devices",
            [{"s": 1.5, "a": 0.5, "l": -2, "h": 2.5}],
            id="numbers, what is missing passed over",
        ),
        pytest.param(
            "select sum(tags.mixed) as s, avg(tags.mixed) as a, min(tags.mixed) as l, max(tags.mixed) as h "
            "from devices",
            [{"l": None, "h": "x"}],
            id="several types: no sum, but an order",
        ),
        pytest.param("select min(tags.list) as l from devices", [{}], id="a list has no order"),
        pytest.param("select max(tags.x) as h, sum(tags.x) as s from devices", [{}], id="nothing there"),
        pytest.param(
            "select tags.line as line, count() as n, sum(tags.n) as s from devices group by tags.line",
            [{"line": "a", "n": 2, "s": 1}, {"line": "b", "n": 2, "s": 2.5}, {"n": 1, "s": -2}],
            id="rows without the path are one group",
        ),
        pytest.param(
            "select tags.line from devices where tags.n > 0 group by tags.line",
            [{"line": "a"}, {"line": "b"}],
            id="groups without an aggregate",
        ),
        pytest.param(
            "select count() as n from devices group by tags.[[group]]",
            [{"n": 2}, {"n": 1}, {"n": 2}],
            id="1 is 1.0 and not true, objects are equal in any order",
        ),
        ("select count() as n from devices where tags.x = 1 group by tags.line", []),
        ("select top 1 tags.line, count() as n from devices group by tags.line", [{"line": "a", "n": 2}]),
        (
            "select tags.line, tags.n, count() as c from devices where tags.n > 0 group by tags.line, tags.n",
            [{"line": "a", "n": 1, "c": 1}, {"line": "b", "n": 2.5, "c": 1}],
        ),
    ],
)
def test_an_aggregate_query_answers_with_a_row_per_group(text, answer):
    query = parse_query(text)
    assert query.is_aggregate
    rows = [document for document in FLEET if matches(query.condition, document)]
    assert aggregate(query, rows) == answer
    columns = {
        path: [_value(document, path.segments) for document in rows] for path in find_answer_paths(query)
    }
    assert aggregate(query, range(len(rows)), lambda path: columns[path].__getitem__) == answer


def _value(document, segments):
    for segment in segments:
        if not isinstance(document, dict) or segment not in document:
            return UNDEFINED
        document = document[segment]
    return document


def test_the_paths_that_an_answer_needs_are_told():
    query = parse_query(
        "select TAGS.line, max(tags.n) as n from devices where DeviceId != '' and not is_defined(tags.x) "
        "group by tags.line"
    )
    assert {".".join(path.segments) for path in find_answer_paths(query)} == {
        *("tags.line", "tags.n"),
    }


def test_top_is_told():
    assert parse_query("select top 5 * from devices").top == 5
    assert parse_query("select * from devices").top is None


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("select * from devices.jobs", 15, "hub has none"),
        ("select * from twins", 15, "no collection 'twins'"),
        ("select * from devices.modules.x", 15, "no collection"),
        ("select * devices", 10, "column 10"),
        ("select * from devices where", 28, "the end"),
        ("tags.n = 3", 1, "column 1"),
        ("", 1, "the end"),
        ("select", 7, "the end"),
        ("select a, from devices", 16, "does not fit"),
        ("select top * from devices", 12, "does not fit"),
        ("select top 0 * from devices", 12, "TOP 0"),
        ("select top 1.5 * from devices", 12, "TOP 1.5"),
        ("select top -1 * from devices", 12, "does not fit"),
        ("select median(tags.n) as m from devices", 8, "MEDIAN()"),
        ("select lower(tags.n) as m from devices", 8, "LOWER()"),
        ("select avg() as m from devices", 8, "AVG() takes a path"),
        ("select count(*) as m from devices", 14, "does not fit"),
        ("select deviceId, count() as n from devices", 8, "deviceId has many values"),
        ("select tags.a, tags.b from devices group by tags.a", 16, "tags.b has many values"),
        ("select * from devices group by tags.a", 32, "cannot be grouped"),
        ("select tags.a.x, tags.b.x from devices", 18, "two columns are called 'x'"),
        ("select a from devices order by a", 23, "no ORDER BY"),
        ("select a from devices limit 1", 23, "'limit 1'"),
        ("select distinct a from devices", 17, "does not fit"),
        ("select a from devices where a group tags.a", 37, "does not fit"),
        ("select a from devices; drop", 22, "does not fit"),
        ("select a as b as c from devices", 15, "does not fit"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_with_its_column(text, column, part):
    with pytest.raises(ConditionError) as caught:
        parse_query(text)
    assert (caught.value.column, part in caught.value.problem) == (column, True), caught.value
    assert caught.value.fix
