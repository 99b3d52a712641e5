"""New files in a folder: all of them or none, and never in another's place."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeferry.errors import UsageError

_MOST_NAMED = 8


def plant(source: Path, target: Path) -> Sequence[str]:
    """The files of `source` that were not in `target` yet, relative, and now are. Files that are there and
    hold the same stay. UsageError, nothing written, when some hold something else, or a folder is in the way.
    Whatever interrupts this, what it made is gone again."""
    try:
        if target.exists() and not target.is_dir():
            raise UsageError(f"{target} is no folder", fix="name another one; nothing was written")
        names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        _refuse_others([name for name in names if _is_other(source / name, target / name)])
        new = [name for name in names if not (target / name).exists()]
        _write(source, target, new)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be written: {error.strerror}",
            fix="nothing was left; choose another folder",
        ) from error
    return new


def _write(source: Path, target: Path, names: Sequence[str]) -> None:
    """The files are in `target`, or nothing is that was not."""
    made: list[Path] = []
    try:
        for name in names:
            file = target / name
            for folder in reversed([each for each in file.parents if not each.exists()]):
                made.append(folder)
                folder.mkdir()
            made.append(file)
            shutil.copyfile(source / name, file)
    except BaseException:
        for path in reversed(made):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        raise


def _refuse_others(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise UsageError(
            f"these are there already and hold something else: {', '.join(names[:_MOST_NAMED])}{more}",
            fix="choose another folder or name, or move them away; nothing was written",
        )


def _is_other(new: Path, old: Path) -> bool:
    """Whether `old` is in the way of `new`: it, or what should be a folder above it."""
    if any(each.exists() and not each.is_dir() for each in old.parents):
        return True
    return old.exists() and (not old.is_file() or old.read_bytes() != new.read_bytes())
