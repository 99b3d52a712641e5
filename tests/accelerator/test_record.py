"""What notes a registered version: it takes the one that came new, and nothing for granted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeferry.adapters.record_version import find_new, run


def test_the_version_is_the_one_that_came_new_not_the_highest() -> None:
    assert find_new({"10": "a", "9": "b"}, {"10": "a", "9": "b", "2": "c"}, "fare") == ("2", "c")


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ({"1": "a"}, "registered 0 versions of fare"),
        ({"1": "a", "2": "b", "3": "c"}, "registered 2 versions of fare"),
        ({"1": "a", "2": ""}, "version 2 of fare names no run"),
    ],
)
def test_a_step_that_registers_none_two_or_one_of_no_run_ends_with_the_reason(
    after: dict[str, str], problem: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        find_new({"1": "a"}, after, "fare")
    assert problem in str(ended.value.code)


@pytest.mark.parametrize("code", [0, 3])
def test_a_module_runs_in_this_process_with_its_own_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "team_step.py").write_text(
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} {sys.argv[2]} {__name__}')\n"
        f"sys.exit({code})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said, before = tmp_path / "said.txt", list(sys.argv)
    command = ["python", "-m", "team_step", str(said), "--x"]
    if code:
        with pytest.raises(SystemExit):
            run(command)
    else:
        run(command)
    assert said.read_text() == f"{os.getpid()} --x __main__"
    assert sys.argv == before


def test_any_other_command_that_fails_ends_the_step() -> None:
    with pytest.raises(SystemExit) as ended:
        run(["sh", "-c", "exit 4"])
    assert ended.value.code == 4
