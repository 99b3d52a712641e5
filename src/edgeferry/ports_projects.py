"""What workflows ask of the outside world to begin projects and to take over those of others.

As in `ports`, every method raises a child of `OutsideError` when the outside does not do its part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from edgeferry.domain.finding import At, Finding


@dataclass(frozen=True)
class Carried:
    """What became of a later version of the templates in a project. Paths count from its folder."""

    updated: tuple[tuple[str, str], ...]
    """Each folder that was written from an older version, and which that was."""
    version: str
    """The version of all of them now."""
    changed: tuple[str, ...]
    """Files that are different, new or gone."""
    conflicts: tuple[str, ...]
    """Those in which template and edit changed the same lines: both stand there, between marks."""


@dataclass(frozen=True)
class Part:
    """One folder of a new project: what its template is told, and files that go along."""

    below: str
    """Where it stands, from the project's folder."""
    answers: Mapping[str, Any]
    files: Mapping[str, Path]
    """Files and folders to copy, by where they go in the part."""


class Templates(Protocol):
    """What new projects and models are written from."""

    def write(self, parts: Sequence[Part], project: Path) -> Sequence[str]:
        """The files that were not in the folder `project` yet. UsageError, nothing written, when some are
        there and hold something else."""

    def answers(self, folder: Path) -> Mapping[str, Any]:
        """What the template was told that the folder was written from; nothing when it is none of ours."""

    def carry(self, project: Path) -> Carried:
        """What is new in the templates since, carried into the project; edits are kept. All or nothing."""


class Located(Protocol):
    """A file's document, whose keys have lines."""

    @property
    def content(self) -> object: ...

    def line(self, key: At) -> int:
        """The line of `key`, or of the last part of it that is there."""


class ProjectTree(Protocol):
    """The files of a project that is only looked at."""

    @property
    def root(self) -> str:
        """Its absolute path."""

    def files(self) -> Sequence[str]:
        """Paths of all files below it that could be code or data, sorted."""

    def text(self, path: str) -> str:
        """The file's text; DefinitionError when it is none."""

    def document(self, path: str) -> Located:
        """The YAML or JSON file, a mapping; DefinitionError with the line when it is none."""


class PipelineFunctions(Protocol):
    """Pipelines that are made by somebody's Python."""

    def load(self, scripts: Mapping[str, Mapping[str, str]], fill_in: str) -> Mapping[str, Mapping[str, Any]]:
        """The job that each script submits, by its path; `scripts` holds values of its options, and one
        without value gets `fill_in` and its name. Nothing is submitted, and nothing reaches the network."""


class NewProject(Protocol):
    """A project that is being written; it is there as a whole or not at all."""

    def write(self, path: str, text: str) -> None: ...

    def copy(self, source: str, path: str) -> None:
        """The file `source` of the project that is looked at, byte for byte."""

    def find_faults(self) -> Sequence[Finding]:
        """All that is wrong with its models, files by their paths below it."""
