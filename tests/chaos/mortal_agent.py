"""`python -m tests.chaos.mortal_agent KIND STEP WHEN --state DIR`: the agent, until it dies of SIGKILL.

It dies before, amid or after its STEP-th step of that KIND: `durable` (a file synced, replaced or cut),
`engine` (the engine told to change something), `journal` (an entry of the agent's journal). What the agent
does is its own; only the calls are counted. With STEP 0 it does not die, and writes how many there were into
the file WHEN at its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from edgeferry.device import __main__ as agent

BEFORE, AFTER = "before", "after"
KINDS = ("durable", "engine", "journal")


class Count:
    """Dies at the step it was told."""

    def __init__(self, step: int, when: str) -> None:
        self.steps = 0
        self._last = step
        self._when = when
        self._lock = threading.Lock()

    def around(self, call: Callable[..., Any], counts: Callable[..., bool] = lambda *_, **__: True) -> Any:
        """The call, counted where `counts` says so of its arguments."""

        def counted(*arguments: Any, **named: Any) -> Any:
            if not counts(*arguments, **named):
                return call(*arguments, **named)
            with self._lock:
                self.steps += 1
                dies = self.steps == self._last
            if dies and self._when == BEFORE:
                die()
            answer = call(*arguments, **named)
            if dies:
                die()
            return answer

        return counted


def die() -> None:
    """This process has ended, as by a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def watch(kind: str, count: Count) -> None:
    """Steps of that kind are counted from now on."""
    match kind:
        case "durable":
            for name in ("fsync", "replace", "rename", "ftruncate"):
                setattr(os, name, count.around(getattr(os, name)))
        case "engine":
            changes = lambda _, method, *__, **___: method.upper() in ("POST", "DELETE")  # noqa: E731
            requests.Session.request = count.around(requests.Session.request, changes)
        case "journal":
            from edgeferry.device.journal import Journal

            Journal.append = count.around(Journal.append)
        case _:
            sys.exit(f"{kind} is none of {', '.join(KINDS)}")


if __name__ == "__main__":
    which, step, moment, *rest = sys.argv[1:]
    count = Count(int(step), moment)
    watch(which, count)
    code = agent.main(rest)
    if not int(step):
        Path(moment).write_text(str(count.steps))
    sys.exit(code)
