"""The record of an agent's own update, in the state folder: read and moved on by both agents."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeferry.device.durable import replace_file, sync_folder
from edgeferry.domain.agent_update import Phase, Update

_log = logging.getLogger(__name__)


class UpdateRecord:
    """The record in `folder`. Whoever moves it on says what it was: two agents cannot both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "agent-update.json"
        self._lock = folder / "agent-update.lock"
        self._standby = folder / "standby.json"

    def load(self) -> Update | None:
        """The update under way, or the one that failed; None without either."""
        said = _read(self._path)
        try:
            return Update(**{**said, "phase": Phase(said["phase"])}) if said else None
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("record of the agent's update ignored: %r", error)
            return None

    def move(self, before: Update | None, after: Update | None) -> bool:
        """Whether the record was `before` and is `after` now (None: no record)."""
        with self._held():
            if self.load() != before:
                return False
            if after is None:
                self._path.unlink(missing_ok=True)
                self._standby.unlink(missing_ok=True)
                sync_folder(self.folder)
            else:
                _write(self._path, {**asdict(after), "phase": after.phase.value})
        return True

    def say_ready(self, mark: str, problem: str) -> None:
        """The agent with that mark could act on this device, or `problem` keeps it from it."""
        if self.heard(mark) != (True, problem):
            _write(self._standby, {"mark": mark, "problem": problem})

    def heard(self, mark: str) -> tuple[bool, str]:
        """Whether the agent with that mark has spoken, and its problem."""
        said = _read(self._standby)
        return (True, str(said.get("problem", ""))) if said.get("mark") == mark else (False, "")

    @contextmanager
    def _held(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("file ignored path=%s: %s", path, error)
        return {}
    return said if isinstance(said, dict) else {}


def _write(path: Path, said: dict[str, Any]) -> None:
    replace_file(path, json.dumps(said).encode(), 0o600)
