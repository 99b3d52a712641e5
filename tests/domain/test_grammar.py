"""Texts that are no condition or query: each is refused at its column, none crashes or delays the parser."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.notation import render_path, render_text
from edgeferry.domain.query import aggregate, find_answer_paths, parse_query, project
from edgeferry.errors import ConditionError

DEVICE = {"deviceId": "d1", "tags": {"env": "test", "n": 3, "a": 1}}


@pytest.mark.parametrize(
    ("text", "column", "problem", "fix"),
    [
        ("tags.env == 'x'", 11, '"= ', "one ="),
        ("tags.env = 'x", 12, "not closed", "'"),
        ("tags.env = 'it''s", 12, "not closed", "'"),
        (r"tags.env = 'x\'", 12, "not closed", "'"),
        ('tags.env = "x', 12, "not closed", '"'),
        ("tags.env = ’x’", 12, "no quotation mark", "'"),
        ("tags.env = x'y'", 13, "'y'", "write"),
        ("tags.env = 'x' and", 19, "the end", "write"),
        ("tags.env = 'x' /* y", 16, "comment", "*/"),
        ("tags.[[env = 'x'", 6, "name", "[[name]]"),
        ("tags.[[]] = 'x'", 6, "name", "[[name]]"),
        ("tags.[[env] = 'x'", 6, "name", "[[name]]"),
        ("tags. = 1", 7, "'= 1'", "write"),
        ("tags..a = 1", 6, "'.a = 1'", "write"),
        (".a = 1", 1, "'.a = 1'", "write"),
        ("tags.3d = 1", 6, "'3d", "[[3d]]"),
        ("tags.a-b.c = ", 14, "the end", "write"),
        ("a = 1)", 6, "')'", "write"),
        ("(a = 1", 7, "the end", "write"),
        ("()", 2, "')'", "write"),
        ("a = = 1", 5, "'= 1'", "write"),
        ("a = 1 = 1", 7, "'= 1'", "write"),
        ("a < 1 < 2", 7, "'< 2'", "write"),
        ("= 1", 1, "'= 1'", "write"),
        ("a = 1 b = 2", 7, "'b = 2'", "write"),
        ("a = 1, b = 2", 6, "', b", "write"),
        ("a = 1; b = 2", 6, "'; b", "write"),
        ("a = 1 && b = 2", 7, "'&& b", "AND"),
        ("a = 1 || b = 2", 7, "'|| b", "OR"),
        ("!a", 1, "'!a'", "NOT"),
        ("a =! 1", 4, "'! 1'", "NOT"),
        ("a ~ 1", 3, "'~ 1'", "write"),
        ("a like 'x%'", 3, "LIKE", "STARTS_WITH"),
        ("a between 1 and 2", 3, "BETWEEN", ">="),
        ("a is null", 3, "no IS", "= null"),
        ("exists(tags.a)", 1, "'exists'", "known"),
        ("a in ('x', 'y')", 6, "('x'", "in brackets"),
        ("a in 'x'", 6, "'x'", "in brackets"),
        ("a in tags.b", 6, "tags.b", "in brackets"),
        ("a in [b]", 7, "'b]'", "write"),
        ("a in [1 2]", 9, "'2]'", "write"),
        ("a in [1, 2", 11, "the end", "write"),
        ("a in [-'x']", 7, "sign", "without"),
        ("a in [[1]]", 7, "'[1]]'", "write"),
        ("a nin", 6, "the end", "write"),
        ("not", 4, "the end", "write"),
        ("a = 1 or or b", 13, "'b'", "write"),
        ("tags.a = true.b", 14, "'.b'", "write"),
        ("tags.a tags where", 8, "'tags where'", "write"),
        ("tags.a where true", 8, "'where true'", "[[where]]"),
        ("a = 1.2.3", 5, "'1.2.3'", "write"),
        ("a = 1e", 5, "'1e'", "write"),
        ("a = 0x", 5, "'0x'", "write"),
        ("a = 1e999", 5, "too large", "below"),
        ("a +", 4, "the end", "write"),
        ("a * / b", 5, "'/ b'", "write"),
        ("x = 1 and starts_wit(tags.a, 'b')", 11, "starts_wit", "starts_with"),
        ("is_defined('x')", 1, "takes a path", "write"),
        ("is_defined(lower(tags.a))", 1, "takes a path", "write"),
        ("is_defined()", 1, "takes 1", "write"),
        ("is_defined(a, b)", 1, "takes 1", "write"),
        ("1 = 2 or array_contains(tags.a)", 10, "takes 2", "write"),
        ("lower(a,)", 9, "')'", "write"),
        ("lower(a", 8, "the end", "write"),
        (r"a = '\u00g1'", 6, "hexadecimal", "u00e9"),
        (r"a = 'bc\u12'", 8, "hexadecimal", "u00e9"),
        ("*  or a", 1, "'*  or a'", "write"),
        ("from devices.modules where x = 1", 1, "for modules", "tags"),
        ("  FROM Devices WHERE x = 1", 3, "no FROM", "follows WHERE"),
        ("from devices.modules", 21, "the end", "write"),
        ("select * from devices", 15, "'devices'", "query"),
        ("a\x00 = 1", 2, "x00", "write"),
        ("a = 1 " * 1400, 8193, "8192", "shorten"),
        ("not " * 100 + "true", 401, "nested", "fewer"),
        ("a = 1 and " + "lower(" * 100 + "b" + ")" * 100, 11 + 59 * 6, "nested", "fewer"),
    ],
)
def test_what_cannot_be_read_names_its_column_and_a_fix(text, column, problem, fix):
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    error = caught.value
    assert (error.column, problem in error.problem, fix in error.fix) == (column, True, True), error
    assert f"column {column}" in error.problem or column == 8193


# --- texts from anywhere


WORDS = st.sampled_from(
    [
        *("tags.env", "deviceId", "=", "!=", "<>", "<=", ">", "and", "or", "not", "in", "nin", "is_defined"),
        *("array_contains", "(", ")", "[", "]", "[[", "]]", ",", ".", "'x'", '"y"', "'z", "1", "-2.5e3"),
        *("true", "false", "null", "undefined", "*", "select", "from", "devices", "where", "as", "group"),
        *("by", "/*", "*/", "\\", "$", "%", "+", "-", "/", "top", "count", "lower", "0x", "\u2028", "'\\u"),
    ]
)
VALID = (
    "tags.env = 'test' AND NOT tags.line IN ['a', 'it''s', -1.5e3, null] OR is_defined(tags.[[a b]])",
    '((tags.n + 1) * -2 % 0x1f >= tags.half) <> true not starts_with(lower(tags.env), "t\\u0065")',
    "SELECT TOP 5 deviceId, tags.env AS env FROM devices.modules WHERE /* all */ tags.n NIN [1, 2]",
    "select tags.env, count() as n, max(tags.n) as h from devices where deviceId != '' group by tags.env",
)


@st.composite
def mutations(draw):
    """A valid text with pieces cut, doubled, or moved, and letters from elsewhere put in."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), WORDS, st.text(max_size=3)))
        text = text[:start] + piece + text[end:]
    return text


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60) | mutations())
def test_no_text_crashes_the_parsers_or_the_evaluation(text):
    with suppress(ConditionError):
        assert matches(parse_condition(text), DEVICE) in (True, False)
    with suppress(ConditionError):
        query = parse_query(text)
        assert matches(query.condition, DEVICE) in (True, False)
        assert find_answer_paths(query) is not None
        if query.is_aggregate:
            aggregate(query, [DEVICE])
        else:
            project(query, DEVICE)


def fill(head, piece, tail):
    return head + piece * ((8192 - len(head) - len(tail)) // len(piece)) + tail


def nest(opening, inner, closing):
    return (
        opening * ((8192 - len(inner)) // len(opening + closing))
        + inner
        + closing * ((8192 - len(inner)) // len(opening + closing))
    )


LONGEST = [
    nest("(", "a", ")"),
    nest("not(", "a", ")"),
    nest("lower(", "a", ")"),
    nest("(a=", "1", ")"),
    nest("(1+", "a", ")"),
    fill("", "(", ""),
    fill("", "not ", "a"),
    fill("", "-", "a"),
    fill("", "- ", "1"),
    fill("a", "+a", ""),
    fill("a", " or a", ""),
    fill("a", " not a", ""),
    fill("a", "=a", ""),
    fill("a", ".a", ""),
    fill("a.", "[", ""),
    fill("a.", "[[", ""),
    fill("a in [1", ",1", "]"),
    fill("concat(a", ",a", ")"),
    fill("a = '", "''", "'"),
    fill("a = '", "''", ""),
    fill("a = '", "\\'", ""),
    fill("a = '", "\\u0041", "'"),
    fill("a not", "/**/", "b"),
    fill("a not", " ", "in"),
    fill("a not", "/* in */ ", "in [1]"),
    fill("a ", "/*", ""),
    fill("a ", "/**/", "b c"),
    fill("a ", "/* *", ""),
    fill("", " ", ""),
    fill("a = ", "9", ""),
    fill("a = 0x", "f", ""),
    fill("a = 1", "e1", ""),
    fill("a = ", "1*", "1"),
    fill("a = 1e200", "*1e200", ""),
    fill("select a0", ",a", " from devices"),
    fill("select a from devices group by a", ",a", ""),
    fill("select a from devices", ".modules", ""),
    fill("select top ", "9", " a from devices"),
]


@pytest.mark.parametrize("text", LONGEST, ids=lambda text: f"{text[:14]}…{text[-8:]}")
def test_the_longest_texts_are_read_or_refused_soon(text):
    """Each takes well below a second; a parser that backtracks would take hours."""
    began = time.process_time()
    for parse in (parse_condition, lambda each: parse_query(each).condition):
        with suppress(ConditionError):
            matches(parse(text), DEVICE)
    assert time.process_time() - began < 10


# --- values from elsewhere within a text


HOSTILE = [
    *("x' or true or '", "x' or 'a' = 'a", "x'' or true", "\\' or true --", "\\", "'", '"', "/*", "*/ or /*"),
    *(
        "]] or true",
        "[[",
        "select",
        "or",
        "not",
        "a.b",
        "a b",
        "",
        " ",
        "\n",
        "\\u0027",
        "ü",
        "%27",
        "$",
        "3d",
    ),
    *("true) or (true", "tags.[[x", "/* */", "''", "\x00", "\u2028", "'; drop"),
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_text_that_was_rendered_means_itself(value):
    condition = parse_condition(f"tags.a = {render_text(value)}")
    assert matches(condition, {"tags": {"a": value}})
    assert not matches(condition, {"tags": {"a": "other"}})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_was_rendered_means_itself_or_is_refused(name):
    try:
        path = render_path("tags", name, "x")
    except ConditionError:
        assert name == "" or "]]" in name
        return
    condition = parse_condition(f"{path} = 1")
    assert matches(condition, {"tags": {name: {"x": 1}}})
    assert not matches(condition, {"tags": {"other": {"x": 1}}})


@given(st.text(), st.text(min_size=1))
def test_any_text_and_name_that_were_rendered_mean_themselves(value, name):
    if "]]" in name or name.endswith("]"):
        return
    text = f"{render_path('tags', name)} = {render_text(value)}"
    assert matches(parse_condition(text), {"tags": {name: value}})
