"""Closed segments of a capture store are compressed, a block at a time, beside the server's work.

The compressed file appears under its name only when it is whole and on the disk; then the lines go. A kill at
any moment leaves the lines, or both, or the compressed file. Damaged groups stay as they are, to be counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

from edgeferry.device.modules.segment_files import find_files
from edgeferry.wire.capture import PACKED, PART, PLAIN, render_segment_name
from edgeferry.wire.capture_block import pack, pack_group
from edgeferry.wire.capture_segment import Group, merge_groups, parse_groups, parse_trailer

BLOCK_BYTES = 256 * 1024
"""Of lines: as much is read again for any record in it."""


Alone = Callable[[], AbstractContextManager[None]]
"""Nothing of the store expires within."""


def compress_closed(folder: Path, is_stopped: Callable[[], bool], alone: Alone = nullcontext) -> None:
    """Every closed segment in the folder is compressed, unless `is_stopped` says so meanwhile. OSError when
    one cannot be, or `alone` raises it."""
    files = [each for each in find_files(folder) if each.is_whole]
    for each in files[:-1]:
        if PLAIN not in each.kinds:
            continue
        path = folder / render_segment_name(each.first)
        if PACKED in each.kinds:
            path.unlink(missing_ok=True)
        elif not _compress(folder, each.first, is_stopped, alone):
            return


def _compress(folder: Path, first: int, is_stopped: Callable[[], bool], alone: Alone) -> bool:
    """Whether to go on with the next one."""
    plain, part, packed = (folder / render_segment_name(first, kind) for kind in (PLAIN, PART, PACKED))
    with contextlib.suppress(FileNotFoundError), plain.open("rb") as lines:
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another server may be at it
        except BlockingIOError:
            return True
        except OSError:
            pass
        try:
            with part.open("wb") as file:
                for block in _read_blocks(lines, first):
                    file.write(block)
                    if is_stopped():
                        return False
                file.flush()
                said = os.fstat(lines.fileno())
                os.utime(file.fileno(), ns=(said.st_mtime_ns, said.st_mtime_ns))
                os.fsync(file.fileno())
            with alone():
                if os.fstat(lines.fileno()).st_nlink == 0:
                    part.unlink(missing_ok=True)
                    return True
                part.rename(packed)
        except OSError:  # a full disk needs the room
            part.unlink(missing_ok=True)
            raise
        _sync_names(folder)
        plain.unlink(missing_ok=True)
    return True


def _sync_names(folder: Path) -> None:
    door = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(door)
    finally:
        os.close(door)


def _read_blocks(file: IO[bytes], first: int) -> Iterator[bytes]:
    yield pack(file.readline(), first)
    sequence = first
    while text := _read_groups(file):
        member, sequence = _pack_groups(text, sequence)
        yield member


def _read_groups(file: IO[bytes]) -> bytes:
    """About BLOCK_BYTES up to a group's end, or all that is left."""
    text = file.read(BLOCK_BYTES)
    pieces = [text[: text.rfind(b"\n") + 1]]
    line = text[len(pieces[0]) :] + file.readline()
    while line:
        pieces.append(line)
        if line.startswith(b'"') and parse_trailer(line):
            break
        line = file.readline()
    return b"".join(pieces)


def _pack_groups(text: bytes, sequence: int) -> tuple[bytes, int]:
    """The block of these lines, the first of which has that sequence unless it says otherwise; and the
    sequence behind them."""
    try:
        group, first, behind = merge_groups(text)
        return pack_group(group, first), behind
    except ValueError:  # what is damaged, or no record, is to be counted where it stands
        items = list(parse_groups(text.splitlines(keepends=True)))
    groups = [item for item in items if isinstance(item, Group)]
    if groups:
        return pack(text, sequence), groups[-1].first + len(groups[-1].entries)
    return pack(text, sequence), sequence + sum(item for item in items if isinstance(item, int))
