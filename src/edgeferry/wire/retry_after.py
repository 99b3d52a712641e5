"""How long to wait before a request is sent again: `Retry-After` (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

_FIRST_WAIT_S = 1.0
_IN_TEXT = re.compile(r"(?:retry[- ]after|again (?:in|after)|to wait)[ :]*(\d{1,6})", re.IGNORECASE)


def choose_wait(retry_after: str, attempt: int, now: float, jitter: float = 0.0) -> float:
    """Seconds to wait after attempt number `attempt` (from 0), never negative: what the header's value says,
    seconds or a date, else 1, 2, 4 … seconds, halved at most by `jitter` (0 to 1); `now` in Unix seconds."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return float(_FIRST_WAIT_S * 2**attempt * (1 - jitter / 2))


def find_wait(text: str) -> float:
    """The seconds to wait that an error's text names ("retry after 30 seconds"), 0 when it names none."""
    found = _IN_TEXT.search(text)
    return float(found[1]) if found else 0.0
