"""Commands that look at what runs on devices: status, logs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeferry.cli.completing import complete_devices, complete_modules
from edgeferry.cli.confirm import read_device
from edgeferry.cli.console import Output, render_table, short
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.asking import render_asking
from edgeferry.errors import UsageError
from edgeferry.workflows.asking import ask_seen
from edgeferry.workflows.survey import Sighting
from edgeferry.workflows.survey import survey as survey_devices


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (status, logs):
        app.command(rich_help_panel="The fleet")(command)


def status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """What every device runs now, as the device itself reports it.
    E.g. edgeferry status --env prod"""
    with opened(context, output) as (_, services, terminal):
        sightings = survey_devices(services)
        columns = ["device", "module", "state", "digest", "verdict", "ms", "port", "agent says"]
        rows = [_sighting_row(each) for each in sightings]
        if not any(each.status for each in sightings):  # it would only take the others' room
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        parts: list[Any] = [render_table("Devices", columns, rows)]
        if output is Output.TABLE and (asking := ask_seen(services, sightings)):
            parts += render_asking(asking)
        terminal.answer([_sighting_facts(each) for each in sightings], parts)


def logs(
    context: typer.Context,
    module: Annotated[
        str, typer.Argument(help="A module: a model's name, or companion.", autocompletion=complete_modules)
    ],
    device: Annotated[
        str, typer.Option("--device", "-d", help="The device.", autocompletion=complete_devices)
    ],
    tail: Annotated[int, typer.Option(help="How many of the last lines.")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a module wrote, fetched from the device through the hub.
    E.g. edgeferry logs companion --device device-1 --tail 20"""
    with opened(context, output) as (_, services, terminal):
        request = {
            "schemaVersion": "1.0",
            "items": [{"id": f"^{module}$", "filter": {"tail": tail}}],
            "encoding": "none",
            "contentType": "text",
        }
        read_device(services.hub, device)
        answer = services.hub.call_module(device, "$edgeAgent", "GetModuleLogs", request)
        items = answer.get("payload")
        if answer.get("status") != 200 or not isinstance(items, list) or not items:
            said = items.get("message") if isinstance(items, dict) else items
            raise UsageError(
                f"{device} has no logs of {module}: {said or 'no such module'}",
                fix="edgeferry status shows what runs there",
            )
        text = "".join(str(item.get("payload") or "") for item in items)
        terminal.answer({"device": device, "module": module, "text": text}, [text.rstrip("\n")])


def _sighting_row(each: Sighting) -> list[str]:
    verdict = each.verdict
    return [
        each.device,
        each.module,
        each.runtime_status if each.connected else f"unreachable, was {each.runtime_status or 'empty'}",
        short(each.digest),
        verdict.state if verdict else "",
        f"{verdict.latency_ms:.1f}" if verdict else "",
        each.scores_at.rpartition(":")[2],
        each.status,
    ]


def _sighting_facts(each: Sighting) -> dict[str, Any]:
    return {
        "device": each.device,
        "connected": each.connected,
        "module": each.module,
        "state": each.runtime_status,
        "digest": each.digest,
        "verdict": each.verdict.state if each.verdict else None,
        "latency_ms": each.verdict.latency_ms if each.verdict else None,
        "scores_at": each.scores_at,
        "agent_says": each.status,
    }
