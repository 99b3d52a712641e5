"""What a model's file holds packed, with a bound on what comes out: a few kilobytes can name gigabytes."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from edgeferry.errors import UsageError

MOST_BYTES = 512 * 1024 * 1024
"""More is not unpacked."""
MOST_SCHEMA_BYTES = 32 * 1024 * 1024
"""A larger schema of skops is not read: as values it takes fifty times as much."""
UNREADABLE = (
    *(ValueError, KeyError, EOFError, RuntimeError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile, yaml.YAMLError),
)
"""What is raised, besides OSError, by a file that is torn or not what its name says."""

_PACKED: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x78", zlib.decompressobj),
    (b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(memlimit=2**27)),
)
"""How joblib compresses, by first bytes."""


def unpack(data: bytes) -> bytes:
    """What joblib compressed, or the bytes as they are; UsageError when it is more than MOST_BYTES, one of
    UNREADABLE or OSError when it is not whole."""
    make = next((make for start, make in _PACKED if data.startswith(start)), None)
    if make is None:
        return data
    unpacker = make()
    body = unpacker.decompress(data, MOST_BYTES)
    if unpacker.eof:
        return bytes(body)
    if len(body) < MOST_BYTES:
        raise EOFError("it ends too early")
    raise UsageError(
        f"the model unpacks to more than {MOST_BYTES // 2**20} MB", fix="save it without compression"
    )


def read_skops(path: Path) -> bytes:
    """The schema in a file of skops; OSError or one of UNREADABLE when it cannot be read."""
    with zipfile.ZipFile(path) as archive:
        schema = archive.getinfo("schema.json")
        if schema.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others know no bound
            raise ValueError("its schema.json is packed in a way that skops does not use")
        if schema.file_size > MOST_SCHEMA_BYTES:
            raise ValueError(f"its schema.json has {schema.file_size} bytes")
        return archive.read(schema)
