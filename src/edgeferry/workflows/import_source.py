"""What an import reads from, and what it gathers: shared by its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeferry.domain.accelerator import Edit, Origin, Placed
from edgeferry.domain.accelerator_devops import Pipelines
from edgeferry.domain.accelerator_edge import Template
from edgeferry.domain.finding import Report, place, refuse_found
from edgeferry.errors import DefinitionError
from edgeferry.ports_projects import Located, ProjectTree


@dataclass(frozen=True)
class Source:
    """What is imported, read once for all models."""

    tree: ProjectTree
    files: Sequence[str]
    pipelines: Pipelines
    template: Template
    say: Callable[[str], None]

    def reporting(self, file: str, document: Located) -> Report:
        """Refuses each fault, with the file's whole path and the line."""
        return lambda fault: refuse_found(place(fault, f"{self.tree.root}/{file}", document.line(fault.key)))

    def refuse(self, origin: Origin, problem: str, fix: str) -> DefinitionError:
        """An error at that place."""
        return DefinitionError(
            problem, fix=fix, file=f"{self.tree.root}/{origin.file}", line=origin.line or 1
        )

    def below(self, folder: str) -> list[str]:
        """The files below a folder."""
        return [file for file in self.files if file.startswith(f"{folder}/")]


@dataclass
class Ported:
    """What came of one model."""

    placed: list[Placed] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    """Top-level folders that its steps' code is in."""
    registered: str = ""
