"""Histograms: how numbers are cut, joined and compared."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.sketch import (
    INFINITE,
    NOT_A_NUMBER,
    TEXT_BINS,
    band,
    bin_of,
    cut,
    edge_of,
    gather,
    join_words,
    number_of_text,
    outside,
    shrink,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.dictionaries(FINITE.map(bin_of), st.integers(1, 1000), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("value", "edge"),
    [
        pytest.param(0.0, 0.0, id="zero"),
        pytest.param(-0.0, 0.0, id="zero below zero"),
        pytest.param(5e-324, 0.0, id="next to zero"),
        pytest.param(1.0, 1.0, id="a power of two"),
        pytest.param(1.124, 1.0, id="just within its first eighth"),
        pytest.param(1.126, 1.125, id="its second eighth"),
        pytest.param(-3.1, -3.0, id="a negative number"),
        pytest.param(1.7e308, 1.6853373139334212e308, id="among the largest"),
        pytest.param(math.inf, math.inf, id="infinity"),
        pytest.param(-math.inf, -math.inf, id="minus infinity"),
    ],
)
def test_a_bin_begins_at_an_eighth_of_a_power_of_two(value: float, edge: float) -> None:
    assert edge_of(bin_of(value)) == edge


def test_no_number_has_a_bin_beyond_all_others() -> None:
    assert bin_of(math.nan) == bin_of(-math.nan) == NOT_A_NUMBER > bin_of(math.inf) == INFINITE
    assert math.isnan(edge_of(NOT_A_NUMBER))


@given(FINITE, FINITE)
def test_bins_rise_with_the_numbers_in_them(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bin_of(low) <= bin_of(high)
    assert bin_of(-low) == -bin_of(low)


@given(st.floats(1e-300, 1e300))
def test_a_bin_is_at_most_an_eighth_wide(value: float) -> None:
    assert edge_of(bin_of(value)) <= value < edge_of(bin_of(value) + 1) <= edge_of(bin_of(value)) * 1.125


@given(st.lists(st.floats() | st.integers(-(2**60), 2**60)))
def test_words_are_counted_as_bins_are(numbers: list[float]) -> None:
    assert join_words(Counter(cut(numbers))) == Counter(map(bin_of, numbers))


@pytest.mark.parametrize(
    ("histogram", "expected"),
    [
        pytest.param({}, (-INFINITE, INFINITE), id="nothing: all but NaN"),
        pytest.param({NOT_A_NUMBER: 9}, (-INFINITE, INFINITE), id="NaN alone"),
        pytest.param({7: 1}, (7, 7), id="one number"),
        pytest.param({1: 1, 5: 98, 9: 1}, (5, 5), id="exactly a hundredth on each side is left out"),
        pytest.param({1: 2, 5: 96, 9: 2}, (1, 9), id="two hundredths are not"),
        pytest.param({1: 1, 5: 98, 9: 1, NOT_A_NUMBER: 50}, (5, 5), id="NaN is not counted"),
        pytest.param({-9: 50, 9: 50}, (-9, 9), id="two ends and nothing between"),
    ],
)
def test_a_band_leaves_out_no_more_than_half_of_the_rest_on_each_side(
    histogram: dict[int, int], expected: tuple[int, int]
) -> None:
    assert band(histogram) == expected


@given(COUNTS, st.floats(0, 1))
def test_a_band_is_the_smallest_that_holds_its_share(histogram: dict[int, int], share: float) -> None:
    low, high = band(histogram, share)
    spare = sum(histogram.values()) * (1 - share) / 2
    for rest, with_edge in (
        (sum(n for each, n in histogram.items() if each < low), histogram[low]),
        (sum(n for each, n in histogram.items() if each > high), histogram[high]),
    ):
        assert rest <= spare < rest + with_edge or rest + with_edge == sum(histogram.values())


@pytest.mark.parametrize(
    ("text", "group"),
    [("", 0), ("cheap", 1), ("fair", 10), ("free", 5), ("grün", 5), ("\ud800", 2)],
)
def test_a_text_has_the_same_bin_everywhere(text: str, group: int) -> None:
    assert number_of_text(text) == -(2.0 ** (1001 + group))
    assert bin_of(number_of_text(text)) == TEXT_BINS[group]


def test_outside_counts_what_leaves_the_band_and_nan() -> None:
    assert outside({1: 1, 2: 10, 3: 100, 4: 1000, NOT_A_NUMBER: 5}, (2, 3)) == 1006
    assert outside({NOT_A_NUMBER: 5}, band({})) == 5


def test_several_histograms_are_one() -> None:
    assert gather([{1: 1, 2: 2}, {}, {2: 3}]) == {1: 1, 2: 5}


@given(COUNTS, st.integers(4, 64), st.sets(st.sampled_from((-INFINITE, INFINITE, NOT_A_NUMBER))))
def test_a_smaller_histogram_counts_the_same_under_fewer_of_its_bins(
    histogram: dict[int, int], most: int, apart: set[int]
) -> None:
    histogram |= dict.fromkeys(apart, 3)
    small = shrink(histogram, most)
    assert sum(small.values()) == sum(histogram.values())
    assert len(small) <= most
    assert set(small) <= set(histogram)
    assert all(small[each] == 3 for each in apart)


def test_a_smaller_histogram_keeps_the_edges_of_its_band() -> None:
    # a bell around zero: hundreds of bins, the rare ones next to zero
    numbers = [math.tan(math.pi * (step / 20_001 - 0.5)) * 0.1 + step / 1e4 - 1 for step in range(1, 20_001)]
    histogram = Counter(map(bin_of, numbers))
    assert len(histogram) > 200
    small = shrink(histogram, 64)
    within = band(histogram)
    true, kept = (outside(each, within) / len(numbers) for each in (histogram, small))
    assert kept == pytest.approx(true, abs=0.005)
