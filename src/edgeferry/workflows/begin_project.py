"""Begin: a new project, a model in one, and what later versions of the templates bring to both."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.domain.beginning import check_model_name, suggest_project
from edgeferry.domain.given import GivenModel
from edgeferry.domain.typed import render_command
from edgeferry.errors import UsageError
from edgeferry.ports_projects import Carried, Part, Templates
from edgeferry.settings import find_project


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
        "target": given.target,
        "missing": given.missing,
    }
    files = {f"given/{file}": Path(given.file), f"given/{sample}": Path(given.sample)}
    return Part(f"models/{given.name}", answers, files)


def carry_templates(templates: Templates, project: Path) -> Carried:
    """The project as today's templates would have written it, its edits kept."""
    return templates.carry(project)


def _find_newer(templates: Templates, project: Path, part: Part) -> UsageError | None:
    """What was meant where the model is there, made of an older file: to put this one in its place. None when
    that is not how they differ."""
    told, there = part.answers, templates.answers(project / part.below)
    if told["kind"] != "given" or any(there.get(key) != told[key] for key in ("kind", "name", "form")):
        return None
    commands = []
    for key, source in zip(("file", "sample"), part.files.values(), strict=True):
        place = project / part.below / "given" / str(there.get(key))
        if key == "sample" and place.suffix.lower() != source.suffix.lower():
            return None
        if not _is_same(source, place):
            commands += _render_copy(str(source), os.path.relpath(place), folder=source.is_dir())
    if not commands:
        return None
    name, outside = str(told["name"]), find_project(Path.cwd()) != project.resolve()
    where = ("--project", os.path.relpath(project)) if outside else ()
    fix = " && ".join([*commands, render_command("", "ship", name, *where)])
    if there.get("requirements") != told["requirements"]:
        file = os.path.relpath(project / part.below / "environment/conda.yml")
        fix += f"; before that, its libraries are to be written in {file}: {', '.join(told['requirements'])}"
    return UsageError(
        f"{part.below} is there, made of another file; nothing was written",
        fix=f"a newer version of it: {fix}",
    )


def _is_same(source: Path, place: Path) -> bool:
    """Folders are not compared: MLflow writes the time into each."""
    return source.is_file() and place.is_file() and source.read_bytes() == place.read_bytes()


def _render_copy(source: str, place: str, *, folder: bool) -> list[str]:
    source, place = shlex.quote(source), shlex.quote(place)
    return [f"rm -r {place}", f"cp -r {source} {place}"] if folder else [f"cp {source} {place}"]


def _write(templates: Templates, folder: Path, parts: Sequence[Part]) -> Begun:
    try:
        written = templates.write(parts, folder)
    except UsageError as error:
        raise _find_newer(templates, folder, parts[-1]) or error from error
    return Begun(folder, Path(parts[-1].below).name, tuple(written))
