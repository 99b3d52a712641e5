"""A folder of text files that people edit too; each is replaced as a whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeferry.errors import UsageError


class LocalTextFolder:
    """Implements the `TextFolder` port for `root`, which is made on the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> Sequence[str]:
        """The files' names, sorted."""
        return sorted(path.name for path in self._root.glob("*") if path.is_file())

    def read(self, name: str) -> str | None:
        """The file's text; None when there is none, UsageError when it is no UTF-8 text."""
        path = self._root / name
        try:
            return path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}", fix="save it as UTF-8 text") from error

    def write(self, name: str, text: str) -> None:
        """The file holds the text: written beside it, then renamed over it, with its permissions."""
        path = self._root / name
        draft = ""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            descriptor, draft = tempfile.mkstemp(dir=self._root, prefix=f".{name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            os.chmod(draft, mode)
            os.replace(draft, path)
        except OSError as error:
            if draft:
                Path(draft).unlink(missing_ok=True)
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", fix="check the path and its rights"
            ) from error
