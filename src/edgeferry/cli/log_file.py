"""Log files on this machine, as commands print them."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

_SIGHTS_S = 0.2


def print_log(path: Path, lines: int, *, follow: bool) -> None:
    """The file's last lines are on stdout; with `follow` also what is added, for ever."""
    with path.open("r", encoding="utf-8", errors="replace") as file:
        for line in deque(file, maxlen=lines):
            print(line, end="")
        while follow:
            line = file.readline()
            if line:
                print(line, end="", flush=True)
            else:
                time.sleep(_SIGHTS_S)
