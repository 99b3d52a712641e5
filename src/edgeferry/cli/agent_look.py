"""Commands `agent status|logs|history`: what the agent of this machine does and did."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.agent_service import connected, find_containers, find_installed
from edgeferry.cli.agent_state import StateOption, find_state, load_here, modules_here
from edgeferry.cli.console import Output, Terminal, finish, render_table
from edgeferry.cli.log_file import print_log
from edgeferry.cli.names import near
from edgeferry.cli.project import OutputOption
from edgeferry.device.containers import MODULE_LABEL, Place
from edgeferry.device.memory import read_history
from edgeferry.device.state import Enrolment, Store
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EngineError, UsageError
from edgeferry.wire.systemd import UNIT

_SHOWN = 20
ANSWERS = "answers"
"""What is said of an engine that does."""

Json = dict[str, Any]


def register(agent: typer.Typer) -> None:
    """Adds the commands to `agent`."""
    agent.command("status")(status)
    agent.command("logs")(logs)
    agent.command("history")(history)


def status(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """What the agent of this machine does: hub, layers, modules, pulls. Exit 1 when it does not run, or the
    device is not as desired.
    E.g. edgeferry agent status --output json | jq .modules"""
    folder, terminal = find_state(state), Terminal(output)
    facts = _look(folder, load_here(folder))
    terminal.answer(facts, _render(facts))
    code, why = facts["status"].get("code", 0), facts["status"].get("description", "")
    runs = facts["agent"]["runs"]
    where = f" --state {state}" if state else ""
    install = f"sudo edgeferry agent install{where}, or edgeferry agent run{where}"
    finish(runs, f"no agent runs for {folder}", install)
    back = [name for name, one in facts["layers"].items() if one.get("outcome") == "RolledBack"]
    fix = f"edgeferry agent logs{where}"
    fix += f"; once the cause is gone: edgeferry agent retry {back[0]}{where}" if back else ""
    finish(code == 200, f"the device is not as desired: {code} {why}".strip(), fix)


def _look(folder: Path, enrolment: Enrolment) -> Json:
    store = Store(folder)
    try:
        said, runs = store.load_status(), store.is_held()
    except PermissionError as error:
        raise UsageError(
            f"{error.filename} cannot be read: {error.strerror}", fix="sudo edgeferry agent status"
        ) from error
    found = find_installed(folder)
    engine, containers = _see_containers(enrolment)
    modules: dict[str, Json] = {name: dict(one) for name, one in (said.get("modules") or {}).items()}
    for name, facts in containers.items():
        modules.setdefault(name, {"image": facts.image})["container"] = facts.status
        modules[name].setdefault("health", facts.health)
    return {
        "device": enrolment.device,
        "hub": enrolment.connection.host_name,
        "state": str(folder),
        "engine": engine,
        "agent": {
            "runs": runs,
            "form": found.form,
            "where": found.where,
            "pid": said.get("pid") if runs else None,
            "version": said.get("version", ""),
        },
        "connected": bool(runs and said.get("connected")),
        "at": said.get("at", ""),
        "desired_version": said.get("desired_version", 0),
        "status": said.get("status") or {},
        "layers": said.get("layers") or {},
        "modules": modules,
        "pulls": said.get("pulls") or {},
    }


def _see_containers(enrolment: Enrolment) -> tuple[str, Mapping[str, ContainerFacts]]:
    """(what the engine says, the device's containers by module)."""
    engine = Engine(enrolment.engine)
    try:
        found = engine.containers(Place(enrolment.sandbox, enrolment.device, "", "").labels)
        return ANSWERS, {facts.labels.get(MODULE_LABEL, ""): facts for facts in found}
    except EngineError as error:
        return error.problem, {}
    finally:
        engine.close()


def _render(facts: Json) -> list[Any]:
    agent = facts["agent"]
    how = {"unit": f", unit {UNIT}", "container": f", container {agent['where']}"}.get(agent["form"], "")
    runs = f"runs{how}" if agent["runs"] else f"does not run{how}"
    code = facts["status"].get("code", "")
    lines = {
        "device": facts["device"],
        "hub": f"{facts['hub']}, {'connected' if facts['connected'] else 'not connected'}",
        "agent": f"{runs}{', ' + agent['version'] if agent['version'] else ''}",
        "engine": facts["engine"],
        "desired": facts["desired_version"] or "",
        "status": f"{code} {facts['status'].get('description', '')}".strip(),
        "as of": facts["at"],
    }
    tables: list[Any] = ["\n".join(f"{key:<8} {value}" for key, value in lines.items() if value != "")]
    if facts["layers"]:
        rows = [
            [name, str(one.get("outcome", "")), str(one.get("reason", ""))]
            for name, one in facts["layers"].items()
        ]
        tables.append(render_table("Layers", ("layer", "outcome", "reason"), rows))
    if facts["modules"]:
        rows = [
            [
                name,
                str(one.get("runtimeStatus") or one.get("container", "")),
                str(one.get("health", "")),
                str(one.get("image", "")),
            ]
            for name, one in sorted(facts["modules"].items())
        ]
        tables.append(render_table("Modules", ("module", "state", "health", "image"), rows))
    if facts["pulls"]:
        rows = [[image, str(text)] for image, text in facts["pulls"].items()]
        tables.append(render_table("Pulls", ("image", "progress"), rows))
    return tables


def logs(
    module: Annotated[
        str, typer.Argument(help="A module; default: the agent.", autocompletion=modules_here)
    ] = "",
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="How many of the newest lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And what comes, until Ctrl-C.")] = False,
    state: StateOption = None,
) -> None:
    """What the agent logged, or what a module wrote.
    E.g. edgeferry agent logs --follow; edgeferry agent logs nyc_taxi --tail 20"""
    folder = find_state(state)
    if module:
        enrolment = load_here(folder)
        answered, containers = _see_containers(enrolment)
        if answered != ANSWERS:
            raise EngineError(answered, fix="start the engine, or correct its address in device.json")
        if module not in containers:
            fix = near(module, containers) if containers else "no module is there: edgeferry agent status"
            raise UsageError(f"this device has no module {module!r}", fix=fix)
        _print_container(enrolment.engine, containers[module].id, tail, follow)
        return
    found = find_installed(folder)
    if found.form == "unit":
        command = ["journalctl", "--unit", UNIT, "--lines", str(tail), *(["--follow"] if follow else [])]
        try:
            os.execvp(command[0], command)
        except OSError as error:
            raise UsageError(f"journalctl does not start: {error.strerror}", fix="install systemd") from error
    if found.form == "container":
        with connected(folder) as (engine, enrolment):
            running = find_containers(engine, folder)[0].id
        _print_container(enrolment.engine, running, tail, follow)
        return
    print_log(_find_log(folder), tail, follow=follow)


def _print_container(engine_url: str, container: str, tail: int, follow: bool) -> None:
    engine = Engine(engine_url)
    with contextlib.closing(engine):
        for piece in engine.follow_log(container, tail, follow=follow):
            print(piece, end="", flush=True)


def _find_log(folder: Path) -> Path:
    """The log of an agent that somebody started in the background."""
    for path in (folder / "log", folder.parent.parent / "logs" / f"{folder.name}.log"):
        if path.is_file():
            return path
    raise UsageError(
        f"no log of an agent is known for {folder}",
        fix="an agent in the foreground logs where it runs; for one that is always there: "
        "sudo edgeferry agent install",
    )


def history(
    top: Annotated[int, typer.Option(min=1, help="At most so many.")] = _SHOWN,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What the agent applied, the newest first: when, which layer, what came of it.
    E.g. edgeferry agent history --top 5"""
    folder, terminal = find_state(state), Terminal(output)
    load_here(folder)
    applies = read_history(Store(folder))[:top]
    rows = [
        [
            str(one.get("at", "")),
            str(one.get("version", "")),
            ", ".join(one.get("layers") or ()),
            str(one.get("outcome", "")),
            str(one.get("reason", "")),
        ]
        for one in applies
    ]
    columns = ("at", "version", "layers", "outcome", "reason")
    table = render_table("Applies", columns, rows)
    terminal.answer(applies, [table if rows else "nothing was applied here yet"])
