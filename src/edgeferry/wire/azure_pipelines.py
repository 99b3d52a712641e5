"""Azure Pipelines YAML for a project: for each model one pipeline that checks pull requests and one that
carries what was merged to the fleet, and one that checks what all models share.

Format: Azure Pipelines' YAML schema. Of its expressions only `$(macro)` is used and, to carry a name from
one job to another, `$[ dependencies… ]`, and one condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeferry.wire.azure_steps import (
    EVIDENCE,
    RESULTS,
    STATE,
    Steps,
    fields,
    publish_artifact,
    publish_results,
)
from edgeferry.wire.ci_journey import (
    PROGRAMS_OF_SANDBOX,
    PROGRAMS_TO_PACK,
    Command,
    Fleet,
    ModelSource,
    Source,
    Workspace,
    affected_step,
    build_steps,
    check_steps,
    read,
    rollout_steps,
    shared_steps,
    train_script,
)
from edgeferry.wire.yaml_text import Map, Node, Note, Place, Seq

PLATFORM = "azure-devops"
HEADER = f"Written by: edgeferry ci {PLATFORM}"
"""How every file that we write begins."""

_AS_CONNECTION = {"AZURE_TOKEN_CREDENTIALS": "dev"}
"""azure-identity's word for logins like that of `az`, here the service connection's: an agent that is a
machine in Azure has an identity of its own, which would come first."""
_WAIT_MINUTES = 2880
"""Two days, the longest that Azure DevOps lets a job without an agent wait."""


def render_all(
    source: Source,
    models: Sequence[ModelSource],
    fleet: Fleet,
    environments: tuple[str, ...],
    command: str,
) -> dict[str, Map]:
    """Every pipeline by its file's name; `command` writes them."""
    suffix = f"_{fleet.environment}" if fleet.environment else ""
    shared = f"shared{suffix}_pr.yml"
    documents = {shared: render_shared(source, environments, command, shared)}
    for model in models:
        checks, carries = f"{model.name}_pr.yml", f"{model.name}{suffix}_main.yml"
        documents[checks] = render_pull_request(source, model, checks)
        documents[carries] = render_main(source, model, fleet, carries)
    return documents


def render_pull_request(source: Source, model: ModelSource, file: str) -> Map:
    """What a change of the model must pass: the whole road, to a hub and a device on the agent, if the change
    touches the model."""
    make = Steps(source)
    look = affected_step(f"{source.up}{source.pipelines}/{file}")
    affected = fields(
        job="affected",
        displayName=f"Is {model.name} touched?",
        timeoutInMinutes=20,
        steps=Seq((*make.start(extras="hub", depth=2), make.run(look))),
    )
    touched = f"contains(dependencies.affected.outputs['affected.models'], '\"{model.name}\"')"
    by_hand = "ne(variables['Build.Reason'], 'PullRequest')"
    steps = (
        *make.start(programs=PROGRAMS_OF_SANDBOX, tools="ruff"),
        *make.render(check_steps(model)),
        publish_results(f"{model.name} in a pull request"),
    )
    check = fields(
        job="check",
        displayName=f"Check {model.name}",
        dependsOn="affected",
        condition=f"and(succeeded(), or({by_hand}, {touched}))",
        timeoutInMinutes=60,
        steps=Seq(steps),
    )
    what = f"Pull requests that touch {model.name}: the whole road on the agent, without Azure."
    return _pull_request(source, what, (affected, check), model.paths, file)


def render_shared(source: Source, environments: tuple[str, ...], command: str, file: str) -> Map:
    """What a change of the settings that all models share must pass; `command` writes these pipelines."""
    make = Steps(source)
    steps = (*make.start(), *make.render(shared_steps(environments, command)))
    job = fields(job="check", displayName="Check what is shared", timeoutInMinutes=20, steps=Seq(steps))
    what = "Pull requests that touch what all models share: settings, environments, pipelines."
    return _pull_request(source, what, (job,), (), file)


def render_main(source: Source, model: ModelSource, fleet: Fleet, file: str) -> Map:
    """What carries a merged model to the fleet: two stages, and a person's approval between them."""
    settings = {"EDGEFERRY_USER": "ci"}
    if fleet.environment:
        settings["EDGEFERRY_ENV"] = fleet.environment
    if fleet.identity:
        settings |= _AS_CONNECTION
    where = f"environment {fleet.environment}" if fleet.environment else "the project's own settings"
    waiting = _azureml_jobs(source, model, fleet, fleet.workspace) if fleet.workspace else ()
    build = fields(
        stage="build",
        displayName="Train, package, verify, push, release",
        jobs=Seq((*waiting, _build_job(source, model, fleet))),
    )
    rollout = fields(
        stage="rollout",
        displayName="Roll out",
        dependsOn="build",
        jobs=Seq((_rollout_job(source, model, fleet),)),
    )
    return Map(
        (
            _header(f"What was merged of {model.name} goes to the fleet: {where}."),
            ("trigger", _filters(source, model.paths, file, batch=True)),
            ("pr", "none"),
            *_pool(),
            _variables(settings, fleet.name if fleet.asks_secrets else ""),
            ("stages", Seq((build, rollout))),
        )
    )


def _build_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = Steps(source, fleet)
    job: dict[str, Node] = {"job": "build", "displayName": f"Build {model.name}", "timeoutInMinutes": 120}
    train = train_script(model)
    if fleet.workspace:
        train = 'edgeferry runs wait "$TRAINRUN" --no-logs --output json'
        job["dependsOn"] = Seq(("submit", "wait"))
        job["variables"] = _carried("trainRun", "dependencies.submit.outputs['submit.run']")
    evidence = publish_artifact(
        "Keep the evidence", "evidence-$(System.JobAttempt)", EVIDENCE, when="succeededOrFailed()"
    )
    steps = (*make.start(programs=PROGRAMS_TO_PACK), *make.render(build_steps(model, train)), evidence)
    return fields(**job, steps=Seq(steps))


def _azureml_jobs(source: Source, model: ModelSource, fleet: Fleet, workspace: Workspace) -> tuple[Map, Map]:
    """One job that submits the training, and one without an agent that waits for its end."""
    make = Steps(source, fleet)
    answer = '"$RESULTS"/run.json'
    submit = Command(
        "Submit",
        f"{train_script(model, '--no-wait ')} | tee {answer}\nrun=$({read('run')} < {answer})",
        runs_as="model",
        name="submit",
        output="run",
    )
    wait = fields(
        task="AzureMLJobWaitTask@1",
        displayName="Wait",
        inputs=fields(
            serviceConnection=fleet.connection,
            resourceGroupName=workspace.resource_group,
            azureMLWorkspaceName=workspace.name,
            azureMLJobName="$(trainRun)",
        ),
    )
    return (
        fields(
            job="submit",
            displayName=f"Submit the training of {model.name}",
            steps=Seq((*make.start(), make.run(submit))),
        ),
        fields(
            job="wait",
            displayName="Wait for Azure ML, holding no agent",
            dependsOn="submit",
            pool="server",
            timeoutInMinutes=_WAIT_MINUTES,
            variables=_carried("trainRun", "dependencies.submit.outputs['submit.run']"),
            steps=Seq((wait,)),
        ),
    )


def _rollout_job(source: Source, model: ModelSource, fleet: Fleet) -> Map:
    make = Steps(source, fleet)
    steps = (
        *make.start(),
        *make.render(rollout_steps(model, PLATFORM)),
        publish_results(f"{model.name} on the devices"),
    )
    return Map(
        (
            ("deployment", "rollout"),
            ("displayName", f"Roll out {model.name}"),
            ("timeoutInMinutes", 120),
            Note(
                "The approval check of this environment is where a person says yes to the plan that the\n"
                "build wrote (plan.txt of its evidence); the stage waits for it."
            ),
            ("environment", fleet.name),
            ("variables", _carried("release", "stageDependencies.build.build.outputs['release.release']")),
            ("strategy", fields(runOnce=fields(deploy=fields(steps=Seq(steps))))),
        )
    )


def _pull_request(source: Source, what: str, jobs: tuple[Map, ...], paths: tuple[str, ...], file: str) -> Map:
    return Map(
        (
            _header(what),
            ("trigger", "none"),
            Note("Azure Repos starts it by a branch policy (build validation) with these paths."),
            ("pr", _filters(source, paths, file)),
            *_pool(),
            _variables({"EDGEFERRY_USER": "ci"}),
            ("jobs", Seq(jobs)),
        )
    )


def _filters(source: Source, paths: tuple[str, ...], file: str, **first: Node) -> Map:
    """Which changes start it: of these paths, of the settings, and of the pipeline itself."""
    own = f"{source.pipelines}/{file}" if paths else source.pipelines
    included = sorted({path.rstrip("/") or "*" for path in (*paths, *source.settings, own)})
    return fields(
        **first,
        branches=fields(include=Seq(("main", Place("your branches")))),
        paths=fields(include=Seq((*included, Place("your paths")))),
    )


def _pool() -> tuple[Place]:
    return (Place("your agents", ("pool:", "  vmImage: ubuntu-24.04")),)


def _variables(settings: Mapping[str, str], group: str = "") -> tuple[str, Node]:
    known = {"EDGEFERRY_STATE": STATE, "RESULTS": RESULTS, "EVIDENCE": EVIDENCE, **settings}
    return (
        "variables",
        Seq(
            (
                *((fields(group=group),) if group else ()),
                *(fields(name=name, value=value) for name, value in known.items()),
                Note(
                    "Also here: edgeferryPackage, what pip installs instead of this version; trainInputs,\n"
                    "options of edgeferry train, e.g. --input raw_data=PATH; affectedOptions, of edgeferry\n"
                    "affected, e.g. --also PATH. Secrets belong in the group."
                ),
                Place("your variables"),
            )
        ),
    )


def _carried(name: str, expression: str) -> Seq:
    """The variable that brings another job's output into this one."""
    return Seq((fields(name=name, value=f"$[ {expression} ]"),))


def _header(what: str) -> Note:
    return Note(
        f"{HEADER}\n{what}\n"
        "Lines between a >>> and its <<< are yours and stay; anything else is written anew."
    )
