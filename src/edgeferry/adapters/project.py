"""The project's folder: its models, their pipelines, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from edgeferry.adapters.faults import find_faults
from edgeferry.adapters.files import MODEL_FILE, read_model, read_pipeline
from edgeferry.adapters.upload import list_upload, read_ignore
from edgeferry.domain.fields import nearest
from edgeferry.domain.finding import Finding, refuse_found
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import PATHS, ParentInput, Pipeline, StepOutput
from edgeferry.domain.reading import Code, ModelReading, StepReading
from edgeferry.errors import UsageError
from edgeferry.ports_models import Script

T = TypeVar("T")
TESTS = ("test", "tests")
"""What a folder with tests may be called."""


class ProjectFolder:
    """Implements the `Project` port for the folder `root`, which holds `edgeferry.toml` and `models/`."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._models = self._root / "models"

    def model_names(self) -> Sequence[str]:
        """The models' names, sorted: every folder with a model.yaml."""
        return sorted(path.parent.name for path in self._models.glob(f"*/{MODEL_FILE}"))

    def load_model(self, name: str) -> ModelDefinition:
        """The model `name`; UsageError when there is none, DefinitionError when its files are wrong."""
        return _sound(read_model(self.model_folder(name), refuse_found)).definition

    def model_folder(self, name: str) -> Path:
        """The folder of the model `name`; UsageError when there is none."""
        if name not in self.model_names():
            raise UsageError(
                f"there is no model `{name}` in {self._models}", fix=nearest(name, self.model_names())
            )
        return self._models / name

    def find_faults(self, name: str) -> Sequence[Finding]:
        """What is wrong with the model `name`, all of it, by file and line; UsageError when there is none."""
        return find_faults(self._root, self.model_folder(name))

    def load_script(self, model: ModelDefinition) -> Script:
        """The model's own `score.py`, alone or with its folder, and its requirements."""
        script = Path(model.score)
        with_it = [script] if script.parent == Path(model.folder) else sorted(script.parent.rglob("*"))
        files = {
            path.relative_to(script.parent).as_posix(): path.read_bytes()
            for path in with_it
            if path.is_file() and "__pycache__" not in path.parts
        }
        wanted = Path(model.score_requirements).read_text("utf-8") if model.score_requirements else None
        return Script(script.name, files, wanted)

    def find_reading(self, model: ModelDefinition) -> ModelReading:
        """Its own folder, what its pipeline names (component files, code, environments, data), and folders
        `tests` beside code. UsageError when one of these files cannot be read."""
        files = _sound(read_pipeline(Path(model.pipeline), refuse_found))
        folder = Path(model.folder).resolve()
        data = {
            name: Path(str(spec.default)).as_posix()
            for name, spec in files.pipeline.inputs.items()
            if spec.type in PATHS and Path(str(spec.default)).is_absolute()
        }
        folders = {each.component.code for each in files.components}
        codes = {code: _code(Path(code), folder) if code else None for code in folders}
        beside = [place for code in codes.values() if code for place in _tests(code)]
        return ModelReading(
            name=model.name,
            folder=folder.as_posix(),
            pipeline=files.document.file.resolve().as_posix(),
            own=tuple(sorted(_own(model, folder))),
            steps=tuple(
                StepReading(
                    name=step.name,
                    component=files.step_files[step.name].as_posix(),
                    code=codes[step.component.code],
                    conda=step.component.environment.conda_file,
                    data=tuple(
                        data[bound.name]
                        for bound in step.inputs.values()
                        if isinstance(bound, ParentInput) and bound.name in data
                    ),
                    after=tuple(
                        dict.fromkeys(b.step for b in step.inputs.values() if isinstance(b, StepOutput))
                    ),
                )
                for step in files.pipeline.steps
            ),
            data=tuple(data.values()),
            tests=tuple(path.as_posix() for path in dict.fromkeys(beside) if path.is_dir()),
        )

    def load_pipeline(self, model: ModelDefinition) -> Pipeline:
        """The model's pipeline, every path in it absolute, every environment with its requirements."""
        return _sound(read_pipeline(Path(model.pipeline), refuse_found)).pipeline


def _own(model: ModelDefinition, folder: Path) -> set[str]:
    """What is read for the model itself, where it is or would be: with a Dockerfile, all of its folder."""
    if model.dockerfile:
        return {folder.as_posix()}
    names = {MODEL_FILE, "smoke", "score.py", "serve", "Dockerfile"}
    served = [Path(path).resolve() for path in (model.score, model.score_requirements) if path]
    if model.score and served[0].parent != folder:
        served[0] = served[0].parent
    return {(folder / name).as_posix() for name in names} | {path.as_posix() for path in served}


def _code(code: Path, folder: Path) -> Code:
    """The code folder; one that holds the model's own `folder` too, with what its ignore file lets in."""
    name, ignore = read_ignore(code)
    if not folder.is_relative_to(code):
        return Code(code.as_posix(), ignore)
    names = {file.path.partition("/")[0] for file in list_upload(code).files} | {name} - {""}
    return Code(code.as_posix(), ignore, tuple((code / each).as_posix() for each in sorted(names)))


def _tests(code: Code) -> list[Path]:
    """Where tests may be: beside the code, or within code that is more than the model's."""
    return [Path(code.folder, name) for name in TESTS] if code.parts else [Path(code.folder).parent / "tests"]


def _sound(files: T | None) -> T:
    """What was read by a reader that refuses all faults: there is always something."""
    assert files is not None
    return files
