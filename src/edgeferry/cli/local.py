"""Commands for this machine: up, down, demo, config."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, Terminal, finish, render_table, short
from edgeferry.cli.facts import shipment_facts
from edgeferry.cli.project import InputOption, OutputOption, load, opened, parse_pairs, read_fleet, showing
from edgeferry.cli.rules import read_rules
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.sandbox import local as sandbox
from edgeferry.sandbox.process import locked
from edgeferry.sandbox.traffic import send_rows
from edgeferry.settings import Settings
from edgeferry.settings_table import KNOWN
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wiring import open_hub
from edgeferry.workflows.captures import fetch_counts
from edgeferry.workflows.enrol import enrol_device
from edgeferry.workflows.journey import Journey, show_journey
from edgeferry.workflows.package import load_held_out
from edgeferry.workflows.ship import Order, Stage
from edgeferry.workflows.survey import fetch_host_ports

DevicesOption = Annotated[int, typer.Option("--devices", min=1, max=20, help="How many devices.")]

_REQUESTS = 50
"""How many requests the demo sends to each model on each device."""

config = typer.Typer(
    no_args_is_help=True, help="The project's settings: [bold]edgeferry config show[/bold] lists them."
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    for command in (up, down, demo):
        app.command()(command)
    app.add_typer(config, name="config")


def up(context: typer.Context, devices: DevicesOption = 2, output: OutputOption = Output.TABLE) -> None:
    """Start a hub, a registry, a ledger and devices on this machine. Running it twice is cheap and safe;
    devices of an earlier run start too, until down --wipe.

    E.g. edgeferry up --devices 3"""
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
    """Stop everything that `up` started, and remove its containers and networks.

    E.g. edgeferry down; to begin from nothing: edgeferry down --wipe"""
    terminal = Terminal(Output.TABLE)
    settings = load(context)
    with showing(context, settings), locked(settings.state / sandbox.UP_LOCK):
        sandbox.down(settings.state, wipe=wipe, say=terminal.say)


def demo(
    context: typer.Context,
    devices: Annotated[int, typer.Option("--devices", min=2, max=20, help="How many devices.")] = 3,
    inputs: InputOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """The whole journey on this machine: start hub, registry and devices, ship every model of the project
    to its devices, move one by tags and back, send requests and count what the devices captured. Exit 0
    only if all of it is true.

    E.g. edgeferry demo --devices 4"""
    terminal = Terminal(output)
    since = time.monotonic()
    names = _start(context, devices, terminal)
    up = Stage("up", "done", time.monotonic() - since, f"{len(names)} devices, a hub, a registry, a ledger")
    terminal.stage(up.name, up.state, up.seconds, up.detail)
    with opened(context, output) as (settings, services, _):
        orders = [
            Order(
                model=model,
                inputs=parse_pairs(inputs, "the input"),
                user=settings["user"],
                fleet=read_fleet(settings),
                rules=read_rules(settings),
                approve_as="demo",
            )
            for model in reversed(services.project.model_names())
        ]
        journey = show_journey(
            services,
            orders,
            names,
            lambda device, model: _use(services, device, model),
            lambda stage: terminal.stage(stage.name, stage.state, stage.seconds, stage.detail),
        )
    total_s = time.monotonic() - since
    stages = [up, *journey.stages]
    facts = {
        "ok": journey.ok,
        "problem": journey.problem,
        "fix": journey.fix,
        "seconds": round(total_s, 1),
        "stages": [asdict(stage) for stage in stages],
        "shipments": [shipment_facts(shipment) for shipment in journey.shipments],
        "devices": [asdict(arrival) for arrival in journey.arrivals],
    }
    terminal.answer(facts, _journey_tables(journey, stages, total_s))
    finish(journey.ok, journey.problem, journey.fix)


@config.command("show")
def show_config(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Every setting, its value (secrets masked), and who set it; --output json says what each means as well.
    E.g. edgeferry config show --env prod"""
    settings = load(context)
    values = settings.masked()
    rows = [[name, value.text, value.source] for name, value in values.items()]
    facts = {
        name: {"value": value.text, "source": value.source, "meaning": KNOWN[name].meaning}
        for name, value in values.items()
    }
    title = f"Settings in {settings.environment}" if settings.environment else "Settings"
    Terminal(output).answer(facts, [render_table(title, ("setting", "value", "set by"), rows)])


def _start(context: typer.Context, devices: int, terminal: Terminal) -> list[str]:
    settings = load(context)
    for name in ("hub.host", "hub.connection_string", "registry.host", "ledger.url"):
        source = settings.values[name].source
        if settings[name] and source != "default" and not source.startswith("this machine"):
            raise UsageError(
                f"{name} is set by {source}, so this is no sandbox of this machine",
                fix="unset it for up and demo; nothing was started, and what it names was not touched",
            )
    with (
        showing(context, settings),
        locked(settings.state / sandbox.UP_LOCK),
        sandbox.taking_back(settings.state, terminal.say),
    ):
        started = sandbox.start_servers(settings.state, _engine_wish(settings), terminal.say)
        settings = load(context)
        with open_hub(settings, terminal.say) as hub:
            device_class = settings["device.class"]
            return sandbox.start_devices(
                started,
                hub,
                devices,
                lambda name: enrol_device(hub, name, device_class, {}, may_exist=True).identity,
                terminal.say,
            )


def _engine_wish(settings: Settings) -> str:
    """An engine that a person chose; the one `up` recorded earlier is found again, or started again."""
    chosen = settings.values["engine.url"]
    return "" if chosen.source.startswith("this machine") else chosen.text


def _use(services: Services, device: str, model: str) -> tuple[int, int]:
    """(requests sent to the model on that device, how many more records the device then has)."""
    definition = services.project.load_model(model)
    version = services.tracking.find_version(definition.registered_model)
    ports = fetch_host_ports(services, device, model)
    port = ports.get(f"{SCORE_PORT}/tcp")
    if version is None or port is None:
        return 0, 0
    rows = load_held_out(services, definition, version).rows[:_REQUESTS]
    before = fetch_counts(services, device, model).user
    answers = send_rows(f"http://127.0.0.1:{port}", rows, clients=4)
    return len(answers), fetch_counts(services, device, model).user - before


def _journey_tables(journey: Journey, stages: Sequence[Stage], total_s: float) -> list[Any]:
    rows = [
        [
            arrival.device,
            arrival.model,
            arrival.state,
            short(arrival.digest),
            arrival.verdict,
            f"{arrival.latency_ms:.1f}",
            f"{arrival.captured}/{arrival.sent}",
        ]
        for arrival in journey.arrivals
    ]
    columns = ("device", "model", "state", "digest", "verdict", "ms", "captured")
    seconds: dict[tuple[str, str], tuple[str, float]] = {}
    for stage in stages:
        model = stage.detail.partition(":")[0] if stage.name not in ("up", "move") else ""
        before = seconds.get((stage.name, model), ("", 0.0))[1]
        seconds[stage.name, model] = (stage.state, before + stage.seconds)
    times = [[name, model, state, f"{s:.1f}"] for (name, model), (state, s) in seconds.items()]
    times.append(["total", "", "", f"{total_s:.1f}"])
    further = []
    if journey.ok:
        model, device = journey.arrivals[0].model, journey.arrivals[0].device
        further = [
            "Look further, in the project's folder (. .venv/bin/activate; cd examples/taxi):",
            f"  edgeferry status\n  edgeferry smoke run {model}\n"
            f"  edgeferry captures {model} --device {device}",
            f"  edgeferry logs {model} --device {device}\n  edgeferry devices tag {device} models.{model}=",
        ]
    return [
        render_table("Stages", ("stage", "model", "state", "seconds"), times),
        render_table("Devices", columns, rows),
        *further,
    ]
