"""`edgeferry sim`: devices by the hundred that are none, to try a rollout on before it meets real ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, counted, render_table, short
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, opened
from edgeferry.device.hollow import HollowFleet
from edgeferry.domain.hollow_device import Hollow, is_up
from edgeferry.domain.tags import parse_tags
from edgeferry.wiring_hollows import make_hollows, read_sim_faults
from edgeferry.workflows.hollows import enrol_hollows, name_hollows, retire_hollows

_TOLD = 20
"""Of so many devices, everything that they do is told."""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(sim)


def sim(
    context: typer.Context,
    devices: Annotated[int, typer.Option("--devices", min=1, max=5000, help="How many devices.")] = 10,
    faults: Annotated[
        Path | None,
        typer.Option("--faults", help="What goes wrong: a YAML file, see docs/sim.md.", exists=True),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="What chance follows from.")] = 1,
    prefix: Annotated[str, typer.Option("--prefix", help="What the devices' names begin with.")] = "hollow",
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", metavar="KEY=VALUE", help="A tag of all of them; of VALUE a|b, one or the other in turn."
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.1, max=100, help="How much faster their time passes.")
    ] = 1.0,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="For how long; 0: until Ctrl-C.")] = 0.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave their identities at the hub.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run hollow devices in this process: at the hub they are like ours, with an agent and a companion, but
    pulls and modules are only pretended. The same seed and faults give the same. Another terminal rolls out.

    E.g. edgeferry sim --devices 200 --tag models.nyc_taxi=true --tag 'site=north|south' --faults f.yaml"""
    wrong = read_sim_faults(faults) if faults else ()
    tags = parse_tags(tag or [])
    with opened(context, output) as (settings, services, terminal):
        names = name_hollows(prefix, devices)
        with PROGRESS.work(f"enrol {counted(devices, 'hollow device')}"):
            twins = enrol_hollows(services.hub, names, settings["device.class"], tags)

        def tell(device: str, what: str) -> None:
            if devices <= _TOLD:
                terminal.say(f"{device}: {what}")

        fleet = make_hollows(settings, services, twins, wrong, seed, speed, tell)
        terminal.say(f"{counted(devices, 'hollow device')} at {services.hub.host}; Ctrl-C ends them")
        try:
            with PROGRESS.work(counted(devices, "hollow device"), lasts_s=seconds):
                asyncio.run(_run(fleet, seconds))
        except KeyboardInterrupt:
            pass
        finally:
            if not keep:
                with PROGRESS.work(f"retire {counted(devices, 'hollow device')}"):
                    retire_hollows(services.hub, names)
        facts = [
            _facts(fleet.devices[name].hollow, fleet.clock.now()) for name in names if name in fleet.devices
        ]
        terminal.answer(facts, [_table(facts)])


async def _run(fleet: HollowFleet, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds or None):
            await fleet.live()
    except TimeoutError:
        pass


def _facts(hollow: Hollow, now_s: float) -> dict[str, Any]:
    """What a hollow device has come to."""
    return {
        "device": hollow.device,
        "desired_version": hollow.done_version,
        "faults": [fault.kind for fault in hollow.faults],
        "modules": {
            name: {
                "digest": runs.spec.image.partition("@")[2],
                "up": is_up(hollow, name, now_s),
                "verdict": hollow.verdicts[name].state if name in hollow.verdicts else None,
            }
            for name, runs in hollow.running.items()
        },
    }


def _table(facts: list[dict[str, Any]]) -> Any:
    counts = Counter(
        (name, short(module["digest"]), "up" if module["up"] else "down", module["verdict"] or "")
        for device in facts
        for name, module in device["modules"].items()
    )
    rows = [[*key, str(count)] for key, count in sorted(counts.items())]
    return render_table("What ran", ("module", "digest", "state", "verdict", "devices"), rows)
