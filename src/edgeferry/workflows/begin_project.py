"""Begin: a new project, a model in one, and what later versions of the templates bring to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.domain.beginning import check_model_name, suggest_project
from edgeferry.domain.given import GivenModel
from edgeferry.ports_projects import Carried, Part, Templates


@dataclass(frozen=True)
class Begun:
    """A project's folder, the model that is in it now, and the files that were not there before."""

    project: Path
    model: str
    written: tuple[str, ...]


def begin_project(templates: Templates, folder: Path, model: Part) -> Begun:
    """A new project in `folder`, with a model; UsageError, nothing written, where files are in the way."""
    project = Part("", {"kind": "project", "name": suggest_project(folder.resolve().name)}, {})
    return _write(templates, folder, [project, model])


def add_model(templates: Templates, project: Path, model: Part) -> Begun:
    """The model in a project that is there already; UsageError likewise."""
    return _write(templates, project, [model])


def example_part(name: str) -> Part:
    """A model that trains on rows it invents; UsageError when it cannot be called that."""
    check_model_name(name)
    return Part(f"models/{name}", {"kind": "model", "name": name}, {})


def given_part(given: GivenModel) -> Part:
    """A model that is there before any pipeline; UsageError when it cannot be called that."""
    check_model_name(given.name)
    file = "model" if given.form == "mlflow" else f"model{Path(given.file).suffix.lower()}"
    sample = f"sample{Path(given.sample).suffix.lower()}"
    answers = {
        "kind": "given",
        "name": given.name,
        "form": given.form,
        "file": file,
        "sample": sample,
        "requirements": list(given.requirements),
    }
    files = {f"given/{file}": Path(given.file), f"given/{sample}": Path(given.sample)}
    return Part(f"models/{given.name}", answers, files)


def carry_templates(templates: Templates, project: Path) -> Carried:
    """The project as today's templates would have written it, its edits kept."""
    return templates.carry(project)


def _write(templates: Templates, folder: Path, parts: Sequence[Part]) -> Begun:
    written = templates.write(parts, folder)
    return Begun(folder, Path(parts[-1].below).name, tuple(written))
