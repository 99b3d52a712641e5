"""The snapshot of a step's code: which files of a `code` folder would leave this machine. Pure.

The files are those that Azure ML's client (azure-ai-ml 1.35) uploads, no more and no fewer; that client
uploads keys as well, and here they are named apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgeferry.domain.ignore import is_ignored, parse_ignore

IGNORE_FILES = (".amlignore", ".gitignore")
"""The first one that is there decides; only the folder's own counts."""
HEAD_BYTES = 4096
"""How much of a file is looked at for keys."""

_NEVER = "\n__pycache__\n"
_NOT_CODE = frozenset(
    ("__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store")
)
_PASSENGERS = (".git", ".venv", "venv", "node_modules", ".edgeferry")


@dataclass(frozen=True)
class UploadFile:
    """A file that would leave: its path below the folder, with `/`."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class RefusedFile:
    """A file that would leave, were it not for its looks."""

    path: str
    reason: str


@dataclass(frozen=True)
class Upload:
    """What would leave the machine of one folder, by path."""

    files: tuple[UploadFile, ...]
    refused: tuple[RefusedFile, ...]
    """Files that look like keys: not among `files`, and a reason not to send any."""
    ignore_file: str
    """The ignore file that decided, by name; "" when there is none."""

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def passengers(self) -> tuple[str, ...]:
        """Folders on board that no step's code is made of, such as `.git` or a virtual environment."""
        found = {part for file in self.files for part in file.path.split("/")[:-1] if part in _PASSENGERS}
        return tuple(sorted(found))


def is_code(path: str) -> bool:
    """Whether a file or folder is something that code is made of: no cache, no virtual environment."""
    return not _NOT_CODE.intersection(path.split("/"))


def let_through(paths: Iterable[str], ignore_text: str) -> tuple[str, ...]:
    """The paths that the ignore file's text lets through, sorted; `__pycache__` never is."""
    patterns = parse_ignore(ignore_text + _NEVER)
    return tuple(sorted(path for path in paths if not is_ignored(path, patterns)))


def choose_files(sizes: Mapping[str, int], suspects: Mapping[str, str], ignore_file: str) -> Upload:
    """The upload of these files, given their sizes; `suspects` says which look like keys, and why."""
    return Upload(
        files=tuple(UploadFile(path, sizes[path]) for path in sorted(sizes) if path not in suspects),
        refused=tuple(RefusedFile(path, suspects[path]) for path in sorted(suspects)),
        ignore_file=ignore_file,
    )
