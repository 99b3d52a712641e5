"""Runs as values: what changed, what is remembered, how long to wait."""

from __future__ import annotations

import pytest

from edgeferry.domain.run import (
    Preview,
    RunRecord,
    RunState,
    StepState,
    changes,
    parse_record,
    pause_after,
    render_record,
)
from edgeferry.domain.snapshot import RefusedFile, Upload, UploadFile

RECORD = RunRecord("demo-1", "demo", "azureml", "sub/group/lab", 1700000000.5, {"word": "bye"})


def state(*steps: tuple[str, str]) -> RunState:
    return RunState("demo-1", "running", tuple(StepState(name, word) for name, word in steps))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        pytest.param(None, state(("a", "running"), ("b", "queued")), ["a"], id="the first look"),
        pytest.param(state(("a", "running")), state(("a", "running")), [], id="nothing new"),
        pytest.param(
            state(("a", "running"), ("b", "queued")),
            state(("a", "ran"), ("b", "running")),
            ["a", "b"],
            id="two at once",
        ),
        pytest.param(state(("a", "ran")), state(("a", "ran"), ("b", "reused")), ["b"], id="a new one"),
    ],
)
def test_what_changed_since_the_last_look(before: RunState | None, after: RunState, named: list[str]) -> None:
    assert [step.name for step in changes(before, after)] == named


def test_a_record_comes_back_as_it_was() -> None:
    assert parse_record(render_record(RECORD)) == RECORD


@pytest.mark.parametrize("document", [{}, {"id": "x"}, {**render_record(RECORD), "submitted_at": "soon"}])
def test_what_is_no_record_is_refused(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        parse_record(document)


@pytest.mark.parametrize(
    ("failures", "poll_s", "pause"),
    [(0, 10, 10), (1, 10, 20), (2, 10, 40), (3, 10, 60), (500, 10, 60), (0, 0.05, 0.05), (5, 90, 90)],
)
def test_pauses_grow_up_to_a_minute(failures: int, poll_s: float, pause: float) -> None:
    assert pause_after(failures, poll_s) == pause


def test_a_preview_sums_up_what_would_leave_and_what_must_not() -> None:
    code = Upload((UploadFile("a.py", 3), UploadFile("b.py", 4)), (RefusedFile("k.pem", "a key"),), "")
    preview = Preview("", {"/code": code, "/data": Upload((UploadFile("x.csv", 10),), (), ".amlignore")})
    assert preview.size_bytes == 17
    assert list(preview.refused) == ["/code/k.pem: a key"]
