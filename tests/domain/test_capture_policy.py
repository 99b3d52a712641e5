"""What a model says of its captures: read, obeyed, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.capture_policy import (
    ALWAYS,
    DURABILITIES,
    LEAST_STORE_BYTES,
    WHEN_FULL,
    CapturePolicy,
    check_redaction,
    find_redacted,
    hides_output,
    must_keep,
    parse_capture_policy,
    redact_body,
    redact_rows,
    render_capture_policy,
)
from edgeferry.domain.finding import Fault
from edgeferry.errors import DefinitionError

COLUMNS = ("distance", "passengers", "name")
counts = st.integers(0, 10**12)
policies = st.builds(
    CapturePolicy,
    enabled=st.booleans(),
    store_bytes=st.integers(LEAST_STORE_BYTES, 10**12),
    max_age_s=counts,
    max_records=counts,
    when_full=st.sampled_from(WHEN_FULL),
    durability=st.sampled_from(DURABILITIES),
    rate=st.floats(0, 1),
    always=st.lists(st.sampled_from(ALWAYS), unique=True).map(tuple),
    redact=st.lists(st.text(min_size=1), unique=True).map(tuple),
)


@given(policies)
def test_what_is_rendered_is_read_back_after_a_way_through_json(policy: CapturePolicy) -> None:
    assert parse_capture_policy(json.loads(json.dumps(render_capture_policy(policy)))) == policy


def test_only_what_differs_is_rendered() -> None:
    assert render_capture_policy(CapturePolicy()) == {}
    assert render_capture_policy(CapturePolicy(rate=0.5, redact=("a",))) == {"rate": 0.5, "redact": ["a"]}


@pytest.mark.parametrize(("said", "enabled"), [(None, True), ({}, True), (True, True), (False, False)])
def test_one_word_turns_captures_on_or_off(said: object, enabled: bool) -> None:
    assert parse_capture_policy(said) == CapturePolicy(enabled=enabled)


@pytest.mark.parametrize(
    ("said", "key", "problem", "fix"),
    [
        pytest.param("on", (), "`capture` is not a mapping", "name: value", id="text"),
        pytest.param([], (), "`capture` is not a mapping", "name: value", id="list"),
        pytest.param({"rat": 1}, ("rat",), "unknown key `rat`", "`rate`", id="unknown key"),
        pytest.param({"enabled": "yes"}, ("enabled",), "not a boolean", "true or false", id="enabled"),
        pytest.param({"store_bytes": "64 MB"}, ("store_bytes",), "not a number", "67", id="bytes as text"),
        pytest.param({"store_bytes": 9}, ("store_bytes",), "less than 65536", "enabled: false", id="tiny"),
        pytest.param({"store_bytes": 0}, ("store_bytes",), "less than 65536", "enabled: false", id="none"),
        pytest.param({"max_age_s": -1}, ("max_age_s",), "not a number from 0 up", "0", id="negative"),
        pytest.param({"max_records": 1.5}, ("max_records",), "no whole number", "0", id="half a record"),
        pytest.param({"when_full": "newest"}, ("when_full",), "no `when_full`", "oldest, stop", id="full"),
        pytest.param({"durability": "akc"}, ("durability",), "no `durability`", "`ack`", id="durability"),
        pytest.param({"durability": 1}, ("durability",), "not text", "quotes", id="durability as number"),
        pytest.param({"rate": 1.5}, ("rate",), "more than 1", "0.1", id="rate"),
        pytest.param({"rate": True}, ("rate",), "not a number", "rate: 1", id="rate as boolean"),
        pytest.param({"always": "errors"}, ("always",), "no list of names", "[]", id="always as text"),
        pytest.param({"always": ["eror"]}, ("always", 0), "knows no `eror`", "`errors`", id="always unknown"),
        pytest.param({"redact": "name"}, ("redact",), "no list of names", "[NAME, …]", id="redact as text"),
        pytest.param({"redact": None}, ("redact",), "no list of names", "[]", id="redact left empty"),
        pytest.param({"redact": ["a", 7]}, ("redact", 1), "no name", "quotes", id="redact a number"),
    ],
)
def test_a_wrong_policy_says_where_and_how(
    said: object, key: tuple[Any, ...], problem: str, fix: str
) -> None:
    with pytest.raises(DefinitionError, match=problem) as caught:
        parse_capture_policy(said)
    assert caught.value.key == ("capture", *key)
    assert fix in caught.value.fix


def test_all_faults_of_a_policy_are_told_and_reading_goes_on() -> None:
    faults: list[Fault] = []
    said = {"rate": "much", "when_full": "x", "always": [1, "errors"], "max_records": "many", "redact": ["a"]}
    policy = parse_capture_policy(said, report=faults.append)
    assert {fault.key[1] for fault in faults} == {"rate", "max_records", "when_full", "always"}
    assert policy == CapturePolicy(always=("errors",), redact=("a",))


def test_redaction_names_columns_or_the_output() -> None:
    check_redaction(CapturePolicy(redact=("name", "output")), COLUMNS)
    with pytest.raises(DefinitionError, match="`redact` names `nmae`") as caught:
        check_redaction(CapturePolicy(redact=("distance", "nmae")), COLUMNS, "fare")
    assert (caught.value.key, caught.value.fix) == (("capture", "redact", 1), "did you mean `name`?")
    with pytest.raises(DefinitionError) as caught:
        check_redaction(CapturePolicy(redact=("fare",)), COLUMNS, "fare")
    assert "`output`" in caught.value.fix


@given(policies, st.floats(0, 1, exclude_max=True), st.booleans(), st.booleans())
def test_what_is_kept(policy: CapturePolicy, draw: float, failed: bool, out_of_range: bool) -> None:
    asked = (failed and "errors" in policy.always) or (out_of_range and "out_of_range" in policy.always)
    assert must_keep(policy, draw, failed, out_of_range) == (policy.enabled and (asked or draw < policy.rate))


def test_the_ends_of_the_rate_are_everything_and_nothing() -> None:
    assert must_keep(CapturePolicy(), 1 - 2**-53, False, False)
    assert not must_keep(CapturePolicy(rate=0), 0.0, False, False)


rows = st.lists(st.lists(st.integers(), min_size=3, max_size=3), max_size=4)
redactions = st.sets(st.sampled_from((*COLUMNS, "output")))


@given(rows, redactions)
def test_only_the_values_of_redacted_columns_are_gone(table: list[list[int]], redact: set[str]) -> None:
    before = copy.deepcopy(table)
    hidden = redact_rows(table, find_redacted(CapturePolicy(redact=tuple(redact)), COLUMNS))
    assert table == before
    assert hidden == [
        [None if name in redact else value for name, value in zip(COLUMNS, row, strict=True)] for row in table
    ]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        pytest.param({"data": [[1, 2, "Ann"]]}, {"data": [[1, 2, None]]}, id="lists"),
        pytest.param(
            {"data": [{"name": "Ann", "distance": 1}]},
            {"data": [{"name": None, "distance": 1}]},
            id="objects",
        ),
        pytest.param({"data": [{"Name": "Ann"}]}, {"data": [{}]}, id="a column nobody knows"),
        pytest.param({"data": [[1, 2]], "x": 1}, None, id="a row of another length"),
        pytest.param({"data": [[["Ann"], {}, 3]]}, {"data": [[None, None, None]]}, id="nested"),
        pytest.param({"data": ["Ann"]}, None, id="no row"),
        pytest.param({"data": "Ann"}, None, id="no rows"),
        pytest.param({"data": [], "who": "Ann"}, {"data": []}, id="beside the rows"),
        pytest.param({"rows": [[1, 2, "Ann"]]}, None, id="another format"),
        pytest.param("Ann", None, id="text"),
    ],
)
def test_of_a_body_is_left_what_surely_holds_nothing_redacted(said: Any, left: Any) -> None:
    places = find_redacted(CapturePolicy(redact=("name",)), COLUMNS)
    assert redact_body(said, COLUMNS, places) == left
    assert redact_body(said, COLUMNS, ()) == said


def test_a_failure_may_quote_what_is_redacted() -> None:
    assert hides_output(CapturePolicy(redact=("output",)), failed=False)
    assert hides_output(CapturePolicy(redact=("name",)), failed=True)
    assert not hides_output(CapturePolicy(redact=("name",)), failed=False)
    assert not hides_output(CapturePolicy(), failed=True)
