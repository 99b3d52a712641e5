"""GitHub workflows for a project: one that checks pull requests, one that checks what all models share, and
for each model one that carries what was merged to the fleet.

Format: GitHub's workflow syntax. Every workflow begins without permissions; a job is given what it needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgeferry.wire.ci_journey import (
    PROGRAMS_OF_SANDBOX,
    PROGRAMS_TO_PACK,
    Fleet,
    ModelSource,
    Source,
    affected_step,
    build_steps,
    check_steps,
    rollout_steps,
    shared_steps,
    train_script,
)
from edgeferry.wire.github_steps import Steps, fields, publish
from edgeferry.wire.yaml_text import Map, Node, Note, Place, Said, Seq

PLATFORM = "github"
HEADER = f"Written by: edgeferry ci {PLATFORM}"
"""How every file that we write begins."""

_READ = Said("read", "checks the project out")
_LEDGER = Said("write", "the ledger is a branch of this repository")
_IDENTITY = Said("write", "logs in to Azure without a secret")
_APPROVALS = Said("read", "asks who approved this run")
_LONGEST_MIN = 360
"""The longest that a job may take on GitHub's own runners."""


def render_all(
    source: Source,
    models: Sequence[ModelSource],
    fleet: Fleet,
    environments: tuple[str, ...],
    command: str,
) -> dict[str, Map]:
    """Every workflow by its file's name; `command` writes them."""
    suffix = f"_{fleet.environment}" if fleet.environment else ""
    start = name_project(source)
    checks, shared = f"{start}_pr.yml", f"{start}_shared{suffix}_pr.yml"
    documents = {
        shared: render_shared(source, environments, command, f"{start}: what is shared{suffix}"),
        checks: render_pull_requests(source, models, checks),
    }
    for model in models:
        carries = f"{start}_{model.name}{suffix}_main.yml"
        documents[carries] = render_main(source, model, fleet, carries)
    return documents


def name_project(source: Source) -> str:
    """How the project's workflows are called, which stand in one folder with everybody's."""
    return source.folder.replace("/", "-") or "edgeferry"


def render_pull_requests(source: Source, models: Sequence[ModelSource], file: str) -> Map:
    """What a pull request must pass: for each model that it touches, the whole road, to a hub and a device on
    the runner. It always runs, so that it may be required."""
    make = Steps(source)
    look = affected_step(f"{source.up}{source.pipelines}/{file}")
    jobs: list[tuple[str, Node]] = [
        (
            "affected",
            _job(
                source,
                "affected",
                {"name": "Models that it touches", "timeout_minutes": 20},
                {"contents": _READ},
                (*make.start(extras="hub", depth=2), make.run(look)),
                outputs=fields(models="${{ steps.affected.outputs.models }}"),
            ),
        )
    ]
    for model in models:
        steps = (
            *make.start(programs=PROGRAMS_OF_SANDBOX, tools="ruff", cached=True),
            *make.render(check_steps(model, f" of {model.name}")),
            publish("Keep the results", f"results-{model.name}", "results"),
        )
        first: dict[str, Node] = {
            "name": f"Check {model.name}",
            "needs": "affected",
            "if": f"contains(fromJSON(needs.affected.outputs.models), '{model.name}')",
            "timeout_minutes": 60,
        }
        jobs.append((f"check_{model.name}", _job(source, model.name, first, {"contents": _READ}, steps)))
    what = "Pull requests: the whole road of each model that one touches, on the runner, without Azure."
    return _workflow(
        what,
        f"{name_project(source)}: pull requests",
        Map((("pull_request", fields(branches=Seq(("main", Place("your branches"))))),)),
        f"{name_project(source)}-${{{{ github.workflow }}}}-${{{{ github.ref }}}}",
        {"EDGEFERRY_USER": "ci"},
        jobs,
        newest_only=True,
    )


def render_shared(source: Source, environments: tuple[str, ...], command: str, title: str) -> Map:
    """What a change of the settings that all models share must pass; `command` writes these workflows."""
    make = Steps(source)
    steps = (*make.start(), *make.render(shared_steps(environments, command)))
    first: dict[str, Node] = {"name": "Check what is shared", "timeout_minutes": 20}
    own = f"{source.pipelines}/{name_project(source)}_*"
    return _workflow(
        "Pull requests that touch what all models share: settings, environments, workflows.",
        title,
        Map((("pull_request", _filters({*source.settings, own})),)),
        f"{name_project(source)}-${{{{ github.workflow }}}}-${{{{ github.ref }}}}",
        {"EDGEFERRY_USER": "ci"},
        [("check", _job(source, "check", first, {"contents": _READ}, steps))],
        newest_only=True,
    )


def render_main(source: Source, model: ModelSource, fleet: Fleet, file: str) -> Map:
    """What carries a merged model to the fleet: two jobs, and a person's approval between them."""
    settings = {"EDGEFERRY_USER": "ci"}
    if fleet.environment:
        settings["EDGEFERRY_ENV"] = fleet.environment
    if Steps(source, fleet).needs_identity:
        settings["AZURE_TOKEN_CREDENTIALS"] = "dev"  # azure-identity's word for logins like that of `az`
    where = f"environment {fleet.environment}" if fleet.environment else "the project's own settings"
    started = _filters({*model.paths, *source.settings, f"{source.pipelines}/{file}"})
    return _workflow(
        f"What was merged of {model.name} goes to the fleet: {where}.",
        f"{name_project(source)}: {model.name} to {fleet.environment or 'the fleet'}",
        Map((("push", started), ("workflow_dispatch", Map(())))),
        f"{name_project(source)}-{model.name}-{fleet.name}",
        settings,
        [("build", _build_job(source, model, fleet)), ("rollout", _rollout_job(source, model, fleet))],
        newest_only=False,
    )


def _build_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = Steps(source, fleet)
    steps = (
        *make.start(programs=PROGRAMS_TO_PACK),
        *make.render(build_steps(model, train_script(model))),
        publish("Keep the evidence", "evidence", "evidence"),
    )
    first: dict[str, Node] = {
        "name": f"Build {model.name}",
        "timeout_minutes": _LONGEST_MIN if fleet.workspace else 120,
        "environment": f"{fleet.name}-build",
    }
    permissions = {"contents": _LEDGER if make.writes_repository else _READ}
    permissions |= {"id_token": _IDENTITY} if make.needs_identity else {}
    outputs = fields(release="${{ steps.release.outputs.release }}")
    return _job(source, "build", first, permissions, steps, outputs=outputs)


def _rollout_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = Steps(source, fleet)
    steps = (
        *make.start(),
        *make.render(rollout_steps(model, PLATFORM)),
        publish("Keep the results", "results", "results"),
    )
    first: dict[str, Node] = {
        "name": f"Roll out {model.name}",
        "needs": "build",
        "timeout_minutes": 120,
        "environment": fleet.name,
    }
    permissions = {"contents": _LEDGER if make.writes_repository else _READ, "actions": _APPROVALS}
    permissions |= {"id_token": _IDENTITY} if make.needs_identity else {}
    env = Map((("RELEASE", "${{ needs.build.outputs.release }}"),))
    note = Note(
        "The required reviewers of this environment are who says yes to the plan that the build wrote\n"
        "(plan.txt of its evidence); the job waits for them."
    )
    return _job(source, "rollout", first, permissions, steps, env=env, note=note)


def _workflow(
    what: str,
    title: str,
    started: Map,
    group: str,
    settings: Mapping[str, str],
    jobs: Sequence[tuple[str, Node]],
    *,
    newest_only: bool,
) -> Map:
    return Map(
        (
            Note(
                f"{HEADER}\n{what}\n"
                "Lines between a >>> and its <<< are yours and stay; anything else is written anew."
            ),
            ("name", title),
            ("on", started),
            ("permissions", Map(())),
            ("concurrency", fields(group=group, cancel_in_progress=newest_only)),
            (
                "env",
                Map(
                    (
                        *settings.items(),
                        Note(
                            "Also here: EDGEFERRYPACKAGE, what pip installs instead of this version;\n"
                            "TRAININPUTS, options of edgeferry train, e.g. --input raw_data=PATH;\n"
                            "AFFECTEDOPTIONS, of edgeferry affected, e.g. --also PATH."
                        ),
                        Place("your variables"),
                    )
                ),
            ),
            ("jobs", Map(tuple(jobs))),
        )
    )


def _job(
    source: Source,
    key: str,
    first: Mapping[str, Node],
    permissions: Mapping[str, Node],
    steps: tuple[Map | Place, ...],
    *,
    outputs: Map | None = None,
    env: Map | None = None,
    note: Note | None = None,
) -> Map:
    run = {"shell": "bash", **({"working_directory": source.folder} if source.folder else {})}
    return Map(
        (
            *([note] if note else []),
            *fields(**first).entries,
            Place(f"your agents: {key}", ("runs-on: ubuntu-24.04",)),
            ("permissions", fields(**permissions)),
            *([("outputs", outputs)] if outputs else []),
            *([("env", env)] if env else []),
            ("defaults", fields(run=fields(**run))),
            ("steps", Seq(steps)),
        )
    )


def _filters(paths: set[str]) -> Map:
    return Map(
        (
            ("branches", Seq(("main", Place("your branches")))),
            ("paths", Seq((*sorted(_pattern(path) for path in paths), Place("your paths")))),
        )
    )


def _pattern(path: str) -> str:
    """The path as a filter; GitHub would take a folder's name for that of a file."""
    folder, literal = path.endswith("/"), re.sub(r"([\\?+\[\]!])", r"\\\1", path.strip("/"))
    return f"{literal}/**".lstrip("/") if folder else literal
