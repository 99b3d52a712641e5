"""Affected: which models and steps of the project a change touches, and by which paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.domain.affected import Changes, TouchedModel, find_affected, find_removed
from edgeferry.domain.reading import ModelReading
from edgeferry.errors import UsageError
from edgeferry.ports import History
from edgeferry.ports_models import Project
from edgeferry.settings import ENVIRONMENTS_FOLDER, PROJECT_FILE

SHARED = (PROJECT_FILE, ENVIRONMENTS_FOLDER)
"""What every model of a project reads, below the project's folder."""


@dataclass(frozen=True)
class Affected:
    """What the change touches."""

    revision: str
    """Since when, as it was asked."""
    changes: Changes
    models: tuple[TouchedModel, ...]
    untouched: tuple[str, ...]
    removed: tuple[str, ...]
    """Models that were there and are no more."""


def find_touched(
    project: Project, history: History, root: Path, revision: str, also: Sequence[Path] = ()
) -> Affected:
    """What a change since `revision` touches; every model by `also`, too. `root` is the project's folder."""
    changes = history.changes_since(revision)
    names = project.model_names()
    readings = [_read(project, root, name) for name in names]
    shared = [(root / name).as_posix() for name in SHARED]
    models = find_affected(readings, [*shared, *(path.as_posix() for path in also)], changes.files)
    touched = {model.name for model in models}
    return Affected(
        revision=revision,
        changes=changes,
        models=models,
        untouched=tuple(name for name in names if name not in touched),
        removed=find_removed(names, (root / "models").as_posix(), "model.yaml", changes.files),
    )


def _read(project: Project, root: Path, name: str) -> ModelReading:
    try:
        return project.find_reading(project.load_model(name))
    except UsageError as error:
        return ModelReading(name, (root / "models" / name).as_posix(), fault=error.problem)
