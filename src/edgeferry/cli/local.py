"""Commands for this machine: up, down, demo, config."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, Terminal, render_table, short
from edgeferry.cli.models import finish, shipment_facts
from edgeferry.cli.project import InputOption, OutputOption, load, opened, parse_pairs
from edgeferry.sandbox import local as sandbox
from edgeferry.settings import KNOWN, Settings
from edgeferry.wiring import open_hub
from edgeferry.workflows.journey import Journey, show_journey
from edgeferry.workflows.ship import Order

DevicesOption = Annotated[int, typer.Option("--devices", min=1, max=20, help="How many devices.")]

config = typer.Typer(no_args_is_help=True, help="The project's settings.")


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (up, down, demo):
        app.command(rich_help_panel="This machine")(command)
    app.add_typer(config, name="config", rich_help_panel="This machine")


def up(context: typer.Context, devices: DevicesOption = 2, output: OutputOption = Output.TABLE) -> None:
    """Start a hub, a registry, a ledger and devices on this machine. Running it twice is cheap and safe."""
    terminal = Terminal(output)
    names = _start(context, devices, terminal)
    settings = load(context)
    parts = sandbox.status(settings.state)
    rows = [[part.name, "running" if part.running else "ended", part.log] for part in parts]
    facts = {"devices": names, "parts": [{"name": p.name, "running": p.running, "log": p.log} for p in parts]}
    facts |= {"registry": settings["registry.host"]}
    terminal.answer(facts, [render_table("Running on this machine", ("part", "state", "log"), rows)])


def down(
    context: typer.Context,
    wipe: Annotated[
        bool,
        typer.Option(
            "--wipe", help="Also delete the hub's, the registry's and the ledger's data and the keys."
        ),
    ] = False,
) -> None:
    """Stop everything that `up` started, and remove its containers and networks."""
    terminal = Terminal(Output.TABLE)
    settings = load(context)
    with sandbox.locked(settings.state):
        sandbox.down(settings.state, wipe=wipe, say=terminal.say)


def demo(
    context: typer.Context,
    devices: Annotated[int, typer.Option("--devices", min=2, max=20, help="How many devices.")] = 2,
    inputs: InputOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The whole journey on this machine: start hub, registry and devices, ship nyc_taxi to device-1, tag
    device-2 and see it receive the model by itself, untag it and see it go. Exit 0 only if all is true."""
    terminal = Terminal(output)
    since = time.monotonic()
    names = _start(context, devices, terminal)
    up_s = time.monotonic() - since
    terminal.stage("up", "done", up_s, f"{len(names)} devices, a hub, a registry, a ledger")
    with opened(context, output) as (settings, services, _):
        order = Order(
            model="nyc_taxi",
            inputs=parse_pairs(inputs, "the input"),
            user=settings["user"],
            fleet_condition=settings["rollout.fleet_condition"],
            timeout_s=float(settings["rollout.timeout_s"]),
            approve_as="demo",
        )
        journey = show_journey(
            services,
            order,
            names[0],
            names[1],
            lambda stage: terminal.stage(stage.name, stage.state, stage.seconds, stage.detail),
        )
    total = time.monotonic() - since
    facts = {
        "ok": journey.ok,
        "problem": journey.problem,
        "fix": journey.fix,
        "seconds": round(total, 1),
        "up_seconds": round(up_s, 1),
        "shipment": shipment_facts(journey.shipment),
        "arrivals": [asdict(arrival) for arrival in journey.arrivals],
    }
    terminal.answer(facts, _journey_tables(journey, up_s, total))
    finish(terminal, journey.ok, journey.problem, journey.fix)


@config.command("show")
def show_config(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Every setting, its value (secrets masked), and who set it."""
    settings = load(context)
    values = settings.masked()
    rows = [[name, value.text, value.source, KNOWN[name].meaning] for name, value in values.items()]
    facts = {name: {"value": value.text, "source": value.source} for name, value in values.items()}
    Terminal(output).answer(facts, [render_table("Settings", ("name", "value", "set by", "meaning"), rows)])


def _start(context: typer.Context, devices: int, terminal: Terminal) -> list[str]:
    settings = load(context)
    with sandbox.locked(settings.state):
        started = sandbox.start_servers(settings.state, _engine_wish(settings), terminal.say)
        settings = load(context)
        with open_hub(settings) as hub:
            return sandbox.start_devices(started, hub, devices, terminal.say)


def _engine_wish(settings: Settings) -> str:
    """An engine that a person chose; the one `up` recorded earlier is found again, or started again."""
    chosen = settings.values["engine.url"]
    return "" if chosen.source.startswith("this machine") else chosen.text


def _journey_tables(journey: Journey, up_s: float, total_s: float) -> list[Any]:
    rows = [
        [a.device, journey.shipment.model, a.state, short(a.digest), a.verdict, f"{a.latency_ms:.1f}", a.how]
        for a in journey.arrivals
    ]
    columns = ("device", "model", "state", "digest", "verdict", "answer ms", "how")
    stages = [["up", "done", f"{up_s:.1f}"]]
    stages += [[s.name, s.state, f"{s.seconds:.1f}"] for s in journey.stages]
    stages += [["total", "", f"{total_s:.1f}"]]
    further = (
        "Look further (. .venv/bin/activate; cd examples/taxi):\n"
        "  edgeferry status\n  edgeferry smoke nyc_taxi\n  edgeferry logs nyc_taxi --device device-1\n"
        "  edgeferry devices tag device-2 models.nyc_taxi=true"
    )
    return [
        render_table("Devices", columns, rows),
        render_table("Stages", ("stage", "state", "seconds"), stages),
        *([further] if journey.ok else []),
    ]
