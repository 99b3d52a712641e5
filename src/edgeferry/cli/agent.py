"""Commands `agent …`: this machine as a device; no project and no hub of one's own needed."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli import agent_enrol, agent_look
from edgeferry.cli.agent_service import (
    SYSTEMD,
    UNITS,
    call_systemctl,
    fetch_image,
    has_systemd,
    remove_containers,
    remove_unit,
    render_unit,
    run_container,
    unit_is_active,
    write_unit,
)
from edgeferry.cli.agent_state import StateOption, find_state, layers_here, load_here, was_decommissioned
from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, Terminal
from edgeferry.cli.names import near
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import OutputOption, opened, read_fleet
from edgeferry.device.agent_container import NAME, render_agent, render_command
from edgeferry.device.state import Store
from edgeferry.errors import EngineError, UsageError
from edgeferry.surroundings import child_environment
from edgeferry.wire.systemd import UNIT

agent = typer.Typer(
    no_args_is_help=True,
    help="This machine as a device: its agent runs what the hub desires.\n\n"
    "Once enrolled: [bold]sudo edgeferry agent install[/bold], then [bold]edgeferry agent status[/bold].",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    agent_look.register(agent)
    agent_enrol.register(agent)
    app.add_typer(agent, name="agent")


@agent.command()
def run(
    state: StateOption = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Make containers of this device anew that the agent of another folder made."
        ),
    ] = False,
) -> None:
    """Run the agent here, in the foreground, until Ctrl-C; modules go on without it.
    E.g. edgeferry agent run --state ./press-1"""
    folder = find_state(state)
    if not was_decommissioned(folder):  # then it has an end to finish, and says so
        load_here(folder)
    command = [sys.executable, "-m", "edgeferry.device", "--state", str(folder)]
    command += ["--take-over"] if take_over else []
    os.execve(command[0], command, child_environment())


@agent.command()
def install(
    state: StateOption = None,
    image: Annotated[
        str, typer.Option(help="Run it as a container of this image, which can update itself.")
    ] = "",
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now, and at each boot.")] = True,
    unit_dir: Annotated[
        Path | None,
        typer.Option(
            "--unit-dir", exists=True, file_okay=False, help="Only write the unit, into this folder."
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--print", help="Change nothing: print the unit, or the docker run.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Install the agent as a service that is always there: a unit of systemd, or a container. Again is fine:
    what is as it should be stays.
    E.g. sudo edgeferry agent install, or as a container: sudo edgeferry agent install --image REFERENCE"""
    folder, terminal = find_state(state), Terminal(output)
    if image and not start:
        raise UsageError("a container is started when it is made", fix="leave --no-start or --image out")
    if image:
        _install_container(folder, image, show, terminal)
        return
    text = render_unit(folder)
    if show:
        print(text, end="")
        return
    if unit_dir is not None:
        changed = write_unit(unit_dir, text)
        path = unit_dir / UNIT
        terminal.answer(
            {"form": "unit", "unit": str(path), "changed": changed, "started": False},
            [f"{'wrote' if changed else 'unchanged:'} {path}"],
        )
        if unit_dir.resolve() != UNITS:
            terminal.say(f"to use it: sudo cp {path} {UNITS}/")
        terminal.say(f"then: sudo systemctl daemon-reload && sudo systemctl enable --now {UNIT}")
        return
    _install_unit(folder, text, start, terminal)


def _install_unit(folder: Path, text: str, start: bool, terminal: Terminal) -> None:
    if not has_systemd():
        raise UsageError(
            f"systemd does not run here (no {SYSTEMD}); nothing was changed",
            fix="edgeferry agent install --image REF for a container, --print or --unit-dir for the unit, "
            "or edgeferry agent run under a supervisor of yours",
        )
    load_here(folder)
    changed = write_unit(UNITS, text)
    replaced = _remove_containers(folder, terminal)
    runs = unit_is_active()
    if changed:
        call_systemctl("daemon-reload")
    if start:
        call_systemctl("enable", UNIT)
        if changed or not runs:
            call_systemctl("restart" if runs else "start", UNIT)
    facts = {
        "form": "unit",
        "unit": str(UNITS / UNIT),
        "changed": changed,
        "started": start and (changed or not runs),
        "replaced": list(replaced),
    }
    lines = [f"{'wrote' if changed else 'unchanged:'} {UNITS / UNIT}"]
    lines += [f"removed the container {name}" for name in replaced]
    if facts["started"]:
        lines.append(f"{'restarted' if runs else 'started'} {UNIT}")
    terminal.answer(facts, lines)
    terminal.say("edgeferry agent status" if start else f"to start it: sudo systemctl enable --now {UNIT}")


def _install_container(folder: Path, image: str, show: bool, terminal: Terminal) -> None:
    if show:
        enrolment = load_here(folder)
        body = render_agent(image, folder, uuid.uuid4().hex, enrolment.engine, enrolment.hub_ca_file)
        print(render_command(NAME, body))
        return
    load_here(folder)
    fetch_image(folder, image)  # before the agent that runs is gone
    replaced = remove_unit()
    name, changed = run_container(folder, image)
    facts = {"form": "container", "container": name, "image": image, "changed": changed, "replaced": replaced}
    lines = [f"{'started' if changed else 'unchanged:'} container {name}, {image}"]
    terminal.answer(facts, [*([f"removed the unit {UNIT}"] if replaced else []), *lines])
    terminal.say("edgeferry agent status")


@agent.command()
def uninstall(
    state: StateOption = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Its modules, their network and volumes too.")] = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take the agent off this machine; its modules go on running unless --wipe. The state folder stays.
    E.g. sudo edgeferry agent uninstall"""
    folder, terminal = find_state(state), Terminal(output)
    enrolled = (folder / "device.json").exists()
    if wipe:
        device = load_here(folder).device
        confirm(f"Remove all modules of {device}, with their volumes?", yes)
    removed = [UNIT] if remove_unit() else []
    removed += _remove_containers(folder, terminal) if enrolled else []
    if wipe:
        from edgeferry.device.__main__ import main as wipe_device

        code = wipe_device(["--state", str(folder), "--wipe"])
        if code:
            raise typer.Exit(code)
    lines = [f"removed {name}" for name in removed] or [f"no agent of {folder} was installed"]
    terminal.answer(
        {"removed": removed, "wiped": wipe},
        [*lines, *(["removed its modules, their network and volumes"] if wipe else [])],
    )


def _remove_containers(folder: Path, terminal: Terminal) -> Sequence[str]:
    """Names of the agents' containers that are gone; where no engine answers there is nothing to be done."""
    try:
        return remove_containers(folder)
    except EngineError as error:
        terminal.say(f"{error.problem}: were there a container of the agent, it would stay")
        return ()


@agent.command()
def retry(
    layer: Annotated[str, typer.Argument(help="A layer in quarantine.", autocompletion=layers_here)],
    state: StateOption = None,
) -> None:
    """Let the agent try a layer again that it had given up, with the same content.
    E.g. edgeferry agent retry nyc_taxi"""
    folder, terminal = find_state(state), Terminal(Output.TABLE)
    load_here(folder)
    store = Store(folder)
    known: dict[str, Any] = store.load_status().get("layers") or {}
    if known and layer not in known:
        raise UsageError(f"this device has no layer {layer!r}", fix=near(layer, known))
    try:
        store.ask_retry(layer)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", fix=f"sudo edgeferry agent retry {layer}"
        ) from error
    when = "within seconds" if store.is_held() else "when it runs again: edgeferry agent status"
    terminal.say(f"asked; the agent tries {layer} again {when}")


@agent.command("image")
def make_image(
    context: typer.Context,
    push: Annotated[
        bool, typer.Option("--push", help="Into the project's registry, once it starts.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Assemble the agent's own image and print its digest, or with --push its reference in the registry.
    E.g. edgeferry agent install --image "$(edgeferry agent image --push)" """
    from edgeferry.domain.model import DEVICE_AGENT
    from edgeferry.workflows.programs import carry_program

    with opened(context, output) as (settings, services, terminal):
        if push:
            made, _, uploaded = carry_program(services, DEVICE_AGENT, read_fleet(settings).limits)
            reference = services.registry.reference(made.name, made.digest)
            terminal.say(f"{uploaded / 1e6:.1f} MB uploaded")
        else:
            made, reference = services.images.assemble_agent(), ""
        facts = {"digest": made.digest, "reference": reference, "size_bytes": made.size_bytes}
        if output is Output.JSON:
            terminal.answer(facts)
        else:
            with PROGRESS.quiet():
                print(reference or made.digest)
