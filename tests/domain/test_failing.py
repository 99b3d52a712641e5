"""Which part of a condition is not true of a device."""

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.failing import find_failing_parts, render_expression
from edgeferry.domain.value import UNDEFINED

DEVICE = {"deviceId": "d", "tags": {"site": "munich", "floor": 3, "old": None}}


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        pytest.param("tags.site = 'munich'", [], id="true"),
        pytest.param(
            "tags.site = 'berlin'",
            [("tags.site = 'berlin'", False, {"tags.site": "munich"}, ())],
            id="another value",
        ),
        pytest.param("tags.x = 1", [("tags.x = 1", UNDEFINED, {}, ("tags.x",))], id="no such tag"),
        pytest.param(
            "tags.floor = '3'", [("tags.floor = '3'", UNDEFINED, {"tags.floor": 3}, ())], id="other type"
        ),
        pytest.param(
            "tags.floor = 3 AND tags.site = 'berlin' AND deviceId != 'd'",
            [
                ("tags.site = 'berlin'", False, {"tags.site": "munich"}, ()),
                ("deviceId != 'd'", False, {"deviceId": "d"}, ()),
            ],
            id="only what fails",
        ),
        pytest.param(
            "tags.a = 1 OR tags.floor > 5",
            [("tags.a = 1", UNDEFINED, {}, ("tags.a",)), ("tags.floor > 5", False, {"tags.floor": 3}, ())],
            id="every alternative",
        ),
        pytest.param(
            "NOT tags.site = 'munich'",
            [("NOT (tags.site = 'munich')", False, {"tags.site": "munich"}, ())],
            id="negated",
        ),
        pytest.param(
            "tags.floor NIN [3, 4]", [("tags.floor NIN [3, 4]", False, {"tags.floor": 3}, ())], id="among"
        ),
        pytest.param(
            "is_defined(tags.[[my tag]])",
            [("is_defined(tags.[[my tag]])", False, {}, ("tags.[[my tag]]",))],
            id="function",
        ),
        pytest.param(
            "tags.[[9a]] = 1 OR tags.[[in]] = 1",
            [
                ("tags.[[9a]] = 1", UNDEFINED, {}, ("tags.[[9a]]",)),
                ("tags.[[in]] = 1", UNDEFINED, {}, ("tags.[[in]]",)),
            ],
            id="names that must stand in brackets",
        ),
        pytest.param(
            "array_contains(['it''s', 1], tags.site)",
            [("array_contains(['it''s', 1], tags.site)", False, {"tags.site": "munich"}, ())],
            id="constants",
        ),
        pytest.param("DEVICEID = 'e'", [("deviceId = 'e'", False, {"deviceId": "d"}, ())], id="letter case"),
        pytest.param("tags.old > 1", [("tags.old > 1", UNDEFINED, {"tags.old": None}, ())], id="null"),
        pytest.param("tags.site", [("tags.site", "munich", {"tags.site": "munich"}, ())], id="text"),
    ],
)
def test_the_parts_of_a_condition_that_fail(condition, parts):
    found = find_failing_parts(parse_condition(condition), DEVICE)
    assert [(one.text, one.value, dict(one.found), one.missing) for one in found] == parts


@pytest.mark.parametrize(
    "text",
    [
        "tags.a = 'it''s' AND (tags.b > 1.5 OR NOT (tags.c IN ['x', null]))",
        "is_defined(tags.[[a.b]]) AND array_contains(tags.list, true)",
        "tags.a NIN [1, 2] OR tags.b != undefined",
        "(tags.a + 1) * 2 >= tags.b AND tags.back = 'a\\\\b'",
    ],
)
def test_an_expression_reads_back_as_it_was(text):
    expression = parse_condition(text).expression
    assert parse_condition(render_expression(expression)).expression == expression
