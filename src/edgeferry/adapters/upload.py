"""What of a code folder would leave this machine: walks it as Azure ML's client does, links followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeferry.domain.secret import why_key
from edgeferry.domain.snapshot import HEAD_BYTES, IGNORE_FILES, Upload, choose_files, let_through
from edgeferry.errors import UsageError


def list_upload(folder: Path) -> Upload:
    """The files of `folder` that would be sent, and those that look like keys.

    UsageError when the folder or a file in it cannot be read.
    """
    ignore, text = read_ignore(folder)
    try:
        through = let_through(_walk(folder, "", frozenset()), text)
        sizes = {path: (folder / path).stat().st_size for path in through}
        reasons = {path: why_key(path, _head(folder / path)) for path in through}
    except OSError as error:
        raise _unreadable(folder, error) from error
    return choose_files(sizes, {path: reason for path, reason in reasons.items() if reason}, ignore)


def read_ignore(folder: Path) -> tuple[str, str]:
    """The ignore file that decides for the folder: its name and its text, both "" when there is none.
    UsageError when it cannot be read."""
    name = next((name for name in IGNORE_FILES if (folder / name).is_file()), "")
    try:
        return name, (folder / name).read_text("utf-8-sig") if name else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UsageError:
    return UsageError(f"the code in {folder} cannot be read: {error}", fix="check its files and their rights")


def _walk(folder: Path, below: str, above: frozenset[str]) -> Iterator[str]:
    """The paths of all files, relative; a link that leads back to a folder above it is not followed."""
    place = os.path.realpath(folder / below)
    if place in above:
        return
    for entry in os.scandir(place):
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir():
            yield from _walk(folder, path, above | {place})
        elif entry.is_file():
            yield path


def _head(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(HEAD_BYTES)
