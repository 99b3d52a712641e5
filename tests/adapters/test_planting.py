"""New files in a folder: all or none, and nothing written over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeferry.adapters.planting import plant
from edgeferry.errors import UsageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/one.txt").write_text("1")
    (folder / "a/two.txt").write_text("2")
    (folder / "three.txt").write_text("3")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_new_files_are_written_and_the_second_time_there_is_nothing_to_write(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new/target"
    assert plant(source, target) == ["a/b/one.txt", "a/two.txt", "three.txt"]
    assert contents(target) == contents(source)
    assert plant(source, target) == []
    (target / "a/two.txt").unlink()
    (target / "own.txt").write_text("mine")
    assert plant(source, target) == ["a/two.txt"]
    assert (target / "own.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        pytest.param(lambda t: (t / "three.txt").write_text("other"), "three.txt", id="another file"),
        pytest.param(lambda t: (t / "three.txt").mkdir(), "three.txt", id="a folder"),
        pytest.param(lambda t: (t / "a").write_text(""), "a/b/one.txt, a/two.txt", id="a file for a folder"),
    ],
)
def test_what_is_in_the_way_is_named_and_nothing_is_written(
    make: object, named: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    make(target)  # type: ignore[operator]
    before = sorted(target.rglob("*"))
    with pytest.raises(UsageError) as refused:
        plant(source, target)
    assert refused.value.problem.endswith(f"something else: {named}")
    assert sorted(target.rglob("*")) == before


def test_what_was_begun_is_gone_when_a_file_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (source / "a/two.txt").unlink()
    os.mkfifo(source / "a/fifo")  # no file, so it is passed over
    (source / "z.txt").symlink_to("/proc/self/mem")  # reading it fails, after all others are written
    target = tmp_path / "new/target"
    with pytest.raises(UsageError, match="cannot be written"):
        plant(source, target)
    assert not (tmp_path / "new").exists()
