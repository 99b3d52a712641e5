"""Values of expressions: a table of truth, and random expressions against a second evaluator written here."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.expression import Path, bind, evaluate, find_paths, follow
from edgeferry.domain.notation import render_path, render_text
from edgeferry.domain.value import UNDEFINED

T, F, U = True, False, UNDEFINED
LEAVES = {T: ("true", "(1 = 1)", "tags.yes"), F: ("false", "tags.n > 9", "tags.no"), U: ("tags.x", "1 = 'a'")}
DEVICE = {
    "deviceId": "d1",
    "tags": {
        "yes": True,
        "no": False,
        "n": 3,
        "half": 0.5,
        "none": None,
        "env": "Test",
        "list": ["x", 2, None],
        "it's": 1,
        "a]b": 2,
        "group": "g",
        "": 7,
        "deep": {"er": {"est": 1}},
    },
}


def value(text):
    return evaluate(parse_condition(text).expression, lambda path: follow(DEVICE, path))


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        *((T, T, T, T), (T, F, F, T), (T, U, U, T)),
        *((F, T, F, T), (F, F, F, F), (F, U, F, U)),
        *((U, T, U, T), (U, F, F, U), (U, U, U, U)),
    ],
)
def test_and_and_or_follow_the_table_of_three_values(left, right, both, either):
    for one in LEAVES[left]:
        for other in LEAVES[right]:
            assert value(f"{one} AND {other}") is both
            assert value(f"{one} OR {other}") is either
            assert value(f"NOT ({one} AND {other})") is (U if both is U else not both)


@pytest.mark.parametrize(("one", "opposite"), [(T, F), (F, T), (U, U)])
def test_not_follows_the_table_of_three_values(one, opposite):
    for leaf in LEAVES[one]:
        assert value(f"NOT ({leaf})") is opposite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 2 - 1", 4),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", -1),
        ("2 * -3", -6),
        ("--3", 3),
        ("+tags.n", 3),
        ("-tags.n - -1", -2),
        ("tags.n-1", 2),
        ("0x1F", 31),
        ("1.5e2", 150.0),
        ("1 / 0", U),
        ("1 % 0", U),
        ("1e308 * 10", U),
        ("9007199254740993 + 0", 9007199254740992),
        ("tags.env + 'x'", U),
        ("tags.yes + 1", U),
        ("-tags.env", U),
        ("tags.x * 0", U),
        ("null", None),
        ("undefined", U),
        ("tags.list", ["x", 2, None]),
        ("tags.deep.er.est", 1),
        ("tags.deep.er.est.x", U),
        ("tags.list.x", U),
        ("tags.none.x", U),
        ("tags.none = null", T),
        ("tags.none < null", U),
        ("tags.none != 'a'", U),
        ("tags.no < tags.yes", T),
        ("tags.list = tags.list", U),
        ("tags.n IN [1, 'a']", U),
        ("tags.n NIN [1, 'a']", U),
        ("tags.n IN [3, 'a']", T),
        ("tags.n NOT IN [3, 'a']", F),
        ("tags.none IN [null]", T),
        ("tags.n IN [-1, +3]", T),
        ("tags.n IN []", F),
        ("tags.n NIN []", T),
        ("tags.x NIN []", U),
        ("tags.list IN ['x']", U),
        ("tags.n not /* in */ in /* * */ [4]", T),
        ("NOT tags.n IN [4]", T),
        ("starts_with(tags.env, 'Te')", T),
        ("STARTSWITH(tags.env, 'te')", F),
        ("ends_with(tags.env, 'st')", T),
        ("contains(tags.env, 'es')", T),
        ("contains(tags.list, 'x')", U),
        ("starts_with(tags.x, 'a')", U),
        ("lower(tags.env)", "test"),
        ("UPPER(tags.env)", "TEST"),
        ("lower(tags.n)", U),
        ("length(tags.env)", 4),
        ("substring(tags.env, 1)", "est"),
        ("substring(tags.env, 1, 2)", "es"),
        ("substring(tags.env, -1)", U),
        ("substring(tags.env, 0.5)", U),
        ("index_of(tags.env, 's')", 2),
        ("index_of(tags.env, 'z')", -1),
        ("concat(tags.env, '-', deviceId)", "Test-d1"),
        ("as_number('1.5')", 1.5),
        ("as_number('one')", U),
        ("as_number('inf')", U),
        ("is_null(tags.none)", T),
        ("is_null(tags.x)", F),
        ("is_bool(tags.yes)", T),
        ("is_number(tags.yes)", F),
        ("is_string(tags.env)", T),
        ("is_array(tags.list)", T),
        ("is_object(tags.deep)", T),
        ("is_primitive(tags.none)", T),
        ("is_primitive(tags.x)", F),
        ("abs(-3)", 3),
        ("ceiling(tags.half)", 1),
        ("floor(-0.5)", -1),
        ("round(-2.5)", -3),
        ("sign(-0.5)", -1),
        ("sqrt(9)", 3),
        ("sqrt(-1)", U),
        ("square(-3)", 9),
        ("power(2, 0.5)", math.sqrt(2)),
        ("power(10, 999)", U),
        ("power(-8, 0.5)", U),
        ("exp(0)", 1),
        ("exp(9999)", U),
    ],
)
def test_an_expression_has_the_value_and_the_type(text, expected):
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


def test_the_paths_that_an_expression_reads_are_told_once_in_the_case_that_documents_have():
    expression = parse_condition(
        "DEVICEID != 'x' AND (tags.a = 1 OR is_defined(Tags.a)) AND tags.[[b c]] IN [1] AND -TAGS.d > 1"
    ).expression
    names = [("deviceId",), ("tags", "a"), ("tags", "b c"), ("tags", "d")]
    assert find_paths(expression) == {Path(segments) for segments in names}


def test_an_expression_is_bound_once_and_read_by_row():
    columns = {Path(("tags", "n")): [1, UNDEFINED, 3], Path(("tags", "e")): ["a", "a", "b"]}
    asked = []

    def read(path):
        asked.append(path)
        return columns[path].__getitem__

    bound = bind(parse_condition("tags.n >= 1 AND tags.e = 'a'").expression, read)
    assert [bound(row) for row in range(3)] == [True, UNDEFINED, False]
    assert len(asked) == 2


# --- a second evaluator: (text, value) made together

NAMES = ("a", "b", "c d", "it's", "or", "ü", "[x")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from((0.5, -1.5)),
    st.sampled_from(("", "a", "A", "b'c", 'd"e', "f\\g", "h]]i", "/* j */", "ü\n")),
)
DOCUMENTS = st.dictionaries(st.sampled_from(NAMES), st.one_of(VALUES, st.lists(VALUES, max_size=2)))
GONE = object()


def spell(constant):
    if constant is None or isinstance(constant, bool):
        return {None: "null", True: "TRUE", False: "False"}[constant]
    return render_text(constant) if isinstance(constant, str) else repr(constant)


def sort_of(it):
    if isinstance(it, bool):
        return "boolean"
    if isinstance(it, int | float):
        return "number"
    return {str: "text", type(None): "null"}.get(type(it))


def equal(one, other):
    return GONE if sort_of(one) is None or sort_of(one) != sort_of(other) else one == other


def less(one, other):
    return GONE if GONE is equal(one, other) or one is None else one < other


def opposite(it):
    return (not it) if isinstance(it, bool) else GONE


def both(one, other):
    if one is False or other is False:
        return False
    return True if one is True and other is True else GONE


def either(one, other):
    return opposite(both(opposite(one), opposite(other)))


def add(one, other, sign):
    if sort_of(one) != "number" or sort_of(other) != "number":
        return GONE
    return one + other if sign == "+" else one - other if sign == "-" else one * other


OPERATORS = {
    "=": equal,
    "!=": lambda one, other: opposite(equal(one, other)),
    "<>": lambda one, other: opposite(equal(one, other)),
    "<": less,
    ">": lambda one, other: less(other, one),
    "<=": lambda one, other: opposite(less(other, one)),
    ">=": lambda one, other: opposite(less(one, other)),
    "AND": both,
    "or": either,
    "+": lambda one, other: add(one, other, "+"),
    "-": lambda one, other: add(one, other, "-"),
    "*": lambda one, other: add(one, other, "*"),
}
BLANKS = st.sampled_from((" ", "\n", " /* and 'x */ ", "/**/"))


@st.composite
def expressions(draw, tags, depth=4):
    """(text, value) of a random expression over the tags."""
    kind = draw(st.integers(0, 7 if depth else 2))
    if kind == 0:
        constant = draw(VALUES)
        return spell(constant), constant
    if kind in (1, 2):
        name = draw(st.sampled_from(NAMES))
        return render_path("tags", name), tags.get(name, GONE)
    blank = draw(BLANKS)
    text, it = draw(expressions(tags, depth - 1))
    if kind == 3:
        return f"not{blank}({text})", opposite(it)
    if kind == 4:
        name = draw(st.sampled_from(NAMES))
        return f"Is_Defined({blank}{render_path('tags', name)})", name in tags
    if kind == 5:
        constants = draw(st.lists(VALUES, max_size=3))
        found = GONE if sort_of(it) is None else False
        for constant in constants if found is False else ():
            found = either(found, equal(it, constant))
        word, found = draw(
            st.sampled_from((("IN", found), ("NIN", opposite(found)), ("NOT in", opposite(found))))
        )
        return f"({text}){blank}{word} [{', '.join(map(spell, constants))}]", found
    sign = draw(st.sampled_from(tuple(OPERATORS)))
    other_text, other = draw(expressions(tags, depth - 1))
    return f"({text}){blank}{sign}{blank}({other_text})", OPERATORS[sign](it, other)


@given(st.data())
def test_random_expressions_have_the_value_that_a_second_evaluator_gives(data):
    tags = data.draw(DOCUMENTS)
    text, expected = data.draw(expressions(tags))
    condition = parse_condition(text)
    found = evaluate(condition.expression, lambda path: follow({"tags": tags}, path))
    expected = UNDEFINED if expected is GONE else expected
    assert (found, sort_of(found)) == (expected, sort_of(expected)), text
    assert matches(condition, {"tags": tags}) is (expected is True)


# --- precedence, which the parentheses above hide


@given(st.lists(st.sampled_from(("AND", "OR", "AND NOT", "NOT")), max_size=6), st.data())
def test_not_binds_before_and_before_or(words, data):
    leaves = [data.draw(st.sampled_from(("true", "false", "tags.x"))) for _ in range(len(words) + 1)]
    text = leaves[0] + "".join(f" {word} {leaf}" for word, leaf in zip(words, leaves[1:], strict=True))
    known = {"true": True, "false": False, "tags.x": GONE}
    terms = [known[leaves[0]]]
    for word, leaf in zip(words, leaves[1:], strict=True):
        it = opposite(known[leaf]) if "NOT" in word else known[leaf]
        terms = [*terms, it] if word == "OR" else [*terms[:-1], both(terms[-1], it)]
    expected = False
    for term in terms:
        expected = either(expected, term)
    assert matches(parse_condition(text), {}) is (expected is True), text


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 9)), min_size=1, max_size=8))
def test_arithmetic_binds_as_in_schoolbooks(steps):
    text = "1" + "".join(f" {sign} {number}" for sign, number in steps)
    assert value(text) == eval(text)
