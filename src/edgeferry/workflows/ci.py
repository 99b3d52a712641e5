"""CI: the pipelines of a project, written from what it is; edits in their marked places are kept."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.errors import UsageError
from edgeferry.ports import TextFolder
from edgeferry.ports_models import Project
from edgeferry.settings import ENVIRONMENTS_FOLDER, PROJECT_FILE
from edgeferry.settings_table import is_reference
from edgeferry.wire import azure_pipelines, github_workflows
from edgeferry.wire.acr import is_azure
from edgeferry.wire.ci_journey import Fleet, ModelSource, Source, Workspace
from edgeferry.wire.yaml_text import Map, parse_places, render_yaml

_PLATFORMS = {each.PLATFORM: (each.HEADER, each.render_all) for each in (azure_pipelines, github_workflows)}


@dataclass(frozen=True)
class Layout:
    """Where everything is."""

    repository: Path
    project: Path
    pipelines: Path


@dataclass(frozen=True)
class Written:
    """One pipeline file, and what became of it: `written`, `unchanged`; or `differs` where only looked at."""

    name: str
    state: str
    text: str
    """What it holds, or would."""


def write_pipelines(
    project: Project,
    folder: TextFolder,
    layout: Layout,
    fleet: Fleet,
    environments: Sequence[str],
    version: str,
    *,
    platform: str,
    check: bool,
) -> list[Written]:
    """The project's pipelines for the platform are in `folder`, unless `check` forbids to touch it.

    All are computed before the first is written. DefinitionError, with the line, when a file's markers are
    broken; UsageError when a file of that name is not ours.
    """
    header, render = _PLATFORMS[platform]
    source = _source(layout, environments, version)
    models = [_model(project, layout, name) for name in project.model_names()]
    if not models:
        raise UsageError("the project has no models", fix="add a folder with a model.yaml below models/")
    command = (
        f"edgeferry ci {platform} --folder {shlex.quote(_relative_or_up(layout.pipelines, layout.project))}"
    )
    if fleet.environment:
        command += f" --env {shlex.quote(fleet.environment)}"
    documents = render(source, models, fleet, tuple(environments), command)
    texts = {name: _render(folder, layout, name, document, header) for name, document in documents.items()}
    states = []
    for name, text in texts.items():
        same = folder.read(name) == text
        if not same and not check:
            folder.write(name, text)
        states.append(Written(name, "unchanged" if same else "differs" if check else "written", text))
    return states


def read_fleet(environment: str, written: Mapping[str, str]) -> Fleet:
    """What a merged model meets, from the settings that the project's files give.

    A secret of which the files hold a reference is read by edgeferry itself; any other is asked for by the
    name it would have in a key vault.
    """

    def referred(name: str) -> bool:
        return is_reference(written.get(name, ""))

    hub, registry, ledger, pull = dict[str, str](), dict[str, str](), dict[str, str](), dict[str, str]()
    entra_hub = "hub.host" in written and "hub.connection_string" not in written
    if not entra_hub and not referred("hub.connection_string"):
        hub["EDGEFERRY_HUB__CONNECTION_STRING"] = "hub-connection-string"
    host = written.get("registry.host", "")
    entra_registry = is_azure(host) and "registry.username" not in written
    if not host:
        registry["EDGEFERRY_REGISTRY__HOST"] = "registry-uri"
    if not entra_registry:
        if "registry.username" not in written:
            registry["EDGEFERRY_REGISTRY__USERNAME"] = "registry-username"
        if not referred("registry.password"):
            registry["EDGEFERRY_REGISTRY__PASSWORD"] = "registry-password"
    if not referred("ledger.signing_key"):
        ledger["EDGEFERRY_LEDGER__SIGNING_KEY"] = "ledger-signing-key"
    if "registry.pull_username" in written and not referred("registry.pull_password"):
        pull["EDGEFERRY_REGISTRY__PULL_PASSWORD"] = "registry-pull-password"
    azureml = written.get("train.place") == "azureml"
    return Fleet(
        environment=environment,
        workspace=_workspace(written) if azureml else None,
        identity=azureml or entra_hub or entra_registry or any(map(referred, written)),
        vault="vault.name" in written,
        secrets={"registry": registry, "hub": hub, "ledger": ledger, "pull": pull},
        ledger_url=written.get("ledger.url", ""),
        service_connection=written.get("ci.service_connection", ""),
    )


def _workspace(written: Mapping[str, str]) -> Workspace:
    missing = [name for name in ("azure.resource_group", "azure.workspace") if not written.get(name)]
    if missing:
        raise UsageError(
            f"train.place is azureml, and no file of the project sets {' and '.join(missing)}",
            fix=f"write it into {ENVIRONMENTS_FOLDER}/NAME.toml, and choose it with --env NAME",
        )
    return Workspace(written["azure.resource_group"], written["azure.workspace"])


def _source(layout: Layout, environments: Sequence[str], version: str) -> Source:
    prefix = _relative(layout.project, layout.repository)
    settings = [PROJECT_FILE, *([f"{ENVIRONMENTS_FOLDER}/"] if environments else [])]
    return Source(
        folder=prefix,
        up="../" * len(Path(prefix).parts),
        settings=tuple(f"{prefix}/{name}".removeprefix("/") for name in settings),
        pipelines=_relative(layout.pipelines, layout.repository),
        version=version,
    )


def _model(project: Project, layout: Layout, name: str) -> ModelSource:
    definition = project.load_model(name)
    pipeline = project.load_pipeline(definition)
    parts = _outermost([Path(path) for path in project.find_reading(definition).paths])
    outside = [part for part in parts if not part.is_relative_to(layout.repository)]
    if outside:
        raise UsageError(
            f"{name} uses {outside[0]}, which is not in the repository {layout.repository}",
            fix="no agent has it: bring it into the repository, or name data by --input in trainInputs",
        )
    folder = Path(definition.folder)
    codes = [Path(step.component.code) for step in pipeline.steps if step.component.code]
    wide = [code for code in codes if folder.resolve().is_relative_to(code)]
    code = _outermost([folder, *([part for part in parts if part.is_dir()] if wide else codes)])
    tests = [part for part in (folder / "tests", *parts) if part.name in ("test", "tests") and part.is_dir()]
    return ModelSource(
        name=name,
        paths=tuple(_relative(part, layout.repository) + "/" * part.is_dir() for part in parts),
        code=tuple(_relative_or_up(part, layout.project) for part in code),
        tests=tuple(_relative_or_up(part, layout.project) for part in dict.fromkeys(tests)),
        requirements=tuple(
            sorted({each for step in pipeline.steps for each in step.component.environment.requirements})
        ),
    )


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """The paths that are not below another of them, sorted."""
    return sorted(path for path in set(paths) if not any(parent in set(paths) for parent in path.parents))


def _relative(path: Path, root: Path) -> str:
    """The path from `root`, "" for the root itself; UsageError when it is elsewhere."""
    if not path.is_relative_to(root):
        raise UsageError(f"{path} is not in the repository {root}", fix="choose a --folder inside it")
    return path.relative_to(root).as_posix() if path != root else ""


def _relative_or_up(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _render(folder: TextFolder, layout: Layout, name: str, document: Map, header: str) -> str:
    file = str(layout.pipelines / name)
    before = folder.read(name)
    if before is not None and not before.startswith(f"# {header}"):
        raise UsageError(
            f"{file} was not written by edgeferry, and would be lost",
            fix="move it away, or choose another --folder",
        )
    return render_yaml(document, parse_places(before or "", file), file)
