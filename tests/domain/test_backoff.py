import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.backoff import LONGEST_S, wait_s


@pytest.mark.parametrize(
    ("failures", "random", "expected"),
    [
        pytest.param(0, 0.0, 10, id="first"),
        pytest.param(0, 1.0, 5, id="first-with-all-of-the-jitter"),
        pytest.param(1, 0.0, 20, id="doubled"),
        pytest.param(4, 0.5, 120, id="half-of-the-jitter"),
        pytest.param(5, 0.0, 300, id="at-most"),
        pytest.param(10**6, 0.0, 300, id="for-ever"),
    ],
)
def test_the_wait_doubles_up_to_five_minutes_less_its_jitter(failures, random, expected):
    assert wait_s(failures, random) == expected


@given(st.integers(0, 100), st.floats(0, 1))
def test_no_wait_is_short_and_none_is_long(failures, random):
    assert 5 <= wait_s(failures, random) <= LONGEST_S
    assert wait_s(failures, random) <= wait_s(failures + 1, random)
