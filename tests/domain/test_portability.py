"""What is told of conditions that Azure would refuse, or that leave out devices without a tag."""

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.function import FUNCTIONS
from edgeferry.domain.portability import find_missing_tag, find_unknown, find_unportable, find_untargetable


def told(find, text):
    return [(remark.column, remark.problem, remark.fix) for remark in find(parse_condition(text).expression)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_the_functions_of_twin_queries_are_portable(name):
    function = FUNCTIONS[name]
    arguments = ", ".join(["tags.a"] * function.least)
    found = told(find_unportable, f"tags.b = 1 OR NOT ({name.title()}({arguments}) = 1)")
    if name in ("is_defined", "array_contains"):
        assert found == []
    else:
        assert found == [(20, f"Azure's twin queries have no {name.upper()}()", function.instead)]


def test_functions_within_functions_are_found_in_the_order_of_the_text():
    assert [column for column, _, _ in told(find_unportable, "lower(upper(tags.a)) = lower('A')")] == [
        1,
        7,
        24,
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tags.a = 1 AND DEVICEID != '' AND is_defined(properties.reported.a)", []),
        ("site = 1", [(1, "no twin has a member 'site'", "write tags.site")]),
        ("tags.a = 1 AND tag.site = 1", [(16, "no twin has a member 'tag'", "write tags.site")]),
        ("property.desired.x = y", [(1, "'property'", "properties.desired.x"), (22, "'y'", "write tags.y")]),
    ],
)
def test_what_no_twin_has_is_told(text, expected):
    found = told(find_unknown, text)
    assert [column for column, _, _ in found] == [column for column, _, _ in expected]
    for (_, problem, fix), (_, about, instead) in zip(found, expected, strict=True):
        assert about in problem
        assert instead in fix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tags.a = 'x' AND deviceId != 'd'", []),
        ("is_defined(tags.a)", []),
        ('tags.a = "x\'y"', [(10, "double quotes", "'x''y'")]),
        ("tags.a IN ['x', \"y\"]", [(17, "double quotes", "'y'")]),
        ("properties.reported.a.[[b c]] = 1", [(1, "properties.reported.a.[[b c]]", "tag")]),
        ("tags.a = 1 OR capabilities.iotEdge", [(15, "capabilities.iotEdge", "tag")]),
    ],
)
def test_what_azure_does_not_take_as_target_is_told(text, expected):
    found = told(find_untargetable, text)
    assert [column for column, _, _ in found] == [column for column, _, _ in expected]
    for (_, problem, fix), (_, about, instead) in zip(found, expected, strict=True):
        assert about in problem
        assert instead in fix


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("tags.a = 'x'", []),
        ("tags.a != 'x'", [1]),
        ("tags.b = 1 AND tags.a <> 'x'", [16]),
        ("'x' <> tags.a", [8]),
        ("NOT tags.a = 'x'", [5]),
        ("NOT tags.a", [5]),
        ("NOT (tags.a = 1 AND tags.b > 2)", [6, 21]),
        ("NOT NOT tags.a = 'x'", []),
        ("tags.a NIN ['x']", [1]),
        ("tags.a IN ['x']", []),
        ("NOT tags.a IN ['x']", [5]),
        ("NOT tags.a NIN ['x']", []),
        ("NOT array_contains(tags.a, 1)", [20]),
        ("tags.a != 'x' OR tags.a != 'y'", [1]),
        ("properties.reported.a != 1", [1]),
        pytest.param("deviceId != ''", [], id="every device has one"),
        ("NOT is_defined(tags.a)", []),
        pytest.param("tags.a != 'x' OR NOT is_defined(tags.a)", [], id="taken, and said so"),
        pytest.param("is_defined(tags.a) AND tags.a != 'x'", [], id="left out, and said so"),
        pytest.param("is_defined(tags.b) AND tags.a != 'x'", [24], id="another tag is asked for"),
    ],
)
def test_a_tag_whose_absence_leaves_devices_out_silently_is_told(text, columns):
    found = told(find_missing_tag, text)
    assert [column for column, _, _ in found] == columns
    assert all("is_defined(" in fix for _, _, fix in found)
