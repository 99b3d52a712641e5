"""What a server that throttles asks for is understood in both forms; nonsense is not waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from edgeferry.wire.retry_after import choose_wait, find_wait


def http_date(later_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(1_700_000_000 + later_s, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("retry_after", "attempt", "jitter", "wait_s"),
    [
        pytest.param("7", 0, 0.5, 7, id="seconds"),
        pytest.param(" 0 ", 3, 0.5, 0, id="at once"),
        pytest.param(http_date(12), 0, 0.5, 12, id="a date"),
        pytest.param(http_date(-12), 0, 0.5, 0, id="a date gone by"),
        pytest.param("", 0, 0.0, 1, id="nothing said"),
        pytest.param("", 3, 0.0, 8, id="doubling"),
        pytest.param("", 3, 1.0, 4, id="jitter halves at most"),
        pytest.param("soon", 1, 0.0, 2, id="nonsense"),
        pytest.param("-5", 1, 0.0, 2, id="negative"),
    ],
)
def test_the_wait_is_what_the_server_asks_for_or_doubles(
    retry_after: str, attempt: int, jitter: float, wait_s: float
) -> None:
    assert choose_wait(retry_after, attempt, 1_700_000_000, jitter) == wait_s


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        pytest.param("toomanyrequests: retry after 30 seconds", 30, id="retry after"),
        pytest.param("429; Retry-After: 7", 7, id="header"),
        pytest.param("rate exceeded, try again in 12s", 12, id="again in"),
        pytest.param("the registry asks to wait 40 s", 40, id="to wait"),
        pytest.param("pulling host:5000/x: 429 toomanyrequests", 0, id="nothing said"),
    ],
)
def test_the_wait_is_found_in_the_text_of_an_error(text: str, wait_s: float) -> None:
    assert find_wait(text) == wait_s
