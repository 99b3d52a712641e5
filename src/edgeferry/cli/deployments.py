"""Commands about the deployments themselves: what a rollout would put on the hub, as files for Azure's own
command line; and the login that IoT Edge's devices pull with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.cli import deploy
from edgeferry.cli.console import Output, render_table
from edgeferry.cli.project import (
    ConditionOption,
    OutputOption,
    ReleaseArgument,
    choose_condition,
    opened,
    read_fleet,
)
from edgeferry.domain.condition import parse_condition
from edgeferry.domain.portability import find_remarks
from edgeferry.errors import UsageError
from edgeferry.settings import Settings
from edgeferry.settings_table import REFERENCE
from edgeferry.wire.azure_cli import render_command, render_file
from edgeferry.wire.connection import azure_hub_name, parse_connection_string
from edgeferry.workflows.layers import render_all
from edgeferry.workflows.pull_login import apply_pull_login
from edgeferry.workflows.release import find_release

deployments = typer.Typer(
    no_args_is_help=True,
    help="Deployments by hand; what a rollout puts on the hub, and the devices' login at the registry.\n\n"
    "[bold]edgeferry deployments list[/bold] shows all that are on the hub.",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    deploy.register(deployments)
    app.add_typer(deployments, name="deployments")


@deployments.command()
def render(
    context: typer.Context,
    release: ReleaseArgument,
    base: Annotated[bool, typer.Option("--base", help="Write the base deployment.")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Write the layer with the pull login.")] = False,
    companion: Annotated[
        bool, typer.Option("--companion", help="Write the first companion's layer.")
    ] = False,
    layer: Annotated[bool, typer.Option("--layer", help="Write the release's layer.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Write all of them; so it is when none is named.")
    ] = False,
    runtime: Annotated[str, typer.Option(help="iotedge or agent; default: the setting device.runtime.")] = "",
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path("deployments"),
    target_condition: ConditionOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Write what a rollout of the release would put on the hub as files for 'az iot edge deployment create',
    and print those commands in order. Nothing on the hub changes; no file holds a secret.
    E.g. edgeferry deployments render nyc_taxi --runtime iotedge --folder out"""
    with opened(context, output, device__runtime=runtime) as (settings, services, terminal):
        entry = find_release(services, release)
        has_hub = bool(settings["hub.connection_string"] or settings["hub.host"])
        condition = choose_condition(settings, services, entry.body["model"], target_condition)
        for remark in find_remarks(parse_condition(condition).expression):
            terminal.say(f"{condition}: column {remark.column}: {remark.problem}\n  fix: {remark.fix}")
        if not has_hub:
            terminal.say("no hub is set: priorities are those for a hub without deployments of ours")
        documents = render_all(
            services,
            entry,
            condition,
            read_fleet(settings),
            services.hub.configurations() if has_hub else [],
        )
        flags = {"base": base, "pull": pull, "companion": companion, "layer": layer}
        named = {kind for kind, wanted in flags.items() if wanted}
        chosen = documents.keys() if everything or not named else named
        if missing := named - documents.keys():
            raise UsageError(
                f"a rollout would put no {', '.join(sorted(missing))} there",
                fix="leave the flag out: devices with our agent got their login at enrolment, and a "
                "companion comes with a model only where there is none",
            )
        folder.mkdir(parents=True, exist_ok=True)
        facts = []
        for kind, document in documents.items():
            if kind not in chosen:
                continue
            file = folder / f"{document['id']}.json"
            file.write_text(render_file(document), "utf-8")
            facts.append(
                {
                    "kind": kind,
                    "id": document["id"],
                    "file": str(file),
                    "target_condition": document["targetCondition"],
                    "priority": document["priority"],
                    "labels": document["labels"],
                    "metrics": document["metrics"]["queries"],
                    "command": render_command(document, str(file), _azure_name(settings)),
                }
            )
        rows = [[one["kind"], one["file"], str(one["priority"]), one["target_condition"]] for one in facts]
        table = render_table(entry.subject, ("deployment", "file", "priority", "devices"), rows)
        terminal.answer(facts, [table, *(f"\n{one['command']}" for one in facts)])


@deployments.command("login")
def renew_login(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Give the fleet's IoT Edge devices the login they pull images with, or replace it: its own layer is all
    that changes. Set registry.pull_username and EDGEFERRY_REGISTRY__PULL_PASSWORD to the new login first;
    e.g. edgeferry deployments login --env prod"""
    with opened(context, output) as (settings, services, terminal):
        login = services.pull_login()
        if login is None:
            raise UsageError(
                "registry.pull_username is not set",
                fix="make a pull-only login at the registry and set it, with its password",
            )
        change = apply_pull_login(services, login, read_fleet(settings))
        facts = {"registry": login.address, "username": login.username, "state": change}
        terminal.answer(facts, [f"the devices' login at {login.address}: {change}"])


def _azure_name(settings: Settings) -> str:
    """The hub's name as `az` wants it; "" when the hub is not Azure's or its name is not known here."""
    host, text = settings["hub.host"], settings["hub.connection_string"]
    if text and not text.startswith(REFERENCE):
        host = parse_connection_string(text).host_name
    return azure_hub_name(host)
