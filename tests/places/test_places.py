"""What every place must do: this machine and Azure ML (its SDK, against a workspace that runs the steps)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeferry.domain.pipeline import Registration
from edgeferry.errors import UsageError
from tests.places.conftest import Bench


def test_a_run_completes_step_by_step_and_says_what_it_registered(bench: Bench) -> None:
    bench.submit("demo-1")
    state = bench.end("demo-1")
    assert state.state == "completed"
    assert [(step.name, step.state) for step in state.steps] == [
        ("copy", "ran"),
        ("count", "ran"),
        ("register", "ran"),
    ]
    assert state.registered == Registration("demo", "4", "run-hello")


def test_each_run_has_its_own_registration(bench: Bench) -> None:
    bench.submit("demo-1", {"word": "one"})
    bench.submit("demo-2", {"word": "two"})
    second, first = bench.end("demo-2"), bench.end("demo-1")
    assert first.registered == Registration("demo", "4", "run-one")
    assert second.registered == Registration("demo", "4", "run-two")


def test_a_folder_given_as_input_is_the_one_that_is_read(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_text("seven..")
    bench.submit("demo-1", {"data": str(tmp_path / "other")})
    assert bench.end("demo-1").registered == Registration("demo", "7", "run-hello")


def test_a_failed_step_ends_the_run_and_its_log_says_why(bench: Bench) -> None:
    bench.model.write("src/count.py", "print('before')\nraise SystemExit('the data is odd')")
    bench.submit("demo-1")
    state = bench.end("demo-1")
    assert state.state == "failed"
    assert state.registered is None
    assert state.failed_step is not None
    assert state.failed_step.name == "count"
    assert "ended" in state.failed_step.reason
    assert [step.state for step in state.steps] == ["ran", "failed", "queued"]
    assert bench.place.logs("demo-1", "count", 0) == b"before\nthe data is odd\n"


def test_a_log_comes_whole_and_in_order_while_its_step_runs(bench: Bench) -> None:
    lines = 150
    bench.model.write(
        "src/copy.py",
        f"""
        import time
        for number in range({lines}):
            print(f"line {{number}}: ü", flush=True)
            time.sleep(0.005)
        """,
    )
    bench.submit("demo-1")
    read, looks = b"", 0
    while True:
        state = bench.place.poll("demo-1")
        new = bench.place.logs("demo-1", "copy", len(read))
        read, looks = read + new, looks + bool(new)
        if state.steps[0].ended:
            break
    read += bench.place.logs("demo-1", "copy", len(read))
    assert read.decode() == "".join(f"line {number}: ü\n" for number in range(lines))
    assert bench.place.logs("demo-1", "copy", 0) == read
    assert looks > 1


def test_cancel_ends_the_run_and_its_processes(bench: Bench, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    bench.model.write(
        "src/copy.py",
        f"""
        import os, pathlib, time
        pathlib.Path({str(pid)!r} + ".new").write_text(str(os.getpid()))
        os.rename({str(pid)!r} + ".new", {str(pid)!r})
        time.sleep(600)
        """,
    )
    bench.submit("demo-1")
    bench.until("demo-1", lambda _: pid.exists())
    bench.place.cancel("demo-1")
    state = bench.end("demo-1")
    assert state.state == "canceled"
    assert [step.state for step in state.steps] == ["canceled"] * 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    bench.place.cancel("demo-1")
    assert bench.place.poll("demo-1").state == "canceled"


def test_a_run_nobody_submitted_is_unknown(bench: Bench) -> None:
    for ask in (
        lambda: bench.place.poll("demo-9"),
        lambda: bench.place.logs("demo-9", "copy", 0),
        lambda: bench.place.cancel("demo-9"),
    ):
        with pytest.raises(UsageError, match="no run demo-9"):
            ask()


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        pytest.param({"words": "x"}, "no input `words`", id="unknown"),
        pytest.param({"data": "/nowhere"}, "no folder on this machine", id="not there"),
    ],
)
def test_an_input_that_cannot_be_is_refused_before_anything_happens(
    bench: Bench, inputs: dict[str, str], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        bench.submit("demo-1", inputs)
    with pytest.raises(UsageError, match="no run demo-1"):
        bench.place.poll("demo-1")


def test_the_preview_shows_the_pipeline_and_starts_nothing(bench: Bench) -> None:
    preview = bench.place.preview("demo-1", *bench.model.load(), {})
    assert "experiment_name: trials" in preview.document
    assert "prediction" not in preview.document
    with pytest.raises(UsageError, match="no run demo-1"):
        bench.place.poll("demo-1")
