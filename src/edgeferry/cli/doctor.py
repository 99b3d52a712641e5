"""Command `doctor`: what is missing or wrong before a model can take its road, each with what mends it."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from edgeferry import __version__
from edgeferry.cli.console import Output, Terminal, counted, finish
from edgeferry.cli.project import OutputOption, load, read_fleet
from edgeferry.cli.rules import read_gate
from edgeferry.domain.diagnosis import Diagnosis, Grade, diagnose, is_healthy
from edgeferry.domain.image import name_architecture
from edgeferry.domain.machine import Needs
from edgeferry.domain.rollout_policy import POLICY_SETTINGS
from edgeferry.errors import UsageError
from edgeferry.settings import Settings
from edgeferry.settings_table import KEY_REFERENCE, REFERENCE
from edgeferry.wiring import open_machine, open_services
from edgeferry.workflows.doctor import Area, Setup, examine

_COLOURS: dict[Grade, str] = {"fine": "green", "note": "cyan", "warning": "yellow", "blocker": "red"}
_UP = "edgeferry up, for servers on this machine; or choose an environment with --env"


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    only: Annotated[
        list[Area] | None,
        typer.Option("--only", help="Look at this alone; again for another. Default: everything."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Leave out what is fine.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look at everything that a model's road needs: this machine and its engine, the project's files and
    settings, hub, registry, ledger and tracking with your rights there, clocks, quotas, and the environment's
    devices. Nothing is changed. Each thing that is wrong comes with what mends it. Exit code 1 when
    something stands in the way.

    For example: edgeferry doctor --env prod
    """
    terminal = Terminal(output)
    found = list(_examine(context, tuple(only or Area), terminal))
    shown = [each for each in found if not quiet or each.grade != "fine"]
    terminal.answer(doctor_facts(found), [_table(shown)] if shown else [])
    grades = Counter(each.grade for each in found)
    problem = f"{counted(grades['blocker'], 'blocker')}, {counted(grades['warning'], 'warning')}"
    finish(is_healthy(found), problem, "each line above names its own; then edgeferry doctor again")


def doctor_facts(found: list[Diagnosis]) -> dict[str, Any]:
    """What was found, as JSON."""
    return {
        "ok": is_healthy(found),
        "blockers": sum(each.grade == "blocker" for each in found),
        "warnings": sum(each.grade == "warning" for each in found),
        "checks": [
            {"check": each.check, "grade": each.grade, "seen": each.seen, "fix": each.fix} for each in found
        ],
    }


def _examine(context: typer.Context, areas: Sequence[Area], terminal: Terminal) -> Iterator[Diagnosis]:
    try:
        settings = load(context)
    except UsageError as error:
        yield diagnose("settings", error)
        return
    terminal.say(f"looking at {', '.join(areas)}")
    with open_services(settings, terminal.say) as services:
        yield from examine(services, open_machine(settings), _read_setup(settings), areas)


def _read_setup(settings: Settings) -> Setup:
    trusted = Path(settings["ledger.trusted_keys"])
    architecture = settings["images.architecture"]
    return Setup(
        needs=_read_needs(settings),
        fleet=lambda: read_fleet(settings),
        gate=lambda: read_gate(settings),
        rollout={name: settings[name] for name in POLICY_SETTINGS},
        version=__version__,
        architecture=architecture or name_architecture(platform.machine()),
        trusted_folder=str(trusted),
        trusts_new=trusted == settings.state / "trust",
        unset={name: _UP for name, given in _addresses(settings).items() if not given},
        here=tuple(file.parent.name for file in settings.state.glob("devices/*/device.json")),
    )


def _addresses(settings: Settings) -> dict[str, str]:
    """What says where each server is."""
    hub = settings["hub.host"] or settings["hub.connection_string"]
    return {"hub.host": hub, "registry.host": settings["registry.host"], "ledger.url": settings["ledger.url"]}


def _read_needs(settings: Settings) -> Needs:
    """Programs and libraries that these settings make necessary."""
    local = not all(_addresses(settings).values())
    extras = [("uv", "train"), ("mlflow", "train"), ("sqlalchemy", "train")]
    if local:
        extras.append(("starlette", "sandbox"))
    if settings["train.place"] == "azureml":
        extras.append(("azure.ai.ml", "azure"))
    if _signs_in_at_azure(settings):
        extras.append(("azure.identity", "azure"))
    return Needs(("git", "mmdebstrap", *(("docker-registry",) if local else ())), tuple(extras))


def _signs_in_at_azure(settings: Settings) -> bool:
    referring = any(value.text.startswith((REFERENCE, KEY_REFERENCE)) for value in settings.values.values())
    by_entra = bool(settings["hub.host"]) and not settings["hub.connection_string"]
    return referring or by_entra or settings["train.place"] == "azureml"


def _table(found: list[Diagnosis]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in found:
        fix = f"\n[green]fix[/green]: {escape(each.fix)}" if each.fix else ""
        colour = _COLOURS[each.grade]
        table.add_row(f"[{colour}]{each.grade}[/{colour}]", each.check, escape(each.seen) + fix)
    return table
