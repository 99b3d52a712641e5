"""A run in several processes keeps together what belongs together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parallel import LONG, TOGETHER, group_of, rank_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", TOGETHER)
def test_what_is_kept_together_is_there(folder: str) -> None:
    files = sorted((ROOT / folder).glob("test_*.py"))
    assert len(files) > 1
    nodes = [f"{file.relative_to(ROOT)}::test_it[x/y::z]" for file in files]
    assert {group_of(node) for node in nodes} == {folder}


def test_elsewhere_each_file_is_a_group_and_comes_later() -> None:
    here = "tests/house/test_parallel.py"
    assert group_of(f"{here}::test_it") == here
    assert group_of("tests/e2e_of_others/test_x.py::test_it") == "tests/e2e_of_others/test_x.py"


def test_what_takes_long_begins_first_and_what_takes_no_time_is_left_for_the_end() -> None:
    assert all((ROOT / file).is_file() for file in LONG)
    folders = [f"{folder}/test_x.py" for folder in TOGETHER]
    order = [*folders, *LONG, "tests/house/test_parallel.py", "tests/domain/test_wave.py"]
    assert [rank_of(f"{file}::test_it") for file in order] == list(range(len(order)))
