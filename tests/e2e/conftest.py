"""One sandbox for all end-to-end tests: real servers, real devices, a copy of the example project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REAL_TRIPS = ROOT.parent / "shared" / "data" / "tlc"


@dataclass(frozen=True)
class Ran:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`edgeferry` as a user runs it, on one project and one state folder."""

    project: Path
    state: Path

    def __call__(self, *arguments: str, timeout_s: int = 400, **extra: str) -> Ran:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
        environment |= {"EDGEFERRY_STATE": str(self.state), "COLUMNS": "200", "NO_COLOR": "1", **extra}
        command = [sys.executable, "-m", "edgeferry", "--project", str(self.project), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def edgeferry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A fresh copy of the taxi project with empty state; everything it started is gone afterwards."""
    home = tmp_path_factory.mktemp("e2e")
    shutil.copytree(
        ROOT / "examples" / "taxi", home / "taxi", ignore=shutil.ignore_patterns(".edgeferry", "__pycache__")
    )
    command = CommandLine(home / "taxi", home / "state")
    try:
        yield command
    finally:
        command("down", "--wipe")
        # The step environments and layers of a session are large; records of the run are not.
        for name in ("environments", "images", "steps"):
            shutil.rmtree(home / "state" / name, ignore_errors=True)


@pytest.fixture(scope="session")
def demo(edgeferry: CommandLine) -> Ran:
    """The demo, run once from empty state."""
    return edgeferry("demo", "--devices", "2", "--output", "json")
