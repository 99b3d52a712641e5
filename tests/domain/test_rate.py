"""Bounds on a rate that hold however often one looks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.rate import EVEN, SMALL, Mixture, least_rate, most_rate


@pytest.mark.parametrize(
    ("hits", "trials", "least", "most"),
    [
        pytest.param(0, 0, 0.0, 1.0, id="nothing seen"),
        pytest.param(0, 100, 0.0, 0.1, id="none of a hundred"),
        pytest.param(100, 100, 0.6, 1.0, id="all of a hundred"),
        pytest.param(70, 1000, 0.04, 0.11, id="seven in a hundred"),
        pytest.param(7000, 100_000, 0.066, 0.074, id="seven in a hundred, often"),
        pytest.param(3.5, 50.25, 0.0, 0.3, id="no whole numbers"),
    ],
)
def test_bounds_lie_about_what_was_seen(hits: float, trials: float, least: float, most: float) -> None:
    assert least <= least_rate(hits, trials, 0.001) <= (hits / trials if trials else 0)
    assert (hits / trials if trials else 1) <= most_rate(hits, trials, 0.001) <= most


@given(st.integers(0, 500), st.integers(1, 500), st.sampled_from([0.05, 0.001]))
def test_more_of_the_same_and_less_certainty_bring_the_bounds_closer(
    hits: int, trials: int, alpha: float
) -> None:
    hits = min(hits, trials)
    assert least_rate(hits, trials, alpha) <= least_rate(10 * hits, 10 * trials, alpha) + 1e-9
    assert most_rate(hits, trials, alpha) >= most_rate(10 * hits, 10 * trials, alpha) - 1e-9
    assert least_rate(hits, trials, alpha) <= least_rate(hits, trials, 10 * alpha) + 1e-9


@pytest.mark.parametrize(("rate", "mixture"), [(0.002, SMALL), (0.02, SMALL), (0.3, SMALL), (0.6, EVEN)])
def test_a_bound_is_wrong_at_any_of_many_looks_no_more_often_than_allowed(
    rate: float, mixture: Mixture
) -> None:
    """200 sequences of 2,000 trials, looked at after every 20th: with alpha 0.05, ten may be wrong on
    average; 22 are by chance in less than one of a thousand."""
    dice = random.Random(8)
    wrong = 0
    for _ in range(200):
        hits = 0
        for trials in range(20, 2001, 20):
            hits += sum(dice.random() < rate for _ in range(20))
            if least_rate(hits, trials, 0.05, mixture) > rate:
                wrong += 1
                break
    assert wrong < 22
