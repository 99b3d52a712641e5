"""Commands that look at what runs on devices: status, logs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from edgeferry.cli.completing import complete_devices, complete_modules
from edgeferry.cli.console import Output, Terminal, counted, render_table, short
from edgeferry.cli.names import list_some, near, read_device
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.asking import render_asking
from edgeferry.domain.typed import render_command
from edgeferry.errors import UsageError
from edgeferry.workflows.asking import ask_seen
from edgeferry.workflows.survey import Sighting, find_running, guess_module
from edgeferry.workflows.survey import survey as survey_devices


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (status, logs):
        app.command()(command)


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
        str,
        typer.Option(
            "--device",
            "-d",
            help="The device; default: the one that runs the module.",
            autocompletion=complete_devices,
        ),
    ] = "",
    tail: Annotated[int, typer.Option(help="How many of the last lines.")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a module wrote, fetched from the device through the hub. Where several devices run it, name one.
    E.g. edgeferry logs companion --device device-1 --tail 20"""
    with opened(context, output) as (settings, services, terminal):
        request = {
            "schemaVersion": "1.0",
            "items": [{"id": f"^{module}$", "filter": {"tail": tail}}],
            "encoding": "none",
            "contentType": "text",
        }
        if device:
            read_device(services.hub, device)
        else:
            device = _choose(find_running(services, module), module, settings.environment, terminal)
        answer = services.hub.call_module(device, "$edgeAgent", "GetModuleLogs", request)
        items = answer.get("payload")
        if answer.get("status") != 200 or not isinstance(items, list) or not items:
            said = items.get("message") if isinstance(items, dict) else items
            raise UsageError(
                f"{device} has no logs of {module}: {said or 'no such module'}",
                fix=guess_module(services, device, module),
            )
        text = "".join(str(item.get("payload") or "") for item in items)
        terminal.answer({"device": device, "module": module, "text": text}, [text.rstrip("\n")])


def _choose(devices: Sequence[str], module: str, environment: str, terminal: Terminal) -> str:
    """The device among several: asked for at a terminal; UsageError that names them where nobody is there."""
    if len(devices) == 1:
        terminal.say(f"{module} runs on {devices[0]}")
        return devices[0]
    where = f"{module} runs on {counted(len(devices), 'device')}"
    if terminal.output is Output.TABLE and sys.stdin.isatty() and sys.stderr.isatty():
        terminal.say(f"{where}: {list_some(devices)}")
        with PROGRESS.quiet():
            named = str(typer.prompt("Of which one", default=devices[0], err=True))
        if named in devices:
            return named
        raise UsageError(f"{named!r} does not run {module}", fix=near(named, devices))
    command = render_command(environment, "logs", module, "--device", devices[0])
    raise UsageError(f"{where}: {list_some(devices)}", fix=f"name one: {command}")


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
