"""The project's files: models, pipelines, components. A wrong one is named with file, line and fix.

YAML is composed first (nodes with marks), then built: an error's key path leads through the nodes to its
line. Documents are read in YAML 1.1 by PyYAML's safe loader; a key written twice is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edgeferry.domain.fields import At, nearest
from edgeferry.domain.model import ModelDefinition, parse_model
from edgeferry.domain.pipeline import (
    PATHS,
    Component,
    Input,
    Pipeline,
    component_paths,
    parse_component,
    parse_conda,
    parse_pipeline,
)
from edgeferry.errors import DefinitionError, UsageError
from edgeferry.ports import Script

MODEL_FILE = "model.yaml"


class ProjectFolder:
    """Implements the `Project` port for the folder `root`, which holds `edgeferry.toml` and `models/`."""

    def __init__(self, root: Path) -> None:
        self._models = root.resolve() / "models"

    def model_names(self) -> Sequence[str]:
        """The models' names, sorted: every folder with a model.yaml."""
        return sorted(path.parent.name for path in self._models.glob(f"*/{MODEL_FILE}"))

    def load_model(self, name: str) -> ModelDefinition:
        """The model `name`; UsageError when there is none, DefinitionError when its files are wrong."""
        folder = self._models / name
        file = folder / MODEL_FILE
        if name not in self.model_names():
            raise UsageError(
                f"there is no model `{name}` in {self._models}", fix=nearest(name, self.model_names())
            )
        checks_file = folder / "smoke" / "checks.yml"
        checks = _load_checks(checks_file) if checks_file.exists() else ()
        document = _load(file)
        with document.errors():
            definition = parse_model(document.mapping(), name, str(folder), checks)
            if not Path(definition.pipeline).is_file():
                raise DefinitionError(
                    f"{definition.pipeline} does not exist",
                    fix="add the file, or set `pipeline:`",
                    key=("pipeline",),
                )
            return _find_serving(definition, document.mapping())

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
        a folder `tests` beside code. Absolute, each once."""
        pipeline = self.load_pipeline(model)
        file = Path(model.pipeline)
        document = _load(file)
        parts = [Path(model.folder).resolve(), file.resolve()]
        parts += [(file.parent / path).resolve() for path in component_paths(document.mapping()).values()]
        for step in pipeline.steps:
            component = step.component
            parts.append(Path(component.environment.conda_file))
            if component.code:
                code = Path(component.code)
                parts += [code, *(beside for beside in [code.parent / "tests"] if beside.is_dir())]
        for spec in pipeline.inputs.values():
            if spec.type in PATHS and Path(str(spec.default)).is_absolute():
                parts.append(Path(str(spec.default)))
        return list(dict.fromkeys(parts))

    def load_pipeline(self, model: ModelDefinition) -> Pipeline:
        """The model's pipeline, every path in it absolute, every environment with its requirements."""
        file = Path(model.pipeline)
        document = _load(file)
        components = {}
        with document.errors():
            for step, path in component_paths(document.mapping()).items():
                component = _existing(file.parent / path, ("jobs", step, "component"))
                components[step] = _load_component(component)
            pipeline = parse_pipeline(document.mapping(), components)
            return replace(
                pipeline, inputs={name: _place(spec, file.parent) for name, spec in pipeline.inputs.items()}
            )


def _find_serving(definition: ModelDefinition, document: Mapping[str, Any]) -> ModelDefinition:
    """The definition with the paths of what serves it as they are here: "" for those that are not.

    DefinitionError when a named one is missing, or what is here and `runtime` exclude each other.
    """
    found: dict[str, str] = {}
    for field in ("score", "score_requirements", "dockerfile"):
        path = Path(getattr(definition, field))
        if field in document and not path.is_file():
            raise DefinitionError(
                f"{path} does not exist", fix="add the file, or leave the line out", key=(field,)
            )
        found[field] = str(path) if path.is_file() else ""
    runtime = definition.runtime
    if runtime == "auto" and found["score"]:
        runtime = "score"
    if runtime in ("onnx", "library") and found["score"]:
        raise DefinitionError(
            f"`runtime: {runtime}` and {found['score']} exclude each other", fix="keep one", key=("runtime",)
        )
    needed = {"score": ("score", "score.py"), "own": ("dockerfile", "Dockerfile")}.get(runtime)
    if needed and not found[needed[0]]:
        raise DefinitionError(
            f"`runtime: {runtime}` needs a {needed[1]} in the model's folder", fix="add it", key=("runtime",)
        )
    return replace(
        definition,
        runtime=runtime,
        score=found["score"],
        score_requirements=found["score_requirements"],
        dockerfile=found["dockerfile"],
    )


@dataclass(frozen=True)
class _Document:
    file: Path
    node: yaml.Node | None
    content: object

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.content, dict) or not all(isinstance(key, str) for key in self.content):
            raise DefinitionError("this is not a mapping of names", fix="start with lines like `name: value`")
        return self.content

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Adds this file and the key's line to a DefinitionError that has no file yet."""
        try:
            yield
        except DefinitionError as error:
            if error.file:
                raise
            raise DefinitionError(
                error.bare_problem,
                fix=error.fix,
                key=error.key,
                file=str(self.file),
                line=self.line(error.key),
            ) from error

    def line(self, key: At) -> int:
        """The line of `key`, or of the last part of it that is there; counted from 1."""
        node, line = self.node, 1
        for part in key:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == part), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def _load(file: Path) -> _Document:
    try:
        loader = yaml.SafeLoader(file.read_text("utf-8"))
        try:
            node = loader.get_single_node()
            content = loader.construct_document(node) if node else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DefinitionError(
            f"not YAML: {error.problem or error.context}",
            fix="mind the indentation, colons and quotes around this line",
            file=str(file),
            line=mark.line + 1 if mark else 1,
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DefinitionError(
            f"not YAML: {error}", fix="save it as UTF-8 text", file=str(file), line=1
        ) from error
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", fix="check the path and its rights"
        ) from error
    if node:
        _refuse_twice(file, node)
    return _Document(file, node, content)


def _refuse_twice(file: Path, node: yaml.Node) -> None:
    """DefinitionError when a mapping holds a key twice (YAML forbids it, PyYAML takes the last)."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_twice(file, child)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise DefinitionError(
                    f"`{key.value}` stands here twice",
                    fix="keep one of them",
                    file=str(file),
                    line=key.start_mark.line + 1,
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            _refuse_twice(file, value)


def _load_checks(file: Path) -> tuple[Mapping[str, object], ...]:
    document = _load(file)
    checks = document.content or []
    with document.errors():
        if not isinstance(checks, list) or not all(isinstance(check, dict) for check in checks):
            raise DefinitionError(
                "this is not a list of checks", fix="start each check with `- increasing:` or `- refused:`"
            )
    return tuple(checks)


def _load_component(file: Path) -> Component:
    document = _load(file)
    with document.errors():
        component = parse_component(document.mapping())
        code = str(_existing(file.parent / component.code, ("code",))) if component.code else ""
        conda_file = _existing(file.parent / component.environment.conda_file, ("environment", "conda_file"))
    conda = _load(conda_file)
    with conda.errors():
        python, requirements = parse_conda(conda.mapping())
    environment = replace(
        component.environment, conda_file=str(conda_file), python=python, requirements=requirements
    )
    return replace(component, code=code, environment=environment)


def _existing(path: Path, key: At) -> Path:
    if not path.exists():
        raise DefinitionError(
            f"{path} does not exist", fix="paths count from the file they stand in", key=key
        )
    return path.resolve()


def _place(spec: Input, folder: Path) -> Input:
    if spec.type not in PATHS or str(spec.default).startswith(("azureml:", "https:")):
        return spec
    return replace(spec, default=str((folder / str(spec.default)).resolve()))
