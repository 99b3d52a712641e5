"""A user's shell in a folder without a project, where `edgeferry hub` is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hubs import free_address


@dataclass
class Shell:
    """A user's shell in a folder without a project, with state folders of its own."""

    home: Path
    where: Path
    address: str = field(default_factory=free_address)

    @property
    def hub(self) -> Path:
        return self.home / "edgeferry" / "hub"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
        return {**kept, "XDG_STATE_HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "200"}

    def run(self, *arguments: str, where: Path | None = None, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "edgeferry", *arguments],
            capture_output=True,
            text=True,
            env={**self.environment, **more},
            cwd=where or self.where,
            timeout=60,
            check=False,
        )

    def done(self, *arguments: str, **more: Any) -> str:
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *more: str) -> Any:
        return json.loads(self.done("hub", "start", "--address", self.address, *more, "-o", "json"))
