"""The times of day at which a device may pull images. Pure; times are the machine's own wall clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time

from edgeferry.errors import UsageError

_TIMES = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Window:
    """From `opens` up to, without, `closes`; over midnight where it closes earlier than it opens."""

    opens: time
    closes: time


def parse_window(text: str) -> Window | None:
    """The window that `22:00-05:00` names, None (always open) for ""; UsageError when it is none."""
    if not text:
        return None
    found = _TIMES.fullmatch(text)
    if found:
        hours = [int(each) for each in found.groups()]
        window = Window(time(hours[0], hours[1]), time(hours[2], hours[3]))
        if window.opens != window.closes:
            return window
    raise UsageError(
        f"`{text}` is no download window",
        fix="write two different times of day, such as 22:00-05:00, or nothing",
    )


def is_open(window: Window | None, now: time) -> bool:
    """Whether images may be pulled at `now`."""
    if window is None:
        return True
    if window.opens < window.closes:
        return window.opens <= now < window.closes
    return now >= window.opens or now < window.closes


def say_closed(window: Window) -> str:
    """Why nothing is pulled now, and when it will be."""
    hours = f"{window.opens:%H:%M}-{window.closes:%H:%M}"
    return f"outside the download window {hours}: it opens at {window.opens:%H:%M}"
