"""A shell whose hubs are ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.sandbox.process import Process
from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "work").mkdir()
    found = Shell(tmp_path / "home", tmp_path / "work")
    yield found
    for record in tmp_path.rglob("run/hub.json"):
        Process(record.parents[1], "hub").stop()
