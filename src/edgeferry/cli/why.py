"""Command `devices why`: which deployment gave a device each of its modules, and why others did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from edgeferry.cli.completing import complete_devices
from edgeferry.cli.console import Output, render_table
from edgeferry.cli.names import read_device
from edgeferry.cli.project import OutputOption, opened_anywhere
from edgeferry.domain.explanation import (
    Absence,
    Drift,
    Explanation,
    Loser,
    Reason,
    Share,
    explain,
    find_drift,
)
from edgeferry.domain.failing import Part
from edgeferry.domain.layering import Deployment
from edgeferry.domain.value import UNDEFINED
from edgeferry.errors import ConditionError
from edgeferry.ports import Hub, Json
from edgeferry.wire.configuration import parse_deployment


def register(devices: typer.Typer) -> None:
    """Adds the command to `devices`."""
    devices.command("why")(why)


def why(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="The device.", autocompletion=complete_devices)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Why a device has what it has: for each module and path the deployment that gave it and those that lost
    there; for every other deployment the part of its condition that is not true of the device.
    E.g. edgeferry devices why press-1"""
    with opened_anywhere(context, output) as (_, services, terminal):
        twin = read_device(services.hub, device)
        deployments, unread = _read_deployments(services.hub)
        found = explain(deployments, twin)
        modules = [str(one["moduleId"]) for one in services.hub.modules(device)]
        twins = {name: services.hub.module_twin(device, name) or {} for name in modules}
        is_edge = bool((twin.get("capabilities") or {}).get("iotEdge"))
        drifts = find_drift(found.desired, twins) if is_edge else ()
        facts = {
            "device": device,
            "base": found.base.id if found.base else None,
            "given": [_share_facts(each) for each in found.shares] if is_edge else [],
            "not_given": [_absence_facts(each) for each in found.absences],
            "unread": [{"deployment": name, "problem": problem} for name, problem in unread],
            "refused": found.fault,
            "drift": [vars(each) for each in drifts],
        }
        if not is_edge:
            line = f"{device} is not an edge device: no deployment applies to it"
            terminal.answer({**facts, "note": line}, [line])
            return
        terminal.answer(facts, _render(device, found, unread, drifts))


def _read_deployments(hub: Hub) -> tuple[list[Deployment], list[tuple[str, str]]]:
    """The deployments, and those whose condition we cannot read, with the reason."""
    deployments, unread = [], []
    for configuration in hub.configurations():
        try:
            deployment = parse_deployment(configuration)
        except ConditionError as error:
            unread.append((str(configuration["id"]), error.problem))
            continue
        if deployment is not None:
            deployments.append(deployment)
    return deployments, unread


def _render(
    device: str, found: Explanation, unread: Sequence[tuple[str, str]], drifts: Sequence[Drift]
) -> list[Any]:
    head = f"{device} has no base deployment: nothing is given to it, and its modules stay as they are"
    if found.base:
        head = f"{device} stands on the base deployment {_name(found.base)}"
    answer: list[Any] = [head]
    if found.fault:
        answer.append(f"the hub cannot give it all of this, and it keeps what it had: {found.fault}")
    if found.shares:
        rows = [
            [
                each.module,
                each.path,
                f"{each.giver.id} (takes it away)" if each.removes else each.giver.id,
                str(each.giver.priority),
                each.giver.condition.text,
                "; ".join(map(_lost, each.losers)),
            ]
            for each in found.shares
        ]
        answer.append(
            render_table(
                "What it has", ("module", "path", "given by", "priority", "condition", "lost here"), rows
            )
        )
    if found.absences:
        rows = [
            [one.deployment.id, str(one.deployment.priority), one.deployment.condition.text, describe(one)]
            for one in found.absences
        ]
        answer.append(
            render_table("What gives it nothing", ("deployment", "priority", "condition", "why not"), rows)
        )
    answer += [f"{name}: its condition cannot be read here: {problem}" for name, problem in unread]
    if drifts:
        rows = [[each.module, each.path, _value(each.expected), _value(each.actual)] for each in drifts]
        title = "Where the twin differs (Azure evaluates every five minutes)"
        answer.append(render_table(title, ("module", "path", "by deployments", "in the twin"), rows))
    return answer


def describe(absence: Absence) -> str:
    """Why the deployment gives the device nothing, in a sentence."""
    by = ", ".join(map(_name, absence.by))
    match absence.reason:
        case Reason.NOT_TARGETED if not absence.deployment.condition.text.strip():
            return "not targeted: an empty condition selects no device"
        case Reason.NOT_TARGETED:
            return "; ".join(map(describe_part, absence.parts))
        case Reason.NO_BASE:
            return "a layer without a base: no base deployment targets the device"
        case Reason.OTHER_BASE:
            return f"another base ranks higher: {by}"
        case Reason.BELOW_BASE:
            return f"a layer below the base: it must rank above {by}"
        case Reason.REPLACED:
            return f"all that it sets is replaced by {by}"
    names = ", ".join(sorted(absence.deployment.modules))
    return f"the device has no module {names}"


def describe_part(part: Part) -> str:
    """Which part of a condition is not true, and what the device has there."""
    values = [f"{path} is {_value(value)}" for path, value in part.found.items()]
    values += [f"{path} is not there" for path in part.missing]
    return f"{part.text} is {_truth(part)}" + (f": {', '.join(values)}" if values else "")


def _truth(part: Part) -> str:
    if part.value is False:
        return "false"
    return "undefined" if part.value is UNDEFINED else "no truth value"


def _lost(loser: Loser) -> str:
    return f"{_name(loser.deployment)}: {loser.reason.value}"


def _name(deployment: Deployment) -> str:
    return f"{deployment.id} (priority {deployment.priority})"


def _value(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _share_facts(share: Share) -> Json:
    return {
        "module": share.module,
        "path": share.path,
        "deployment": share.giver.id,
        "priority": share.giver.priority,
        "condition": share.giver.condition.text,
        "removes": share.removes,
        "lost": [
            {"deployment": one.deployment.id, "priority": one.deployment.priority, "reason": one.reason.value}
            for one in share.losers
        ],
    }


def _absence_facts(absence: Absence) -> Json:
    return {
        "deployment": absence.deployment.id,
        "priority": absence.deployment.priority,
        "condition": absence.deployment.condition.text,
        "reason": absence.reason.value,
        "why": describe(absence),
        "by": [one.id for one in absence.by],
        "parts": [
            {
                "text": part.text,
                "truth": _truth(part),
                "found": dict(part.found),
                "missing": list(part.missing),
            }
            for part in absence.parts
        ],
    }
