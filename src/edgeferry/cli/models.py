"""Commands of one model's road: train, package, verify, push, release, approve, ship."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from edgeferry.cli.console import Output, finish, render_table, short
from edgeferry.cli.facts import (
    image_facts,
    shipment_facts,
    shipment_tables,
    verification_facts,
    verification_lines,
)
from edgeferry.cli.preview import preview_facts, preview_lines
from edgeferry.cli.project import (
    ConditionOption,
    InputOption,
    ModelArgument,
    OutputOption,
    ReleaseArgument,
    TrainedAtOption,
    choose_condition,
    opened,
    parse_pairs,
    read_fleet,
    read_rules,
)
from edgeferry.cli.rollouts import TimeoutOption
from edgeferry.cli.runs import (
    DeadlineOption,
    LogsOption,
    log_printer,
    remind_place,
    trained_facts,
    trained_lines,
)
from edgeferry.domain.approval import AZURE_DEVOPS, find_people, render_origin
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.run import refuse_keys
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.wiring import open_approvals
from edgeferry.workflows.approve import approve as approve_release
from edgeferry.workflows.approve import approve_from
from edgeferry.workflows.companion import carry_companion
from edgeferry.workflows.package import Packed
from edgeferry.workflows.package import package as package_model
from edgeferry.workflows.prove import find_proof, prove
from edgeferry.workflows.push import push as push_image
from edgeferry.workflows.release import find_release
from edgeferry.workflows.release import release as release_image
from edgeferry.workflows.ship import Order
from edgeferry.workflows.ship import ship as ship_model
from edgeferry.workflows.train import preview as preview_training
from edgeferry.workflows.train import submit as submit_training
from edgeferry.workflows.train import train as train_model

VersionOption = Annotated[
    str, typer.Option("--model-version", help="A registered version; default: the newest.")
]


class Platform(StrEnum):
    """Where a person's approval may have been recorded."""

    AZURE_DEVOPS = AZURE_DEVOPS


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (ship, train, package, verify, push, release, approve):
        app.command(rich_help_panel="A model's road")(command)


def ship(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputOption = None,
    place: TrainedAtOption = "",
    target_condition: ConditionOption = "",
    approve_as: Annotated[
        str, typer.Option(help="Approve in this person's name, by this flag, said aloud and signed.")
    ] = "",
    timeout: TimeoutOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """The whole road of one model, each stage only if the last held: train, package, verify, push, release,
    approve, rollout, smoke. Stages whose work is already done are 'unchanged'; the smoke test asks afresh."""
    flags = {"rollout__timeout_s": str(timeout or ""), "train__place": place}
    with opened(context, output, **flags) as (settings, services, terminal):
        given = parse_pairs(inputs, "the input")
        services.project.load_model(model)
        settings.need("registry.host")  # asked for now, and not after minutes of training
        order = Order(
            model=model,
            inputs=given,
            user=settings["user"],
            fleet=read_fleet(settings),
            rules=read_rules(settings),
            approve_as=approve_as,
            target_condition=target_condition,
        )
        shipment = ship_model(services, order, lambda s: terminal.stage(s.name, s.state, s.seconds, s.detail))
        terminal.answer(shipment_facts(shipment), shipment_tables(shipment))
        finish(shipment.ok, shipment.problem, shipment.fix)


def train(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputOption = None,
    place: TrainedAtOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the job and every file that would leave this machine.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the run's id and leave it going (azureml).")
    ] = False,
    logs: LogsOption = True,
    deadline: DeadlineOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the model's pipeline and register a version.

    On this machine (local), steps whose code, libraries and inputs are unchanged are reused, and Ctrl-C ends
    the run. On Azure ML the same pipeline.yml is submitted to the workspace of the settings azure.*; Ctrl-C
    leaves it going, and edgeferry runs wait takes it up again.

    Example: edgeferry train nyc_taxi --place azureml --dry-run, then the same with --no-wait instead.
    """
    with opened(context, output, train__place=place) as (settings, services, terminal):
        definition = services.project.load_model(model)
        given = parse_pairs(inputs, "the input")
        if dry_run:
            shown = preview_training(services, definition, given)
            terminal.answer(preview_facts(shown), preview_lines(shown))
            refuse_keys(shown)
        elif no_wait:
            if not services.place.capabilities().outlives_process:
                raise UsageError(
                    "a run on this machine ends with this command",
                    fix="leave --no-wait out, or --place azureml",
                )
            run = submit_training(services, definition, given)
            terminal.answer(
                {"run": run},
                [run, f"wait for it: edgeferry runs wait {run}", f"look: edgeferry runs show {run}"],
            )
        else:
            trained = train_model(services, definition, given, log_printer(terminal, logs), deadline)
            terminal.answer(trained_facts(model, trained), trained_lines(model, trained))
            remind_place(context, settings, terminal)


def package(
    context: typer.Context,
    model: ModelArgument,
    model_version: VersionOption = "",
    place: TrainedAtOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Assemble the image of a registered version: the same inputs give the same bytes, no build daemon."""
    with opened(context, output, train__place=place) as (_, services, terminal):
        image = package_version(services, model, model_version)[2].image
        rows = [[layer.title, short(layer.digest), f"{layer.size_bytes / 1e6:.2f}"] for layer in image.layers]
        terminal.answer(
            image_facts(image),
            [
                render_table("Layers", ("layer", "digest", "MB"), rows),
                f"{image.name}@{image.digest}, {image.size_bytes / 1e6:.1f} MB to pull",
            ],
        )


def verify(
    context: typer.Context,
    model: ModelArgument,
    model_version: VersionOption = "",
    place: TrainedAtOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Run the image under a device's limits and compare every answer with the pipeline's own predictions."""
    with opened(context, output, train__place=place) as (settings, services, terminal):
        definition, version, packed = package_version(services, model, model_version)
        verification = prove(
            services, definition, version, packed, read_fleet(settings).limits, afresh=True
        ).verification
        terminal.answer(verification_facts(verification), verification_lines(verification))
        finish(
            verification.passed,
            f"{model} version {version.version} does not answer as its pipeline predicted",
            "mend the model or its serving; nothing was pushed",
        )


def push(
    context: typer.Context,
    model: ModelArgument,
    model_version: VersionOption = "",
    place: TrainedAtOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify, then push model image, report and companion by digest. What does not verify is not pushed."""
    with opened(context, output, train__place=place) as (settings, services, terminal):
        definition, version, packed = package_version(services, model, model_version)
        limits = read_fleet(settings).limits
        proof = prove(services, definition, version, packed, limits)
        image, verification = proof.image, proof.verification
        _, companion_bytes = carry_companion(services, limits)
        uploaded = push_image(services, image, verification) + companion_bytes
        reference = services.registry.reference(image.name, image.digest)
        terminal.answer(
            {"reference": reference, "uploaded_bytes": uploaded},
            [
                reference,
                f"{uploaded / 1e6:.2f} MB uploaded" if uploaded else "unchanged: all of it was there",
            ],
        )


def release(
    context: typer.Context,
    model: ModelArgument,
    model_version: VersionOption = "",
    place: TrainedAtOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign that this version, this image and this evidence belong together, in the ledger."""
    with opened(context, output, train__place=place) as (settings, services, terminal):
        definition, version, packed = package_version(services, model, model_version)
        limits = read_fleet(settings).limits
        proof = find_proof(services, definition, version, packed, limits)
        if proof is None:
            raise UsageError(
                f"{model} is not pushed with a passed verification", fix=f"edgeferry push {model}"
            )
        companion, _ = carry_companion(services, limits)
        entry, created = release_image(
            services, version, proof.image, proof.verification, companion, settings["user"]
        )
        state = "released" if created else "unchanged"
        terminal.answer(
            {
                "release": entry.subject,
                "entry": entry.id,
                "author": entry.author,
                "key": entry.key,
                "state": state,
            },
            [f"{entry.subject} ({state}), signed by {entry.author} with {entry.key}"],
        )


def approve(
    context: typer.Context,
    release: ReleaseArgument,
    by: Annotated[str, typer.Option("--by", help="Who approves; signs with this person's key.")] = "",
    from_platform: Annotated[
        Platform | None,
        typer.Option("--from", help="In a pipeline: record who approved its stage on this platform."),
    ] = None,
    target_condition: ConditionOption = "",
    no: Annotated[bool, typer.Option("--no", help="Sign a no.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """One person's signed yes (or no), bound to a release, an environment and a target condition.

    E.g. edgeferry approve nyc_taxi --by ann, or, in a deployment job: edgeferry approve nyc_taxi-v3-01234567
    --from azure-devops."""
    if bool(by) == (from_platform is not None) or (no and from_platform is not None):
        raise UsageError(
            "an approval is one person's (--by NAME, or with --no a refusal) or a platform's record (--from)",
            fix="give --by or --from; a refusal on the platform ends its stage by itself",
        )
    with opened(context, output) as (settings, services, terminal):
        entry = find_release(services, release)
        condition = choose_condition(settings, services, entry.body["model"], target_condition)
        if from_platform is None:
            signed = approve_release(
                services, entry, condition, by, yes=not no, environment=settings.environment
            )
        else:
            record, user = open_approvals().fetch(), settings["user"]
            signed = approve_from(services, entry, condition, record, user, environment=settings.environment)
        people = " and ".join(find_people(signed)) or f"{signed.author}, who is no person,"
        facts = {
            "entry": signed.id,
            "release": entry.subject,
            "decision": signed.body["decision"],
            "by": people,
            "target_condition": condition,
            "key": signed.key,
            "source": signed.body.get("source"),
        }
        word = "approved" if not no else "refused"
        where = f"for devices where {condition}{render_origin(signed)}"
        terminal.answer(facts, [f"{entry.subject} {word} by {people} {where}"])


def package_version(
    services: Services, model: str, version: str
) -> tuple[ModelDefinition, ModelVersion, Packed]:
    definition = services.project.load_model(model)
    found = services.tracking.find_version(definition.registered_model, version or None)
    if found is None:
        wanted = f"version {version} of {model}" if version else f"any version of {model}"
        raise UsageError(f"MLflow does not know {wanted}", fix=f"edgeferry train {model}")
    return definition, found, package_model(services, definition, found)
