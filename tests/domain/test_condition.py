from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.condition import matches, parse_condition, wanted_tags
from edgeferry.domain.query import parse_query, project
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
    ("text", "column", "part"),
    [
        ("tags.env == 'x'", 11, "column 11"),
        ("tags.env = 'x", 12, "column 12"),
        ("tags.env = 'x' and", 19, "the end"),
        ("tags. = 1", 7, "column 7"),
        ("a = 1)", 6, "column 6"),
        ("x = 1 and starts_wit(tags.a, 'b')", 11, "starts_wit"),
        ("is_defined('x')", 1, "takes a path"),
        ("array_contains(tags.a)", 1, "takes 2"),
        ("a = '\\u00g1'", 6, "hexadecimal"),
        ("a = 1 " * 1400, 8193, "8192"),
        ("not " * 100 + "true", 401, "nested"),
        ("not " * 2000 + "true", 8001, "nested"),
        ("from devices.modules where x = 1", 1, "for modules"),
    ],
)
def test_what_cannot_be_read_names_its_column_and_a_fix(text, column, part):
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert caught.value.column == column
    assert part in caught.value.problem
    assert caught.value.fix


_WORDS = st.sampled_from(
    [
        *("tags.env", "deviceId", "=", "!=", "<>", "<=", ">", "and", "or", "not", "in", "nin", "is_defined"),
        *("array_contains", "(", ")", "[", "]", "[[", "]]", ",", ".", "'x'", '"y"', "'z", "1", "-2.5e3"),
        *("true", "false", "null", "undefined", "*", "select", "from", "devices", "where", "as", "group"),
        *("by", "/*", "*/", "\\", "$", "%"),
    ]
)


@given(st.lists(_WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_no_text_crashes_the_parsers_or_the_evaluation(text):
    with suppress(ConditionError):
        assert matches(parse_condition(text), DEVICE) in (True, False)
    with suppress(ConditionError):
        query = parse_query(text)
        assert matches(query.condition, DEVICE) in (True, False)
        project(query, DEVICE)


_LEAVES = st.sampled_from(("true", "false", "undefined", "tags.missing = 1", "tags.n = 3", "tags.n = 4"))
_VALUES = {
    "true": True,
    "false": False,
    "undefined": None,
    "tags.missing = 1": None,
    "tags.n = 3": True,
    "tags.n = 4": False,
}
_LOGIC = st.recursive(
    _LEAVES.map(lambda leaf: (leaf, _VALUES[leaf])),
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", None if one[1] is None else not one[1])),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]}) and ({two[1][0]})", _both(two[0][1], two[1][1]))
        ),
        st.tuples(inner, inner).map(
            lambda two: (
                f"({two[0][0]}) or ({two[1][0]})",
                _negate(_both(_negate(two[0][1]), _negate(two[1][1]))),
            )
        ),
    ),
    max_leaves=8,
)


def _negate(value):
    return None if value is None else not value


def _both(one, other):
    return False if False in (one, other) else None if None in (one, other) else True


@given(_LOGIC)
def test_logic_is_three_valued(logic):
    text, value = logic
    assert matches(parse_condition(text), DEVICE) is (value is True)


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
