"""The files of steps: what a step sees of its code folder, and hashes of files and folders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeferry.adapters.upload import list_upload
from edgeferry.domain.pipeline import Component
from edgeferry.domain.snapshot import is_code


def copy_code(component: Component, target: Path) -> None:
    """The new folder `target` holds the component's code."""
    target.mkdir()
    for file in list_code(component):
        copy = target / file.relative_to(component.code)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)


def list_code(component: Component) -> Sequence[Path]:
    """The files of the code folder that a step sees: those that Azure ML would be sent, so that none comes to
    depend on another, without what no code is made of."""
    if not component.code:
        return ()
    paths = (file.path for file in list_upload(Path(component.code)).files)
    return [Path(component.code, path) for path in paths if is_code(path)]


def hash_path(path: Path) -> str:
    """The sha256 over relative names, executable bits and contents of a file or of all files in a folder."""
    return hash_files(path, list_files(path))


def hash_files(path: Path, files: Iterable[Path]) -> str:
    """The same over these files of the folder `path`, in this order."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        name = file.relative_to(path).as_posix() if file != path else ""
        total.update(json.dumps([name, os.access(file, os.X_OK), digest]).encode())
    return total.hexdigest()


def list_files(path: Path) -> Iterator[Path]:
    """The file, or all in the folder but what no code is made of, by name."""
    if path.is_file():
        yield path
        return
    for child in sorted(path.iterdir()):
        if is_code(child.name) and child.exists():
            yield from list_files(child)
