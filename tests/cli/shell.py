"""A user's shell in a folder without a project, where `edgeferry hub` is typed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hubs import free_address
from tests.typed import clean_environment, typed


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
        return clean_environment(XDG_STATE_HOME=str(self.home))

    def run(self, *arguments: str, where: Path | None = None, **more: str) -> subprocess.CompletedProcess:
        return typed(*arguments, environment={**self.environment, **more}, where=where or self.where)

    def done(self, *arguments: str, **more: Any) -> str:
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *more: str) -> Any:
        return json.loads(self.done("hub", "start", "--address", self.address, *more, "-o", "json"))
