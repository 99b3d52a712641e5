"""Files with secrets, which are their owner's alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_private(path: Path, document: Any) -> None:
    """The file holds the document as JSON, whole whenever anybody looks; only its owner can ever read it."""
    write_private_text(path, json.dumps(document, indent=2))


def write_private_text(path: Path, text: str) -> None:
    """The file holds the text, whole whenever anybody looks; only its owner can ever read it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)
