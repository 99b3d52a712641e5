"""`up` that is interrupted: what it started ends again, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeferry.sandbox.local import status, taking_back
from edgeferry.sandbox.process import Process
from edgeferry.settings import SANDBOX_FILE

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def running(state: Path) -> list[str]:
    return [part.name for part in status(state) if part.running]


def start(state: Path, name: str) -> None:
    Process(state, name).start(SLEEPS, {})


def interrupt_amid_starting(state: Path) -> list[str]:
    said: list[str] = []

    def begin() -> None:
        with taking_back(state, said.append):
            start(state, "hub")
            (state / "hub").mkdir(exist_ok=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    return said


def test_of_a_new_sandbox_nothing_stays(tmp_path: Path) -> None:
    said = interrupt_amid_starting(tmp_path)
    assert running(tmp_path) == []
    assert "stopped hub" in said
    assert not (tmp_path / "hub").exists()
    assert not (tmp_path / "run").exists()


def test_what_ran_before_and_its_data_stay(tmp_path: Path) -> None:
    try:
        (tmp_path / "hub").mkdir()
        (tmp_path / SANDBOX_FILE).write_text("{}")
        start(tmp_path, "device-1")
        interrupt_amid_starting(tmp_path)
        assert running(tmp_path) == ["device-1"]
        assert (tmp_path / "hub").is_dir()
    finally:
        Process(tmp_path, "device-1").stop()


def test_an_error_takes_nothing_back_since_the_same_again_goes_on_there(tmp_path: Path) -> None:
    try:
        start_and_fail = pytest.raises(ValueError, match="no")
        with start_and_fail, taking_back(tmp_path, print):
            raise ValueError(start(tmp_path, "hub") or "no")
        assert running(tmp_path) == ["hub"]
    finally:
        Process(tmp_path, "hub").stop()
