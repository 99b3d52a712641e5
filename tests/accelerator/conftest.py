"""The team's project; its own tests are run where they are, and not by ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accelerator.team import write_project

collect_ignore = ["project"]


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A fresh copy."""
    return write_project(tmp_path / "cabs", trips=20)
