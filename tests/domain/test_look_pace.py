import math

import pytest

from edgeferry.domain.look_pace import NextLook, is_few, pace_look


@pytest.mark.parametrize(
    ("devices", "pages", "few"),
    [
        pytest.param(50, 0, True, id="50, nothing known"),
        pytest.param(51, 0, False, id="51, nothing known"),
        pytest.param(50, 1, True, id="50 beside one page"),
        pytest.param(500, 20, True, id="500 of 10,000 beside 20 pages"),
        pytest.param(501, 20, False, id="501 beside 20 pages"),
    ],
)
def test_a_few_devices_are_read_one_by_one_the_more_pages_a_query_has(
    devices: int, pages: int, few: bool
) -> None:
    assert is_few(devices, pages) is few


@pytest.mark.parametrize(
    ("pages", "per_minute", "left_s", "wait_s", "says"),
    [
        pytest.param(0, 20, math.inf, 2, "", id="one by one: as usual"),
        pytest.param(30, math.inf, math.inf, 2, "", id="a hub that does not count"),
        pytest.param(30, math.inf, 0.5, 0.5, "", id="the deadline before the usual time"),
        pytest.param(30, math.inf, -1, 2, "", id="behind the deadline: as usual"),
        pytest.param(3, 20, math.inf, 9, "3 pages of queries, and the hub answers 20 a", id="1,000"),
        pytest.param(30, 20, math.inf, 90, "every 90 s", id="10,000"),
        pytest.param(30, 200, math.inf, 9, "every 9 s", id="10,000, ten units"),
        pytest.param(300, 20, math.inf, 900, "every 900 s", id="10,000 in pages of 100"),
        pytest.param(30, 20, 600, 90, "every 90 s", id="the deadline is far"),
        pytest.param(30, 20, 180, 90, "every 90 s", id="one more look is affordable"),
        pytest.param(30, 20, 179, 179, "the next one is at the deadline, in 179 s", id="one more is not"),
        pytest.param(30, 20, 12.2, 12.2, "at the deadline, in 13 s", id="the deadline comes first"),
        pytest.param(30, 20, 0, 90, "every 90 s", id="at the deadline, which was looked at"),
        pytest.param(30, 20, -5, 90, "every 90 s", id="behind the deadline"),
    ],
)
def test_looks_keep_to_what_the_hub_answers_and_to_the_deadline(
    pages: int, per_minute: float, left_s: float, wait_s: float, says: str
) -> None:
    after = pace_look(pages, per_minute, 2.0, left_s)
    assert isinstance(after, NextLook)
    assert after.wait_s == wait_s
    assert says in after.reason if says else not after.reason
