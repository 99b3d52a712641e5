"""A copy of the agent's files as they were when a newer agent took over, in case that one wrote them in a
form that this one cannot read, and then failed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOLDER = "before-update"
_OTHERS = ("agent-update", "standby", "status.json", "lock", "log", "agent.toml", "device.json")
"""What begins so is not the agent's state, or is in use by both agents."""


def keep_copy(folder: Path) -> None:
    """The state is there twice; a copy that was not finished is never used."""
    drop_copy(folder)
    draft = folder / f"{FOLDER}.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    for path in _state_files(folder):
        shutil.copy2(path, draft / path.name)
    os.sync()
    draft.rename(folder / FOLDER)


def restore_copy(folder: Path) -> bool:
    """Whether there was a copy; the state is what it was then. Done again, after a power cut in the middle,
    it gives the same."""
    kept = folder / FOLDER
    if not kept.is_dir():
        return False
    names = {path.name for path in kept.iterdir()}
    for path in _state_files(folder):
        if path.name not in names:
            path.unlink(missing_ok=True)
    for path in kept.iterdir():
        draft = folder / f"{path.name}.new"
        shutil.copy2(path, draft)
        draft.replace(folder / path.name)
    os.sync()
    return True


def drop_copy(folder: Path) -> None:
    """There is no copy."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _state_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(_OTHERS)]
