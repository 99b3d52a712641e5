"""What is shown of a command that takes longer than a moment, always on stderr: on a terminal a line with a
bar and the time left, elsewhere now and then a plain line. How long things took is remembered."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edgeferry.ports import TextFolder

_FILE = "durations.json"
_MOST_REMEMBERED = 500


@dataclass
class Task:
    """Something under way."""

    what: str
    total: float
    unit: str
    usual_s: float
    """How long it took last time; 0: nobody knows."""
    since_s: float = field(default_factory=time.monotonic)
    done: float = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.since_s

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1; None where nobody knows."""
        if self.total:
            return min(self.done / self.total, 1.0)
        return min(self.elapsed_s / self.usual_s, 1.0) if self.usual_s else None

    def words(self) -> str:
        """How far it is and how long it takes yet."""
        elapsed_s, left_s = self.elapsed_s, -1.0
        if self.total and self.done:
            left_s = elapsed_s * (self.total - self.done) / self.done
        elif self.usual_s:
            left_s = self.usual_s - elapsed_s
        counted = f"{_amount(self.done, self.total, self.unit)}, " if self.total else ""
        text = f"{counted}{_seconds(elapsed_s)}"
        if left_s >= 0:
            return f"{text}, about {_seconds(left_s)} left"
        return f"{text}, longer than the {_seconds(self.usual_s)} of last time" if self.usual_s else text


class Progress:
    """What is under way in this process."""

    def __init__(self, after_s: float = 2.0, beat_s: float = 30.0) -> None:
        self._after_s, self._beat_s = after_s, beat_s
        self._lock = threading.RLock()
        self._tasks: list[Task] = []
        self._live: Live | None = None
        self._quiet = 0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._folder: TextFolder | None = None

    @property
    def console(self) -> Console:
        """Where else is printed on stderr."""
        with self._lock:
            return self._live.console if self._live else Console(stderr=True)

    def remember_in(self, folder: TextFolder) -> None:
        """How long things take is kept there."""
        self._folder = folder

    @contextlib.contextmanager
    def work(
        self, what: str, total: float = 0.0, unit: str = "", *, lasts_s: float | None = None
    ) -> Iterator[Callable[[float], None]]:
        """See ports.Work. `lasts_s`: what it takes whatever it took last time; 0: until somebody ends it."""
        usual_s = self._usual(what) if lasts_s is None else lasts_s
        task = Task(what, total, unit, usual_s)
        self._begin(task)

        def advance(done: float) -> None:
            task.done = done

        try:
            yield advance
            if lasts_s is None and task.elapsed_s >= self._after_s:
                self._remember(what, task.elapsed_s)
        finally:
            self._end(task)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing is shown meanwhile: an answer or a question is. What writes to stdout itself does so in it,
        for while a line is shown, rich takes what is printed for stderr."""
        with self._lock:
            self._hide()
            self._quiet += 1
        try:
            yield
        finally:
            with self._lock:
                self._quiet -= 1

    def _begin(self, task: Task) -> None:
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._show, args=(self._ended,), daemon=True)
                self._thread.start()

    def _end(self, task: Task) -> None:
        with self._lock:
            self._tasks.remove(task)
            if self._tasks:
                return
            self._hide()
            self._ended.set()
            self._thread = None

    def _show(self, ended: threading.Event) -> None:
        """Until the last task ends."""
        is_terminal = is_live()
        beat_s = self._beat_s
        since_s = time.monotonic()
        while not ended.wait(0.25 if is_terminal else min(self._beat_s, 1.0)):
            with self._lock:
                if ended.is_set():
                    return
                if self._quiet:
                    continue
                old = [task for task in self._tasks if task.elapsed_s >= self._after_s]
                old = list({task.what: task for task in old}.values())
                if old and is_terminal:
                    self._draw(old)
                elif old and time.monotonic() - since_s >= beat_s:
                    print(f"· still {old[-1].what}: {old[-1].words()}", file=sys.stderr, flush=True)
                    since_s, beat_s = time.monotonic(), 2 * beat_s

    def _draw(self, tasks: list[Task]) -> None:
        if self._live is None:
            self._live = Live(
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        self._live.update(_render(tasks), refresh=True)

    def _hide(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _usual(self, what: str) -> float:
        known = self._read().get(what)
        return float(known) if isinstance(known, int | float) and math.isfinite(known) and known > 0 else 0.0

    def _remember(self, what: str, seconds: float) -> None:
        """Nobody fails for it."""
        with contextlib.suppress(Exception), self._lock:
            known = {name: value for name, value in self._read().items() if name != what}
            kept = dict(list(known.items())[-_MOST_REMEMBERED:])
            if self._folder:
                self._folder.write(_FILE, json.dumps({**kept, what: round(seconds, 1)}, indent=1))

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(Exception):
            found = json.loads((self._folder.read(_FILE) if self._folder else "") or "{}")
            return found if isinstance(found, dict) else {}
        return {}


PROGRESS = Progress()
"""That of this process: it has one stderr."""


def is_live() -> bool:
    """Whether lines on stderr may move: a terminal that can, and no CI job's."""
    dumb = os.environ.get("TERM", "") in ("dumb", "unknown")
    return sys.stderr.isatty() and not dumb and os.environ.get("CI", "").lower() in ("", "0", "false")


def _render(tasks: list[Task]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="ellipsis", no_wrap=True)
    grid.add_column(width=16)
    grid.add_column(no_wrap=True)
    for task in tasks:
        share = task.share
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=16) if share is not None else Text("…")
        grid.add_row(Text(task.what), bar, Text(task.words(), style="dim"))
    return grid


def _amount(done: float, total: float, unit: str) -> str:
    if unit == "bytes":
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    return f"{done:,.0f} of {total:,.0f} {unit}"


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
