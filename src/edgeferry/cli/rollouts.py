"""Commands about rollouts: begin one, look at them, order them about, take one back."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeferry.cli.console import Output, Terminal, finish
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import (
    ConditionOption,
    OutputOption,
    ReleaseArgument,
    SubjectArgument,
    choose_condition,
    opened,
    read_fleet,
)
from edgeferry.cli.report import JunitOption, outcome_case, write_report
from edgeferry.cli.rules import read_gate, read_rules
from edgeferry.cli.watching import (
    record_facts,
    record_table,
    reverted_facts,
    reverted_tables,
    rollout_facts,
    rollout_table,
    story_facts,
    story_tables,
    word_of,
)
from edgeferry.domain.rollout import State
from edgeferry.domain.rollout_need import Need
from edgeferry.domain.rollout_state import OrderName
from edgeferry.domain.typed import render_command
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wire.junit import nobody, render_junit
from edgeferry.workflows.begin import resume
from edgeferry.workflows.begin import rollout as roll_out
from edgeferry.workflows.needs import ask_for_need
from edgeferry.workflows.release import find_release
from edgeferry.workflows.reports import SLOW_S
from edgeferry.workflows.rollback import is_back, roll_back
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import (
    Record,
    find_lacking,
    find_rollout,
    give_order,
    judge_promoter,
    load_record,
    load_rollouts,
)
from edgeferry.workflows.serve import serve_rollouts
from edgeferry.workflows.ship import render_outcome

TimeoutOption = Annotated[
    int, typer.Option(help="Seconds until a wave is judged; 0: the setting rollout.timeout_s.")
]
RolloutArgument = Annotated[
    str, typer.Argument(help="A rollout, as `edgeferry rollouts list` shows it; or a release or model.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the ledger.")]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Carry it out here, or leave it to who is at it.")
]

rollouts = typer.Typer(
    no_args_is_help=True,
    help="Rollouts, as the signed ledger has them: any machine can look at one, order it about, go on with "
    "it.\n\n[bold]edgeferry rollouts watch nyc_taxi[/bold] follows the newest one of a model.",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command()(rollout)
    app.command()(rollback)
    rollouts.command("list")(list_rollouts)
    rollouts.command("show")(show)
    rollouts.command("watch")(watch)
    rollouts.command("run")(run)
    rollouts.command("pause")(pause)
    rollouts.command("resume")(go_on)
    rollouts.command("abort")(abort)
    rollouts.command("revert")(revert)
    rollouts.command("promote")(promote)
    app.add_typer(rollouts, name="rollouts")


def rollout(
    context: typer.Context,
    release: ReleaseArgument,
    target_condition: ConditionOption = "",
    timeout: TimeoutOption = 0,
    junit: JunitOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put an approved release on the devices its condition picks, wave by wave (setting rollout.waves), and
    wait until each has proven it. Whatever stops this command, the same again goes on where it was.

    E.g. edgeferry rollout nyc_taxi --env prod --junit rollout.xml"""
    with opened(context, output, rollout__timeout_s=str(timeout or "")) as (settings, services, terminal):
        entry = find_release(services, release)
        result = roll_out(
            services,
            entry,
            choose_condition(settings, services, entry.body["model"], target_condition),
            fleet=read_fleet(settings),
            rules=read_rules(settings),
            user=settings["user"],
            on_change=lambda outcome: terminal.say(render_outcome(outcome)),
        )
        model = str(entry.body["model"])
        cases = [outcome_case(model, outcome) for outcome in result.outcomes]
        cases = cases or [nobody(model, str(result.state), result.reason)]
        write_report(junit, render_junit(f"rollout of {entry.subject}", cases))
        _answer(terminal, result)


def rollback(
    context: typer.Context,
    model: SubjectArgument,
    reason: ReasonOption = "",
    timeout: TimeoutOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take the newest release of a model, the companion or the agent off its devices: what it replaced serves
    again, and each must prove it.
    A rollout under way is ordered back.

    E.g. edgeferry rollback nyc_taxi --reason 'fares too low'"""
    with opened(context, output, rollout__timeout_s=str(timeout or "")) as (settings, services, terminal):
        result = roll_back(
            services,
            model,
            fleet=read_fleet(settings),
            reason=reason,
            user=settings["user"],
            rules=read_rules(settings),
            on_change=lambda outcome: terminal.say(render_outcome(outcome)),
        )
        terminal.answer(reverted_facts(result), reverted_tables(result))
        finish(result.ok, f"{result.state}: {result.reason}", result.fix)


def list_rollouts(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", help="Of this model only.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """All rollouts in the ledger, oldest first, and how each stands.

    E.g. edgeferry rollouts list --model nyc_taxi --output json"""
    with opened(context, output) as (_, services, terminal):
        records = [record for record in load_rollouts(services) if model in ("", record.state.model)]
        shown = [record_table(records)] if records else ["no rollouts yet"]
        terminal.answer([record_facts(record) for record in records], shown)


def show(context: typer.Context, rollout: RolloutArgument, output: OutputOption = Output.TABLE) -> None:
    """Everything the ledger says of a rollout: its start, waves, verdicts, orders and end.

    E.g. edgeferry rollouts show nyc_taxi"""
    with opened(context, output) as (settings, services, terminal):
        record = find_rollout(services, rollout, settings.environment)
        terminal.answer({**record_facts(record), "entries": story_facts(record)}, story_tables(record))


def watch(
    context: typer.Context,
    rollout: RolloutArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Go on also where a person is needed: until the rollout ends.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow a rollout that somebody else carries out, to its end, or until a person is needed: it is held,
    paused, or its next wave waits for an approval. What to type then is said.

    Exit code 0 only if it succeeded.

    E.g. edgeferry rollouts watch nyc_taxi"""
    with (
        opened(context, output) as (settings, services, terminal),
        PROGRESS.work(f"{rollout}, which somebody else carries out", lasts_s=0),
    ):
        gate = read_gate(settings)
        record = load_record(services, find_rollout(services, rollout, settings.environment).id, gate)
        told = 0
        said: Need | None = None
        while True:
            for line in story_facts(record)[told:]:
                terminal.say(f"{line['at']} {line['author']}: {line['what']}")
            told = len(record.entries)
            need = ask_for_need(services, record, gate)
            if need and wait and need != said:
                terminal.say(f"{need.word}: {need.reason}; {need.fix}")
            said = need
            if record.ended or (need and not wait):
                break
            services.sleep(SLOW_S)
            record = load_record(services, record.id, gate)
        facts = {**record_facts(record), "needs": need.word if need else "", "fix": need.fix if need else ""}
        terminal.answer(facts)
        end = record.state.end
        word = f"{end[0]}: {end[1]}" if end else f"{need.word}: {need.reason}" if need else ""
        fix = need.fix if need else f"see it: {_type(settings, 'show', record)}"
        finish(end is not None and end[0] is State.SUCCEEDED, word, fix)


def run(
    context: typer.Context,
    rollout: Annotated[str, typer.Argument(help="A rollout, or a release or model; with --serve: all.")] = "",
    serve: Annotated[
        bool,
        typer.Option("--serve", help="As a service: every open rollout of this environment, until ended."),
    ] = False,
    timeout: TimeoutOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Go on with a rollout where it stands, whoever began it and wherever: a CI job that was killed, a
    machine that is gone. While another controller is at it, wait for its end.

    E.g. edgeferry rollouts run nyc_taxi, or as a service: edgeferry rollouts run --serve"""
    if bool(rollout) == serve:
        raise UsageError("one rollout, or all as a service", fix="name a rollout, or give --serve")
    with opened(context, output, rollout__timeout_s=str(timeout or "")) as (settings, services, terminal):
        if serve:
            serve_rollouts(
                services,
                fleet=read_fleet(settings),
                rules=read_rules(settings),
                user=settings["user"],
                on_change=lambda outcome: terminal.say(render_outcome(outcome)),
            )
        else:
            record = find_rollout(services, rollout, settings.environment)
            _answer(terminal, _go_on(settings, services, terminal, record))


def pause(
    context: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """No other wave starts until somebody resumes it.

    E.g. edgeferry rollouts pause nyc_taxi"""
    _order(context, rollout, "pause", reason, False, output)


def go_on(
    context: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Go on with a paused rollout.

    E.g. edgeferry rollouts resume nyc_taxi"""
    _order(context, rollout, "resume", reason, wait, output)


def abort(
    context: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a rollout where it is: no other wave starts; what runs on devices stays.

    E.g. edgeferry rollouts abort nyc_taxi --reason 'wrong day'"""
    _order(context, rollout, "abort", reason, wait, output)


def revert(
    context: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a rollout and take its release back: what it replaced serves again.

    E.g. edgeferry rollouts revert nyc_taxi --reason 'fares too low'"""
    _order(context, rollout, "revert", reason, wait, output)


def promote(
    context: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a held rollout go on, in your name: you have looked where the numbers could not tell. It counts
    when as many of those who may approve have said so as the environment's gate asks for.

    E.g. edgeferry rollouts promote nyc_taxi --reason 'no traffic at night'"""
    _order(context, rollout, "promote", reason, wait, output)


def _order(
    context: typer.Context, rollout: str, order: OrderName, reason: str, wait: bool, output: Output
) -> None:
    """The order is signed into the ledger, and carried out here where that is asked for."""
    with opened(context, output) as (settings, services, terminal):
        record = find_rollout(services, rollout, settings.environment)
        back = (
            f"take its release back: {render_command(settings.environment, 'rollback', record.state.model)}"
        )
        if record.ended:
            raise UsageError(f"{record.id} has ended: {word_of(record)}", fix=back)
        user, gate = settings["user"], read_gate(settings)
        if order == "promote" and (problem := judge_promoter(services, record, gate, user)):
            who = "one of those who may approve promotes it, with a key of their own"
            raise RefusedError(problem, fix=f"{who}: {_type(settings, 'promote', record)}")
        entry = give_order(services, record.id, order, reason, user, record.state.wave)
        terminal.say(f"{order} of {record.id}, signed by {entry.author}")
        lacking = find_lacking(services, record.id, gate) if order == "promote" else ""
        if lacking or not wait:
            facts = {"rollout": record.id, "order": order, "entry": entry.id, "lacking": lacking}
            said = lacking or f"{order}; who is at it sees to that"
            terminal.answer(facts, [f"{record.id}: {said}"])
            return
        result = _go_on(settings, services, terminal, record)
        if order in ("abort", "revert"):  # that it ends without success is what was wanted
            word = f"{result.state}: {result.reason}"
            terminal.answer(rollout_facts(result), [rollout_table(result), word])
            done = is_back(result) if order == "revert" else result.state is not State.SUCCEEDED
            finish(done, f"{order} did not come about: {word}", back)
            return
        _answer(terminal, result)


def _type(settings: Settings, word: str, record: Record) -> str:
    return render_command(settings.environment, "rollouts", word, record.id)


def _go_on(settings: Settings, services: Services, terminal: Terminal, record: Record) -> RolloutResult:
    return resume(
        services,
        record,
        fleet=read_fleet(settings),
        rules=read_rules(settings),
        user=settings["user"],
        on_change=lambda outcome: terminal.say(render_outcome(outcome)),
    )


def _answer(terminal: Terminal, result: RolloutResult) -> None:
    terminal.answer(rollout_facts(result), [rollout_table(result)] if result.outcomes else [])
    finish(result.state is State.SUCCEEDED, f"{result.state}: {result.reason}", result.fix)
