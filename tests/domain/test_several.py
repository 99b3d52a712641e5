"""What several commands come to."""

from __future__ import annotations

import pytest

from edgeferry.domain.several import find_worst, render_word


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        pytest.param([], 0, id="nothing to do is fine"),
        pytest.param([0, 0], 0, id="all fine"),
        pytest.param([0, 1, 0], 1, id="one no"),
        pytest.param([1, 3, 2], 3, id="the outside world is worse than wrong usage"),
        pytest.param([3, 70, 1], 70, id="a bug of ours is worse"),
        pytest.param([137, 70], 137, id="a killed one is worst"),
    ],
)
def test_the_worst_decides(codes: list[int], worst: int) -> None:
    assert find_worst(codes) == worst


def test_a_no_and_a_failure_have_words_of_their_own() -> None:
    assert [render_word(code) for code in (0, 1, 2, 3)] == ["shipped", "refused", "failed", "failed"]
