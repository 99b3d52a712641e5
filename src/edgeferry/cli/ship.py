"""Command `ship`: the whole road of one model, of all, or of those that a change touches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from edgeferry.cli.affected import SinceOption, look
from edgeferry.cli.completing import complete_models
from edgeferry.cli.console import Output, Terminal, counted, render_table
from edgeferry.cli.console import finish as finish_one
from edgeferry.cli.facts import shipment_facts, shipment_tables
from edgeferry.cli.project import (
    ConditionOption,
    InputOption,
    OutputOption,
    TrainedAtOption,
    opened,
    parse_pairs,
    read_fleet,
)
from edgeferry.cli.rollouts import TimeoutOption
from edgeferry.cli.rules import read_rules
from edgeferry.domain.several import render_word
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wiring import open_commands
from edgeferry.workflows.ship import Order
from edgeferry.workflows.ship import ship as ship_model
from edgeferry.workflows.ship_several import Convoy, ship_several

_AT_ONCE = 4
"""How many models are shipped at a time at most when nobody says; no more than there are processors."""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(ship)


def ship(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help="A model: the name of its folder below models/.", autocompletion=complete_models),
    ] = "",
    all_: Annotated[bool, typer.Option("--all", help="Every model of the project.")] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Every model that a change touches: see edgeferry affected.")
    ] = False,
    since: SinceOption = "",
    at_once: Annotated[
        int,
        typer.Option(
            "--at-once", min=0, help="How many models at a time; 0: one for each processor, up to 4."
        ),
    ] = 0,
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
    approve, rollout, smoke. Stages whose work is already done are 'unchanged'; the smoke test asks afresh.

    Of several models (--all, --changed) some are on their way at a time, and one that fails stops no other;
    the exit code is the worst of theirs. Ctrl-C ends all of them.

    E.g. edgeferry ship nyc_taxi, edgeferry ship --changed --since origin/main --at-once 2
    """
    if [bool(model), all_, changed].count(True) != 1 or (since and not changed):
        raise UsageError(
            "ship takes one model, or --all, or --changed (which --since belongs to)",
            fix="edgeferry ship MODEL, edgeferry ship --all, or edgeferry ship --changed --since origin/main",
        )
    flags = {"rollout__timeout_s": str(timeout or ""), "train__place": place}
    with opened(context, output, **flags) as (settings, services, terminal):
        given = parse_pairs(inputs, "the input")
        if model:
            services.project.load_model(model)
        settings.need("registry.host")  # asked for now, and not after minutes of training
        if model:
            _ship_one(
                services,
                terminal,
                Order(
                    model=model,
                    inputs=given,
                    user=settings["user"],
                    fleet=read_fleet(settings),
                    rules=read_rules(settings),
                    approve_as=approve_as,
                    target_condition=target_condition,
                ),
            )
            return
        options = [f"--input={name}={value}" for name, value in given.items()]
        for option, text in (
            ("place", place),
            ("target-condition", target_condition),
            ("approve-as", approve_as),
            ("timeout", str(timeout or "")),
        ):
            options += [f"--{option}={text}"] if text else []
        models, about = _choose(settings, services, terminal, since, changed=changed)
        convoy = _ship_models(settings, terminal, models, options, at_once)
        facts = {"ok": convoy.code == 0, **about, "models": [_facts(convoy, name) for name in models]}
        terminal.answer(facts, _tables(convoy))
        _finish(convoy)


def _ship_one(services: Services, terminal: Terminal, order: Order) -> None:
    shipment = ship_model(services, order, lambda s: terminal.stage(s.name, s.state, s.seconds, s.detail))
    terminal.answer(shipment_facts(shipment), shipment_tables(shipment))
    finish_one(shipment.ok, shipment.problem, shipment.fix)


def _choose(
    settings: Settings, services: Services, terminal: Terminal, since: str, *, changed: bool
) -> tuple[list[str], dict[str, Any]]:
    """The models to ship, and what there is to say of the choice."""
    names = list(services.project.model_names())
    if not names:
        raise UsageError("the project has no models", fix="add a folder with a model.yaml below models/")
    if not changed:
        return names, {}
    found = look(settings, services, since)
    models = [model.name for model in found.models]
    told = f"{', '.join(models) or 'no model'} touched since {found.revision} ({found.changes.since[:12]})"
    terminal.say(told)
    return models, {
        "since": found.revision,
        "commit": found.changes.since,
        "untouched": list(found.untouched),
    }


def _ship_models(
    settings: Settings, terminal: Terminal, models: Sequence[str], options: Sequence[str], at_once: int
) -> Convoy:
    width = max((len(model) for model in models), default=0)
    before = ["--project", str(settings.root.resolve())]
    before += ["--env", settings.environment] if settings.environment else []
    number = at_once or min(_AT_ONCE, os.cpu_count() or 1)
    return ship_several(
        open_commands(),
        models,
        lambda model: [*before, "ship", model, "--output=json", *options],
        number,
        lambda model, line: terminal.relay(model.ljust(width), line),
    )


def _facts(convoy: Convoy, model: str) -> dict[str, Any]:
    shipped = next(each for each in convoy.shipped if each.model == model)
    return {**shipped.facts, "exit_code": shipped.code, "seconds": round(shipped.seconds, 1)}


def _tables(convoy: Convoy) -> list[Any]:
    if not convoy.shipped:
        return ["nothing to ship"]
    rows = [
        [
            each.model,
            render_word(each.code),
            f"{each.seconds:.1f}",
            str(each.facts.get("release") or ""),
            str(each.facts.get("problem") or ""),
        ]
        for each in convoy.shipped
    ]
    return [render_table("Models", ("model", "state", "seconds", "release", "problem"), rows)]


def _finish(convoy: Convoy) -> None:
    """Exit code of the worst, with each problem and its fix on stderr."""
    bad = [each for each in convoy.shipped if each.code]
    for each in bad:
        problem = f"{each.model}: {each.facts.get('problem') or 'no answer'}"
        Terminal(Output.TABLE).failure(RefusedError(problem, fix=str(each.facts.get("fix") or "")))
    if bad:
        terminal = Terminal(Output.TABLE)
        terminal.say(f"{counted(len(bad), 'model')} of {len(convoy.shipped)} did not arrive")
        raise typer.Exit(convoy.code)
