"""Import: a project laid out as microsoft/mlops-accelerator-for-edge becomes one of edgeferry's, elsewhere.

All is read and decided before anything is written; what could not be carried over is named, with the edit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from edgeferry.domain.accelerator import CONFIG_FILE, Edit, Entry, Origin, Placed
from edgeferry.domain.accelerator_config import make_settings, parse_entries, place_keys
from edgeferry.domain.accelerator_devops import read_pipelines
from edgeferry.domain.accelerator_edge import EXTRA, Template, read_template
from edgeferry.domain.accelerator_pipeline import FILL_IN, Job, parse_job
from edgeferry.domain.accelerator_source import find_pipeline_function
from edgeferry.domain.fields import members
from edgeferry.domain.finding import Finding
from edgeferry.errors import UsageError
from edgeferry.ports_projects import NewProject, PipelineFunctions, ProjectTree
from edgeferry.wire.import_report import Work, gather, render_report
from edgeferry.wire.settings_file import render_settings
from edgeferry.workflows.import_model import import_model
from edgeferry.workflows.import_source import Source

_TEMPLATE = "edge/deployment.template.json"
_RECORDER = "src/record_version.py"
_OPTIONS = {
    "subscription_id": "00000000-0000-0000-0000-000000000000",
    "build_reference": "imported",
    "wait_for_completion": "False",
    "output_file": "run_id.txt",
}
"""Values of the template's options that no key of the configuration gives, and that mean nothing here."""
_SYNONYMS = {
    "display_name": "DISPLAY_BASE_NAME",
    "experiment_name": "EXPERIMENT_BASE_NAME",
    "deploy_environment": "ENV_NAME",
    "environment": "ENV_NAME",
    "model_name": "MODEL_BASE_NAME",
}
_TESTS = ("test", "tests")
_AT_ROOT = re.compile(
    r"conftest\.py|setup\.cfg|pytest\.ini|tox\.ini|pyproject\.toml|\.flake8|\.pylintrc|LICENSE.*"
)
_REPLACED = frozenset({"config", "devops", "docs", "edge", "edge-smoke-test", "mlops", "model"})


@dataclass(frozen=True)
class Imported:
    """What came of it."""

    models: tuple[str, ...]
    environments: tuple[str, ...]
    works: tuple[Work, ...]
    """Edits by hand."""
    placed: tuple[Placed, ...]
    findings: tuple[Finding, ...]
    """What `edgeferry validate` says of the new project."""

    @property
    def ok(self) -> bool:
        """Whether it validates without errors."""
        return not any(finding.severity == "error" for finding in self.findings)


def import_accelerator(
    tree: ProjectTree,
    functions: PipelineFunctions,
    open_target: Callable[[], AbstractContextManager[NewProject]],
    recorder: str,
    say: Callable[[str], None],
) -> Imported:
    """The project in `tree`, imported; `recorder`: the source of the module that notes registered versions.

    DefinitionError, with file and line, for what is wrong with the project; then nothing is written.
    """
    files = tree.files()
    if CONFIG_FILE not in files:
        raise UsageError(
            f"{tree.root} is no project of that layout: there is no {CONFIG_FILE}",
            fix="name the folder that holds config/, mlops/ and src/",
        )
    pipelines = read_pipelines({f: tree.text(f) for f in files if re.fullmatch(r"devops/.*\.ya?ml", f)})
    template = _read_template(tree, files)
    source = Source(tree, files, pipelines, template, say)
    entries = _read_entries(source)
    by_model = _grouped(entries, lambda entry: entry.model)
    say(f"running {len(by_model)} pipeline functions, offline (azure-ai-ml takes some seconds)")
    jobs = _load_jobs(source, functions, by_model)
    placed, edits = place_keys(entries)
    with open_target() as target:
        folders = {"src"}
        registered: dict[str, str] = {}
        for model, of_model in by_model.items():
            ported = import_model(source, of_model, jobs[model], target)
            placed += ported.placed
            edits += ported.edits
            folders |= ported.folders
            if ported.registered in registered:
                problem = (
                    f"{model} and {registered[ported.registered]} both register as `{ported.registered}`"
                )
                fix = f"models/{model}/pipeline.yml and model.yaml: give it a registered model of its own"
                edits.append(Edit(of_model[0].origin("MODEL_BASE_NAME"), problem, fix))
            registered[ported.registered] = model
        for environment, of_environment in _grouped(entries, lambda entry: entry.environment).items():
            settings, left = make_settings(of_environment)
            if pipelines.connections:
                settings.setdefault("ci.service_connection", pipelines.connections[0])
            edits += left
            target.write(f"environments/{environment}.toml", render_settings(settings))
        edits += _copy_code(source, sorted(folders), target)
        target.write(_RECORDER, recorder)
        _write_root(source, sorted(folders), target, placed)
        if template.extra:
            target.write(EXTRA, json.dumps({"content": {"modulesContent": template.extra}}, indent=2) + "\n")
        placed += [*template.placed, *pipelines.placed]
        findings = tuple(target.find_faults())
        edits += [
            Edit(Origin(each.file, each.line), each.problem, each.fix)
            for each in findings
            if each.severity == "error"
        ]
        edits += template.edits
        works = gather(edits)
        models, environments = tuple(by_model), tuple(dict.fromkeys(entry.environment for entry in entries))
        target.write("IMPORT.md", render_report(tree.root, models, environments, works, placed))
    return Imported(models, environments, works, tuple(placed), findings)


def _read_entries(source: Source) -> Sequence[Entry]:
    document = source.tree.document(CONFIG_FILE)
    content = members(document.content)
    return parse_entries(content, document.line, source.reporting(CONFIG_FILE, document))


def _read_template(tree: ProjectTree, files: Sequence[str]) -> Template:
    if _TEMPLATE not in files:
        return Template()
    document = tree.document(_TEMPLATE)
    return read_template(members(document.content), _TEMPLATE, document.line)


def _load_jobs(
    source: Source, functions: PipelineFunctions, by_model: Mapping[str, Sequence[Entry]]
) -> Mapping[str, Job]:
    """The job of each model."""
    scripts: dict[str, Origin] = {}
    options: dict[str, dict[str, str]] = {}
    for model, (entry, *_) in by_model.items():
        script, line = _find_script(source, entry)
        scripts[model] = Origin(script, line)
        options[script] = _options(entry)
    facts = functions.load(options, FILL_IN)
    jobs = {}
    for model, origin in scripts.items():
        whole = Origin(f"{source.tree.root}/{origin.file}", origin.line)
        jobs[model] = replace(parse_job(facts[origin.file], whole), origin=origin)
    return jobs


def _find_script(source: Source, entry: Entry) -> tuple[str, int]:
    """The script with the model's `@pipeline` function, and the function's line."""
    for file in source.below(f"mlops/{entry.model}"):
        if file.endswith(".py"):
            line = find_pipeline_function(source.tree.text(file))
            if line:
                return file, line
    usual = f"mlops/{entry.model}/src/mlops_pipeline.py"
    if usual in source.files:
        return usual, 1  # the error that it raises says more
    problem = f"no Python file below mlops/{entry.model}/ has a function with @pipeline"
    raise source.refuse(
        entry.origin("ML_MODEL_CONFIG_NAME"), problem, f"add {usual}, or take this entry away"
    )


def _options(entry: Entry) -> dict[str, str]:
    values = {key.lower(): value for key, value in entry.values.items()}
    values |= {option: entry.get(key) for option, key in _SYNONYMS.items() if entry.get(key)}
    named = {"resource_group_name": "RESOURCE_GROUP_NAME", "workspace_name": "WORKSPACE_NAME"}
    return {
        **_OPTIONS,
        **values,
        **{option: entry.get(key) for option, key in named.items() if entry.get(key)},
    }


def _copy_code(source: Source, folders: Sequence[str], target: NewProject) -> list[Edit]:
    """The team's sources, tests and their configuration are at the same places in `target`; what of the tests
    will not be found there."""
    edits: list[Edit] = []
    for file in source.files:
        top = file.partition("/")[0]
        if top in folders or top in _TESTS or ("/" not in file and _AT_ROOT.fullmatch(file)):
            target.copy(file, file)
        if top in _TESTS and file.endswith(".py"):
            for number, line in enumerate(source.tree.text(file).splitlines(), 1):
                match = re.match(r"\s*(?:from|import)\s+(mlops|model)\b", line)
                if match and match[1] not in folders:
                    problem = f"the test imports `{match[1]}`, which is not carried over"
                    edits.append(
                        Edit(Origin(file, number), problem, "take the line out, or test what is in src/")
                    )
    return edits


def _write_root(source: Source, folders: Sequence[str], target: NewProject, placed: list[Placed]) -> None:
    """The project's own files."""
    notes = ("An edgeferry project: this file, and one folder per model below models/.",)
    target.write("edgeferry.toml", render_settings({}, notes))
    theirs = source.tree.text(".amlignore") if ".amlignore" in source.files else ""
    head = "# What a step gets, here and on Azure ML: the code, and nothing else of the project.\n*\n"
    target.write(".amlignore", head + "".join(f"!{folder}/**\n" for folder in folders) + theirs)
    ignored = source.tree.text(".gitignore") if ".gitignore" in source.files else ""
    target.write(".gitignore", ignored.rstrip("\n") + ("\n" if ignored else "") + ".edgeferry/\n")
    kept = {*folders, *_TESTS}
    left = {file.partition("/")[0] for file in source.files} - kept - {".amlignore", ".gitignore"}
    for name in sorted(left):
        if _AT_ROOT.fullmatch(name):
            continue
        reason = "replaced: docs/from-the-accelerator.md" if name in _REPLACED else "not part of the template"
        placed.append(Placed(name, "", "", reason, Origin(name)))


def _grouped(entries: Sequence[Entry], key: Callable[[Entry], str]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups
