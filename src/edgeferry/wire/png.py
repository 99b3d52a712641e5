"""An 8-bit grayscale image as the bytes of a PNG. Format: PNG (W3C, third edition), colour type 0."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def render_png(pixels: Sequence[int], width: int) -> bytes:
    """The image whose pixels, 0 … 255, stand row by row in `pixels`."""
    raw = bytes(pixels)
    lines = b"".join(b"\0" + raw[start : start + width] for start in range(0, len(raw), width))
    header = struct.pack(">IIBBBBB", width, len(raw) // width, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines)), _chunk(b"IEND", b""))
    return _SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
