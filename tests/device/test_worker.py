"""The thread that does a model's work: whatever a job does, the next one has its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from edgeferry.device.modules.worker import Worker
from tests.device.loops import RunningLoop


@pytest.fixture
def running() -> Iterator[RunningLoop]:
    loop = RunningLoop()
    try:
        yield loop
    finally:
        loop.stop()


def stop() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        pytest.param(lambda: 1 / 0, ZeroDivisionError, id="an exception"),
        pytest.param(stop, SystemExit, id="a model that wants to exit"),
    ],
)
def test_a_job_that_raises_is_done_with_what_it_raised(
    running: RunningLoop, work: Callable[[], Any], kind: type[BaseException]
) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    worker = running.call(lambda: Worker(running.loop, 8))
    running.call(lambda: worker.submit(work, done.put))
    assert isinstance(done.get(timeout=60), kind)
    running.call(lambda: worker.submit(lambda: 7, done.put))
    assert done.get(timeout=60) == 7
    assert worker.busy_s() == 0


def test_who_fails_to_take_a_result_keeps_it_from_nobody_else(
    running: RunningLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    worker = running.call(lambda: Worker(running.loop, 8))

    def submit() -> None:
        for number in range(3):
            worker.submit(lambda number=number: number, done.put if number != 1 else lambda _: 1 / 0)

    running.call(submit)
    assert [done.get(timeout=60), done.get(timeout=60)] == [0, 2]
    running.call(lambda: None)
    assert "ZeroDivisionError" in capsys.readouterr().err
