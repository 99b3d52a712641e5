"""Commands about releases: release, approve, and what the ledger holds of both."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, Terminal, render_table, short
from edgeferry.cli.models import VersionOption, package_version
from edgeferry.cli.offers import evidence_facts, evidence_table, offer_facts, offer_tables
from edgeferry.cli.project import (
    ConditionOption,
    OutputOption,
    ReleaseArgument,
    SubjectArgument,
    TrainedAtOption,
    choose_condition,
    opened,
    read_fleet,
)
from edgeferry.cli.rules import read_gate, read_rollout
from edgeferry.domain.approval import AZURE_DEVOPS, GITHUB, find_people, render_origin
from edgeferry.domain.model import COMPANION, DEVICE_AGENT
from edgeferry.domain.release import Entry
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wiring import open_approvals
from edgeferry.workflows.approve import Offer, approve_from, make_offer, make_wave_offer, propose
from edgeferry.workflows.approve import approve as approve_offer
from edgeferry.workflows.evidence import weigh_evidence
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.programs import release_agent, release_program, released_companion
from edgeferry.workflows.prove import find_proof
from edgeferry.workflows.release import find_release
from edgeferry.workflows.release import release as release_image

releases = typer.Typer(
    no_args_is_help=True,
    help="What was released: its evidence, who approved it, where it went; from the signed ledger.\n\n"
    "[bold]edgeferry releases show nyc_taxi[/bold] shows the newest of a model.",
)


class Platform(StrEnum):
    """Where a person's approval may have been recorded."""

    AZURE_DEVOPS = AZURE_DEVOPS
    GITHUB = GITHUB


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (release, approve):
        app.command()(command)
    app.add_typer(releases, name="releases")


def release(
    context: typer.Context,
    model: SubjectArgument,
    model_version: VersionOption = "",
    place: TrainedAtOption = "",
    image: Annotated[
        str,
        typer.Option("--image", help="Of IoT Edge's agent, NAME:TAG@sha256:…; ours comes with edgeferry."),
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign that this version, this image and this evidence belong together, in the ledger.

    E.g. edgeferry release nyc_taxi --env prod

    The companion or the agent that comes with this edgeferry, verified and pushed as well:
    edgeferry release companion; edgeferry release agent"""
    with opened(context, output, train__place=place) as (settings, services, terminal):
        fleet = read_fleet(settings)
        limits = fleet.limits
        if image and model != DEVICE_AGENT:
            raise UsageError("--image is for the agent's release", fix=f"edgeferry release {model}")
        if model == DEVICE_AGENT:
            _tell_release(terminal, *release_agent(services, fleet, image, settings["user"]))
            return
        if model == COMPANION:
            _tell_release(terminal, *release_program(services, model, limits, settings["user"]))
            return
        definition, version, packed = package_version(services, model, model_version)
        proof = find_proof(services, definition, version, packed, limits)
        if proof is None:
            raise UsageError(
                f"{model} is not pushed with a passed verification", fix=f"edgeferry push {model}"
            )
        companion = released_companion(services, limits, settings["user"])
        _tell_release(
            terminal,
            *release_image(services, version, proof.image, proof.verification, companion, settings["user"]),
        )


def _tell_release(terminal: Terminal, entry: Entry, created: bool) -> None:
    state = "released" if created else "unchanged"
    facts = {
        "release": entry.subject,
        "entry": entry.id,
        "author": entry.author,
        "key": entry.key,
        "state": state,
    }
    terminal.answer(facts, [f"{entry.subject} ({state}), signed by {entry.author} with {entry.key}"])


def approve(
    context: typer.Context,
    release: Annotated[
        str, typer.Argument(help="A release, a model for its newest one, or with --wave a rollout.")
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="Who approves; signs with this person's key. Default: you, at a terminal (setting user).",
        ),
    ] = "",
    from_platform: Annotated[
        Platform | None,
        typer.Option("--from", help="In a pipeline: record who approved its stage on this platform."),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Sign no word: write the plan into the ledger, for people to see.")
    ] = False,
    wave: Annotated[
        int,
        typer.Option("--wave", min=0, help="Of a rollout under way: the wave that may start; 0: a release."),
    ] = 0,
    target_condition: ConditionOption = "",
    no: Annotated[bool, typer.Option("--no", help="Sign a no.")] = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a release would do to the fleet and the evidence for it, then sign one person's yes (or no).

    A yes is bound to the plan that was shown, and expires; who may give it says the environment (settings
    gate.*). At a terminal the question is asked after the plan is shown; --yes signs unasked, with --by.

    E.g. edgeferry approve nyc_taxi --by ann --env prod

    Between waves: edgeferry approve nyc_taxi-v3-01234567-prod-89abcdef --wave 2 --by ann --env prod

    In a deployment job: edgeferry approve nyc_taxi-v3-01234567 --from azure-devops, or --from github"""
    told = [bool(by), from_platform is not None, ask].count(True)
    if told > 1 or (not told and not sys.stdin.isatty()) or (no and (from_platform or ask)):
        raise UsageError(
            "an approval is one person's (--by NAME, or with --no a refusal) or a platform's record (--from)",
            fix="give --by, --from or --ask; a refusal on the platform ends its stage by itself",
        )
    if not told and yes:
        raise UsageError(
            "--yes signs unasked, and nobody said in whose name", fix="add --by NAME, or leave --yes out"
        )
    if (by or not told) and output is Output.JSON and not yes and sys.stdin.isatty():
        raise UsageError(
            "as JSON the plan comes after the question whether to sign it",
            fix="add --by NAME --yes, or leave --output json out",
        )
    with opened(context, output) as (settings, services, terminal):
        by = by or settings["user"]
        offer = _make_offer(settings, services, release, target_condition, wave)
        if output is Output.TABLE:
            terminal.answer({}, offer_tables(offer))
        if ask:
            entry = propose(services, offer, settings["user"])
            terminal.answer({**offer_facts(offer), "entry": entry.id}, [f"in the ledger as {entry.id}"])
            return
        if from_platform is not None:
            signed = approve_from(services, offer, open_approvals(from_platform).fetch(), settings["user"])
        else:
            if sys.stdin.isatty():
                confirm(f"Sign a {'no' if no else 'yes'} to it as {by}?", yes)
            signed = approve_offer(services, offer, by, yes=not no)
        people = " and ".join(find_people(signed)) or f"{signed.author}, who is no person,"
        condition = offer.plan.condition
        facts = {
            **offer_facts(offer),
            "entry": signed.id,
            "decision": signed.body["decision"],
            "by": people,
            "target_condition": condition,
            "expires_at": signed.body["expires_at"],
            "key": signed.key,
            "source": signed.body.get("source"),
        }
        word = "approved" if not no else "refused"
        what = f"wave {wave} of {offer.rollout}" if wave else offer.release.subject
        where = f"for devices where {condition}{render_origin(signed)}"
        until = "" if no else f", until {signed.body['expires_at']}"
        terminal.answer(facts, [f"{what} {word} by {people} {where}{until}"])


def _make_offer(
    settings: Settings, services: Services, release: str, target_condition: str, wave: int
) -> Offer:
    policy, environment = read_gate(settings), settings.environment
    if wave:
        return make_wave_offer(services, release, wave, policy, environment)
    entry = find_release(services, release)
    condition = choose_condition(settings, services, entry.body["model"], target_condition)
    plan = make_plan(services, entry, condition, read_fleet(settings), read_rollout(settings))
    return make_offer(services, entry, plan, policy, environment)


@releases.command("list")
def list_releases(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", help="Of this model only.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """All releases in the ledger, the newest last: who made them, who approved them.

    E.g. edgeferry releases list --model nyc_taxi"""
    with opened(context, output) as (_, services, terminal):
        ledger = services.ledger
        words = [word for word in ledger.entries("approval") if word.body.get("decision") == "yes"]
        entries = [entry for entry in ledger.entries("release") if model in ("", entry.body["model"])]
        facts = [
            {
                "release": entry.subject,
                "model": entry.body["model"],
                "version": entry.body["version"],
                "digest": entry.body["digest"],
                "at": entry.at,
                "author": entry.author,
                "distrust": ledger.distrust(entry),
                "approved_by": _approvers(entry, [word for word in words if not ledger.distrust(word)]),
            }
            for entry in entries
        ]
        rows = [
            [
                one["release"],
                one["at"],
                one["author"],
                ", ".join(one["approved_by"]),
                one["distrust"] or "trusted",
            ]
            for one in facts
        ]
        terminal.answer(
            facts, [render_table("Releases", ("release", "at", "by", "approved by", "signature"), rows)]
        )


@releases.command("show")
def show_release(
    context: typer.Context,
    release: ReleaseArgument,
    target_condition: ConditionOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """One release: what it joins, its evidence as it is now, each word about it and whether its signature
    counts, and its rollouts.

    E.g. edgeferry releases show nyc_taxi --env prod"""
    with opened(context, output) as (settings, services, terminal):
        entry = find_release(services, release)
        condition = choose_condition(settings, services, entry.body["model"], target_condition)
        policy, environment = read_gate(settings), settings.environment
        evidence = weigh_evidence(services, entry, policy, condition=condition, environment=environment)
        words = [_word_facts(services, word) for word in services.ledger.entries("approval", entry.subject)]
        rollouts = [
            {
                "rollout": one.subject,
                "at": one.at,
                "author": one.author,
                "environment": one.body["environment"],
            }
            for one in services.ledger.entries("rollout")
            if one.body.get("release") == entry.subject
        ]
        distrust = services.ledger.distrust(entry)
        facts = {
            "release": entry.subject,
            "at": entry.at,
            "author": entry.author,
            "key": entry.key,
            "distrust": distrust,
            **entry.body,
            "evidence": evidence_facts(evidence),
            "approvals": words,
            "rollouts": rollouts,
        }
        names = ("at", "by", "decision", "environment", "target_condition", "plan", "expires_at", "distrust")
        terminal.answer(
            facts,
            [
                f"{entry.subject} by {entry.author} at {entry.at}: {distrust or 'its signature counts'}",
                f"version {entry.body['version']} of "
                + str(entry.body.get("registered_model", entry.body["model"])),
                entry.body["digest"],
                evidence_table(evidence),
                render_table("Approvals", names, [[str(word[name]) for name in names] for word in words]),
                *(f"rolled out as {one['rollout']} at {one['at']} by {one['author']}" for one in rollouts),
            ],
        )


def _approvers(release: Entry, approvals: list[Entry]) -> list[str]:
    """Who said yes to this content of the release, sorted."""
    return sorted(
        {
            person
            for word in approvals
            if word.subject == release.subject and word.body.get("release_signature") == release.signature
            for person in find_people(word)
        }
    )


def _word_facts(services: Services, word: Entry) -> dict[str, Any]:
    body = word.body
    return {
        "entry": word.id,
        "at": word.at,
        "by": " and ".join(find_people(word)) or word.author,
        "decision": body.get("decision"),
        "environment": body.get("environment", ""),
        "target_condition": body.get("target_condition"),
        "plan": short(str(body.get("plan", ""))),
        "rollout": body.get("rollout", ""),
        "wave": body.get("wave", 0),
        "expires_at": body.get("expires_at", ""),
        "evidence": body.get("evidence", []),
        "source": body.get("source"),
        "distrust": services.ledger.distrust(word),
    }
