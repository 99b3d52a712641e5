"""The project's folder: its models, their pipelines, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from edgeferry.adapters.faults import find_faults
from edgeferry.adapters.files import MODEL_FILE, read_model, read_pipeline
from edgeferry.adapters.upload import list_upload
from edgeferry.domain.fields import nearest
from edgeferry.domain.finding import Finding, refuse_found
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import PATHS, Pipeline
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

    def find_parts(self, model: ModelDefinition) -> Sequence[Path]:
        """The model's folder, and what its pipeline names: component files, code, environments, data; also
        a folder `tests` beside code, or with tests in code that is the whole project. Absolute, each once."""
        files = _sound(read_pipeline(Path(model.pipeline), refuse_found))
        pipeline = files.pipeline
        parts = [Path(model.folder).resolve(), files.document.file.resolve()]
        for each in files.components:
            component = each.component
            parts += [each.document.file, Path(component.environment.conda_file)]
            if component.code:
                parts += _code_parts(Path(component.code), Path(model.folder).resolve())
        for spec in pipeline.inputs.values():
            if spec.type in PATHS and Path(str(spec.default)).is_absolute():
                parts.append(Path(str(spec.default)))
        return list(dict.fromkeys(parts))

    def load_pipeline(self, model: ModelDefinition) -> Pipeline:
        """The model's pipeline, every path in it absolute, every environment with its requirements."""
        return _sound(read_pipeline(Path(model.pipeline), refuse_found)).pipeline


def _code_parts(code: Path, folder: Path) -> list[Path]:
    """The code folder and tests beside it; of one that holds the model's own `folder` too, what its ignore
    file lets through, that file, and tests within it."""
    if not folder.is_relative_to(code):
        return [code, *(beside for beside in [code.parent / "tests"] if beside.is_dir())]
    upload = list_upload(code)
    names = {file.path.partition("/")[0] for file in upload.files} | {upload.ignore_file} - {""}
    return [
        *(code / name for name in sorted(names)),
        *(code / name for name in TESTS if (code / name).is_dir()),
    ]


def _sound(files: T | None) -> T:
    """What was read by a reader that refuses all faults: there is always something."""
    assert files is not None
    return files
