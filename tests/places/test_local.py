"""This machine alone: a run ends with its process, and what had ended is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.places.conftest import PIPELINE, Model


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_running_step_and_keeps_what_had_ended(
    model: Model, migrated: Path, tmp_path: Path, number: int
) -> None:
    pid = tmp_path / "pid"
    model.write("pipeline.yml", PIPELINE.replace("settings:\n  force_rerun: true\n", ""))
    model.write(
        "src/count.py",
        f"""
        import os, pathlib, time
        pathlib.Path({str(pid)!r} + ".new").write_text(str(os.getpid()))
        os.rename({str(pid)!r} + ".new", {str(pid)!r})
        time.sleep(600)
        """,
    )
    state = tmp_path / "state"
    (state / "mlflow").mkdir(parents=True)
    shutil.copy(migrated, state / "mlflow" / "mlflow.db")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    command = [sys.executable, "-m", "edgeferry", "train", "demo"]
    with subprocess.Popen(
        command,
        cwd=model.folder,
        env={**environment, "EDGEFERRY_STATE": str(state)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 180
            while not pid.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "edgeferry runs" not in err
    assert "the run is ended; steps that had ended are kept" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert list((state / "steps").glob("*/result.json"))
    assert not list((state / "steps").glob("*.running"))
    assert not (state / "runs").exists()
