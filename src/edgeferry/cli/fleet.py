"""Commands that look at what runs on devices: status, smoke, logs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, finish, render_table, short
from edgeferry.cli.project import ModelArgument, OutputOption, opened, read_fleet
from edgeferry.cli.report import JunitOption, smoke_case, write_report
from edgeferry.errors import UsageError
from edgeferry.wire.deployment import parse_model_layer
from edgeferry.wire.junit import render_junit
from edgeferry.workflows.smoke import smoke as smoke_device
from edgeferry.workflows.survey import Sighting
from edgeferry.workflows.survey import survey as survey_devices


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (status, smoke, logs):
        app.command(rich_help_panel="The fleet")(command)


def status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """What every device runs now, as the device itself reports it."""
    with opened(context, output) as (_, services, terminal):
        sightings = survey_devices(services)
        columns = ["device", "module", "state", "digest", "verdict", "ms", "port", "agent says"]
        rows = [_sighting_row(each) for each in sightings]
        if not any(each.status for each in sightings):  # it would only take the others' room
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        terminal.answer(
            [_sighting_facts(each) for each in sightings], [render_table("Devices", columns, rows)]
        )


def smoke(
    context: typer.Context,
    model: ModelArgument,
    device: Annotated[
        str, typer.Option("--device", "-d", help="One device; default: all that the layer targets.")
    ] = "",
    junit: JunitOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask the model on its devices the smoke cases, now. Exit 0 only if every one passes."""
    with opened(context, output) as (settings, services, terminal):
        here = filter(read_fleet(settings).owns, services.hub.configurations())
        layers = [found for found in map(parse_model_layer, here) if found]
        ours = [layer for layer in layers if layer.model == model]
        if not ours:
            raise UsageError(f"no deployment of {model} is on the hub", fix=f"edgeferry ship {model}")
        layer = max(ours, key=lambda found: found.priority)
        names = (
            [device]
            if device
            else [twin["deviceId"] for twin in services.hub.devices(layer.target_condition)]
        )
        results = [smoke_device(services, name, layer) for name in names]
        rows, facts = [], []
        for each in results:
            verdict = each.verdict
            latency = f"{verdict.latency_ms:.1f}" if verdict else ""
            rows.append(
                [each.device, each.state, str(verdict.asked) if verdict else "0", latency, each.reason]
            )
            facts.append(
                {
                    "device": each.device,
                    "model": model,
                    "passed": each.passed,
                    "state": each.state,
                    "reason": each.reason,
                    "asked": verdict.asked if verdict else 0,
                    "latency_ms": verdict.latency_ms if verdict else None,
                    "digest": verdict.digest if verdict else None,
                }
            )
        report = render_junit(f"smoke test of {layer.release}", [smoke_case(model, each) for each in results])
        write_report(junit, report)
        columns = ("device", "verdict", "cases", "ms", "reason")
        terminal.answer(facts, [render_table(f"Smoke test of {layer.release}", columns, rows)])
        passed = bool(results) and all(each.passed for each in results)
        problem, fix = "a smoke test did not pass", f"edgeferry logs {model} --device DEVICE"
        if not results:
            problem = f"Inconclusive: nobody targeted: no device matches {layer.target_condition}"
            fix = "edgeferry devices list shows the tags, edgeferry devices tag sets them"
        finish(passed, problem, fix)


def logs(
    context: typer.Context,
    module: Annotated[str, typer.Argument(help="A module: a model's name, or companion.")],
    device: Annotated[str, typer.Option("--device", "-d", help="The device.")],
    tail: Annotated[int, typer.Option(help="How many of the last lines.")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a module wrote, fetched from the device through the hub."""
    with opened(context, output) as (_, services, terminal):
        request = {
            "schemaVersion": "1.0",
            "items": [{"id": f"^{module}$", "filter": {"tail": tail}}],
            "encoding": "none",
            "contentType": "text",
        }
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
