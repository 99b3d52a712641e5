"""Commands of one model's road: train, package, verify, push."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeferry.cli.console import Output, finish, render_table, short
from edgeferry.cli.facts import (
    image_facts,
    verification_facts,
    verification_lines,
)
from edgeferry.cli.preview import preview_facts, preview_lines
from edgeferry.cli.project import (
    InputOption,
    ModelArgument,
    OutputOption,
    TrainedAtOption,
    opened,
    parse_pairs,
    read_fleet,
)
from edgeferry.cli.runs import (
    DeadlineOption,
    LogsOption,
    log_printer,
    remind_place,
    trained_facts,
    trained_lines,
)
from edgeferry.domain.model import COMPANION, ModelDefinition, ModelVersion
from edgeferry.domain.run import refuse_keys
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.workflows.package import Packed
from edgeferry.workflows.package import package as package_model
from edgeferry.workflows.programs import carry_program
from edgeferry.workflows.prove import prove
from edgeferry.workflows.push import push as push_image
from edgeferry.workflows.train import preview as preview_training
from edgeferry.workflows.train import submit as submit_training
from edgeferry.workflows.train import train as train_model

VersionOption = Annotated[
    str, typer.Option("--model-version", help="A registered version; default: the newest.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (train, package, verify, push):
        app.command()(command)


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
    """Assemble the image of a registered version: the same inputs give the same bytes, no build daemon.

    E.g. edgeferry package nyc_taxi --model-version 3"""
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
    """Run the image under a device's limits and compare every answer with the pipeline's own predictions.

    E.g. edgeferry verify nyc_taxi"""
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
    """Verify, then push model image, report and companion by digest. What does not verify is not pushed.

    E.g. edgeferry push nyc_taxi --env prod"""
    with opened(context, output, train__place=place) as (settings, services, terminal):
        definition, version, packed = package_version(services, model, model_version)
        limits = read_fleet(settings).limits
        proof = prove(services, definition, version, packed, limits)
        image, verification = proof.image, proof.verification
        *_, companion_bytes = carry_program(services, COMPANION, limits)
        uploaded = push_image(services, image, verification) + companion_bytes
        reference = services.registry.reference(image.name, image.digest)
        terminal.answer(
            {"reference": reference, "uploaded_bytes": uploaded},
            [
                reference,
                f"{uploaded / 1e6:.2f} MB uploaded" if uploaded else "unchanged: all of it was there",
            ],
        )


def package_version(
    services: Services, model: str, version: str
) -> tuple[ModelDefinition, ModelVersion, Packed]:
    definition = services.project.load_model(model)
    found = services.tracking.find_version(definition.registered_model, version or None)
    if found is None:
        wanted = f"version {version} of {model}" if version else f"any version of {model}"
        raise UsageError(f"MLflow does not know {wanted}", fix=f"edgeferry train {model}")
    return definition, found, package_model(services, definition, found)
