from datetime import time

import pytest

from edgeferry.domain.download_window import Window, is_open, parse_window, say_closed
from edgeferry.errors import UsageError

NIGHT, DAY = "22:00-05:00", "09:30-17:00"


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        pytest.param(NIGHT, time(22, 0), True, id="as-it-opens"),
        pytest.param(NIGHT, time(21, 59, 59), False, id="before"),
        pytest.param(NIGHT, time(0, 0), True, id="midnight"),
        pytest.param(NIGHT, time(4, 59, 59), True, id="its-last-second"),
        pytest.param(NIGHT, time(5, 0), False, id="as-it-closes"),
        pytest.param(DAY, time(9, 30), True, id="a-day-opens"),
        pytest.param(DAY, time(12, 0), True, id="noon"),
        pytest.param(DAY, time(17, 0), False, id="a-day-closes"),
        pytest.param(DAY, time(3, 0), False, id="night"),
        pytest.param("22:00-00:00", time(23, 59), True, id="until-midnight"),
        pytest.param("22:00-00:00", time(0, 0), False, id="midnight-is-its-end"),
        pytest.param("", time(3, 0), True, id="always"),
    ],
)
def test_a_window_is_open_from_its_first_minute_until_its_last(text, now, expected):
    assert is_open(parse_window(text), now) is expected


@pytest.mark.parametrize(
    "text", ["22-5", "22:00", "22:00-22:00", "24:00-05:00", "9:00-10:00", "22:60-05:00", "x", "22:00-05:00 "]
)
def test_what_is_no_window_is_refused(text):
    with pytest.raises(UsageError, match="no download window"):
        parse_window(text)


def test_a_closed_window_says_when_it_opens():
    assert say_closed(Window(time(22), time(5))) == (
        "outside the download window 22:00-05:00: it opens at 22:00"
    )
