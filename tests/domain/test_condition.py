import pytest

from edgeferry.domain.condition import join_conditions, matches, parse_condition, wanted_tags
from edgeferry.errors import ConditionError

DEVICE = {
    "deviceId": "d1",
    "tags": {
        "env": "test",
        "n": 3,
        "half": 0.5,
        "flag": True,
        "nothing": None,
        "group": "g",
        "list": ["x", 2],
        "it's": 1,
        "order": 1,
    },
    "capabilities": {"iotEdge": True},
    "parentScopes": ["s1"],
    "configurations": {"dep-1": {"status": "Applied"}},
    "properties": {"desired": {"$version": 4}, "reported": {"lastDesiredVersion": 4}},
}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        pytest.param("*", True, id="a star selects every device"),
        pytest.param("", False, id="an empty text selects none"),
        pytest.param(" \n", False, id="nor does white space"),
        ("tags.env = 'test'", True),
        ("tags.env='prod'", False),
        ("tags.env <> 'prod'", True),
        ("tags.env != 'Test'", True),
        ('tags.env = "test"', True),
        ("'test' = tags.env", True),
        ("tags.n = 3", True),
        ("tags.n = 3.0", True),
        ("tags.n >= 3 and tags.n <= 3 and tags.n < 4 and tags.n > -1", True),
        ("tags.half = 5e-1", True),
        ("tags.env > 'tesa' and tags.env < 'tesu'", True),
        ("tags.flag", True),
        ("tags.env", False),
        ("tags.n", False),
        ("not tags.flag", False),
        ("tags.flag = true and true", True),
        pytest.param("DEVICEID = 'd1'", True, id="top members in any letter case"),
        pytest.param("tags.ENV = 'test'", False, id="tags in their own"),
        ("capabilities.iotEdge = true", True),
        ("configurations.[[dep-1]].status = 'Applied'", True),
        ("configurations.[[dep-2]].status = 'Applied'", False),
        ("tags.[[it's]] = 1", True),
        pytest.param("tags.group = 'g' and tags.order = 1", True, id="keywords as names"),
        ("properties.desired.$version = properties.reported.lastDesiredVersion", True),
        ("tags.env in ['prod', 'test']", True),
        ("tags.env IN ['prod']", False),
        ("tags.env nin ['prod']", True),
        ("tags.env NOT  IN ['test']", False),
        ("tags.n in [1, 2, 3]", True),
        ("tags.n in []", False),
        ("is_defined(tags.env)", True),
        pytest.param("is_defined(tags.nothing)", True, id="a null is defined"),
        ("IS_DEFINED(tags.missing)", False),
        ("not is_defined(tags.missing)", True),
        ("tags.nothing = null", True),
        ("array_contains(parentScopes, 's1')", True),
        ("array_contains(tags.list, 2)", True),
        ("array_contains(['prod', 'test'], tags.env)", True),
        ("array_contains(['prod'], tags.env)", False),
        ("array_contains(tags.list, '2')", False),
        ("array_contains(tags.env, 'test')", False),
        ("tags.env = 'prod' or tags.n = 3", True),
        pytest.param("tags.n = 4 and tags.n = 3 or tags.flag", True, id="AND binds before OR"),
        ("tags.n = 4 and (tags.n = 3 or tags.flag)", False),
        pytest.param("tags.env = 'test' not tags.n = 4", True, id="NOT after an operand means AND NOT"),
        ("(tags.n = 3) = true", True),
        ("tags.env = 'test' /* who */ and tags.n = 3", True),
        pytest.param("tags.missing != 'x'", False, id="comparing what is missing is undefined"),
        pytest.param("not (tags.missing = 'x')", False, id="and so is its opposite"),
        pytest.param("tags.n = '3'", False, id="other types are undefined"),
        pytest.param("tags.n != '3'", False, id="and not different either"),
        pytest.param("tags.flag = 1", False, id="true is not 1"),
        ("tags.missing = 'x' or tags.n = 3", True),
        ("tags.missing = 'x' and tags.n = 3", False),
        pytest.param("not (tags.missing = 'x' and tags.n = 4)", True, id="undefined AND false is false"),
        ("tags.missing nin ['x']", False),
        ("tags.list = 'x'", False),
        ("tags.env.deeper = 1", False),
        ("undefined", False),
        ("'it''s' = 'it\\u0027s'", True),
        ('"a\\"b" = \'a"b\'', True),
    ],
)
def test_a_condition_selects_a_device_only_when_it_is_true_of_it(text, selected):
    assert matches(parse_condition(text), DEVICE) is selected


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("tags.models.nyc_taxi = true", {"models.nyc_taxi": True}),
        ("tags.environment = 'prod' and (tags.n = 3)", {"environment": "prod", "n": 3}),
        ("tags.env = 'test' or tags.n = 3", None),
        ("tags.env != 'test'", None),
        ("deviceId = 'd'", None),
        ("tags.nothing = null", None),
        ("*", None),
        ("", None),
    ],
)
def test_the_tags_that_a_plain_condition_wants_are_told(text, tags):
    assert wanted_tags(parse_condition(text)) == tags


def test_joined_conditions_select_what_each_of_them_selects():
    joined = join_conditions("tags.n = 3 or tags.n = 4", "tags.env = 'test' /* or true */")
    assert matches(parse_condition(joined), DEVICE)
    assert not matches(parse_condition(joined), {"tags": {"n": 4}})


@pytest.mark.parametrize(
    "text",
    [
        "tags.n = 4) or (true",
        "true /*",
        "true or '",
        "true or tags.[[x",
        "true or tags.x in [1",
        "from devices where true",
        "true) /* and",
        "",
    ],
)
def test_no_condition_reaches_beyond_the_one_it_is_joined_with(text):
    try:
        joined = join_conditions(text, "tags.env = 'prod'")
    except ConditionError:
        return
    assert not matches(parse_condition(joined), DEVICE)
