"""Background processes: only the very process that was started counts, and is ended."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from edgeferry.errors import OutsideError
from edgeferry.sandbox.process import Process


def start(state: Path, code: str) -> Process:
    process = Process(state, "thing")
    process.start([sys.executable, "-c", code], dict(os.environ))
    return process


def wait_for(process: Process, *, running: bool) -> None:
    deadline = time.monotonic() + 60
    while process.is_running() is not running and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_started_process_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(60)")
    assert process.is_running()
    assert process.stop() is True
    assert not process.is_running()
    assert process.stop() is False


def test_a_process_that_ignores_the_request_is_ended_all_the_same(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    code = f"import signal, time; {deaf}; time.sleep(60)"
    process = start(tmp_path, code)
    deadline = time.monotonic() + 60
    while process.last_words() != "deaf" and time.monotonic() < deadline:
        time.sleep(0.02)
    process.stop(patience_s=0.1)
    assert not process.is_running()


def test_its_last_words_are_told_when_it_ended(tmp_path: Path) -> None:
    process = start(tmp_path, "print('address in use', flush=True); raise SystemExit(3)")
    wait_for(process, running=False)
    with pytest.raises(OutsideError, match="address in use"):
        process.must_run("the hub", fix="look")


def test_a_pid_that_passed_to_somebody_else_is_not_ours(tmp_path: Path) -> None:
    record = tmp_path / "run" / "thing.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"pid": os.getpid(), "started": "1", "command": []}))
    process = Process(tmp_path, "thing")
    assert not process.is_running()
    assert process.stop() is False
