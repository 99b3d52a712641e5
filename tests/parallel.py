"""A run of the tests in several processes: what each gets, and how all of them end.

One process, the controller, gives tests to the workers and runs none itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = ("tests/e2e", "tests/ci", "tests/workflows", "tests/chaos")
"""Folders whose tests share something costly, or depend on their order; elsewhere each file is a group.
The longest is first, so that no worker ends long after the others."""
LONG = (
    "tests/device/test_trials.py",
    "tests/device/test_self_update.py",
    "tests/sdk/test_clients.py",
    "tests/device/test_agent.py",
)
"""Files that take minutes: they come next. All that is pure comes last, since none of it takes long."""
_PURE = ("tests/domain/", "tests/wire/")
_PATIENCE_S = 120
"""For what a worker ends when it is interrupted: its sandbox, with the devices and their containers."""


class Groups(LoadScopeScheduling):
    """Gives a worker one group of tests after another, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group of a test: its folder, if that is one of `TOGETHER`, else its file."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


def rank_of(nodeid: str) -> int:
    """Where the test's group stands among those to start with."""
    group = group_of(nodeid)
    first = (*TOGETHER, *LONG)
    return first.index(group) if group in first else len(first) + group.startswith(_PURE)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker."""
    return hasattr(config, "workerinput")


def heed_one_interrupt() -> None:
    """This process is interrupted by its first SIGINT; later ones do not interrupt its clearing up.

    A terminal interrupts the workers too, the controller does, and execnet once more."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def end_workers(workers: list[WorkerController]) -> None:
    """The workers have cleared up, if need be interrupted; without this, xdist would kill them soon."""
    busy = [worker for worker in workers if not worker.channel.isclosed()]
    for worker in busy:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.gateway._rinfo().pid, signal.SIGINT)
    deadline = time.monotonic() + _PATIENCE_S
    for worker in busy:
        with contextlib.suppress(Exception):  # what it says of its end; xdist reports that
            worker.channel.waitclose(max(0.0, deadline - time.monotonic()))
