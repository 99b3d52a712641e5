"""A project that is only looked at, and a new one beside it, which is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgeferry.adapters.documents import Document, load_document, load_json
from edgeferry.adapters.project import ProjectFolder
from edgeferry.domain.finding import Finding, refuse_found
from edgeferry.errors import DefinitionError, UsageError

_LEFT = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".edgeferry", ".pytest_cache", "mlruns"}
)


class AcceleratorTree:
    """Implements the `ProjectTree` port for the folder `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> str:
        """Its absolute path."""
        return str(self._root)

    def files(self) -> Sequence[str]:
        """Paths of all files, sorted; links that lead out of the folder are not followed."""
        found = []
        for folder, folders, names in os.walk(self._root):
            folders[:] = sorted(set(folders) - _LEFT)
            found += [Path(folder, name) for name in names if Path(folder, name).is_file()]
        inside = [path for path in found if path.resolve().is_relative_to(self._root)]
        return sorted(path.relative_to(self._root).as_posix() for path in inside)

    def text(self, path: str) -> str:
        """The file's text; DefinitionError when it is none."""
        try:
            return (self._root / path).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError(
                f"this cannot be read: {error}",
                fix="save it as UTF-8 text",
                file=str(self._root / path),
                line=1,
            ) from error

    def document(self, path: str) -> Document:
        """The YAML or JSON file, a mapping of names; DefinitionError with the line when it is none."""
        load = load_json if path.endswith(".json") else load_document
        document = load(self._root / path, refuse_found)
        assert document is not None  # or it was refused
        document.mapping(refuse_found)
        return document


@contextmanager
def new_project(root: Path, source: Path) -> Iterator[NewProjectFolder]:
    """The project that is to be in `root`, made of files of `source`. It is written beside it, and moved
    there when the context ends well; UsageError when something is there, or `root` is inside of `source`."""
    if root.is_relative_to(source):
        raise UsageError(
            f"{root} is inside of {source}, which is only looked at", fix="choose another folder with --to"
        )
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise UsageError(f"{root} is not empty", fix="choose another folder with --to, or move it away")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    except OSError as error:
        raise UsageError(
            f"{root} cannot be written: {error.strerror}", fix="choose another with --to"
        ) from error
    try:
        draft.chmod(0o755)
        yield NewProjectFolder(draft, root, source)
        draft.rename(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class NewProjectFolder:
    """Implements the `NewProject` port in a draft folder."""

    def __init__(self, draft: Path, root: Path, source: Path) -> None:
        self._draft = draft
        self._root = root
        self._source = source

    def write(self, path: str, text: str) -> None:
        """The new file; UsageError when the project that is looked at has one that came there before."""
        place = self._place(path)
        place.write_text(text, "utf-8")

    def copy(self, source: str, path: str) -> None:
        """The file, with its permissions."""
        shutil.copy2(self._source / source, self._place(path))

    def find_faults(self) -> Sequence[Finding]:
        """All that is wrong with the models, files by their paths below the project."""
        project = ProjectFolder(self._draft)
        found = {each for name in project.model_names() for each in project.find_faults(name)}
        below = f"{self._draft.resolve()}/"
        short = (
            replace(each, file=each.file.replace(below, ""), problem=each.problem.replace(below, ""))
            for each in found
        )
        return sorted(short, key=lambda each: (each.file, each.line, each.rule, each.problem))

    def _place(self, path: str) -> Path:
        place = self._draft / path
        if place.exists():
            raise UsageError(
                f"two files would be {self._root / path}",
                fix=f"rename {path} in the project that is imported: edgeferry has a file of that name",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
