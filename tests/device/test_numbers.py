"""The numbers in a script's answer: the quick reader finds what the exact one does."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeferry.device.modules.loading import find_numbers
from edgeferry.domain.sketch import number_of_text
from edgeferry.wire.serving import parse_score_response

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def expect(said):
    values = parse_score_response(said) or ()
    return [number_of_text(value) if isinstance(value, str) else value for value in values]


@given(VALUES | st.lists(st.floats() | st.integers()) | st.lists(st.text()))
@example([1e308, -0.0, 2**63, 10**30])
@example([10**308])
@example([2 * 10**308])
@example({"result": [1, 2.5]})
@example([True])
@example(["1", "2.5"])
def test_what_is_read_quickly_is_what_the_exact_reader_says(value):
    said = json.dumps(value).encode()
    assert list(map(repr, find_numbers(said)[1])) == list(map(repr, expect(said)))


@pytest.mark.parametrize(
    "said", [b"[1e999]", b"[NaN]", b"[1, Infinity]", b"[1,]", b"", b"[" * 100_000, b"[\xff]"]
)
def test_what_is_no_list_of_finite_numbers_has_none(said):
    assert find_numbers(said) == (said, [])
