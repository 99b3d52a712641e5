"""Commands `deployments create|update|list|show|delete`: deployments by hand, on Azure's hub or ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import typer

from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, Terminal, render_table
from edgeferry.cli.names import read_deployment
from edgeferry.cli.project import OutputOption, opened_anywhere, parse_pairs
from edgeferry.cli.twins import read_json
from edgeferry.domain.condition import join_conditions, parse_condition
from edgeferry.domain.deployment_check import RESERVED, find_unrunnable, find_warnings
from edgeferry.domain.layering import Deployment, find_content_fault, is_base
from edgeferry.domain.query import parse_query
from edgeferry.errors import ConditionError, HubError, UsageError
from edgeferry.ports import Hub, Json, Services
from edgeferry.wire.configuration import Progress, parse_deployment, parse_manifest, parse_progress
from edgeferry.wire.deployment import render_configuration
from edgeferry.workflows.aim import advise_condition

_NAME = re.compile(r"[a-z0-9\-:+%_#*?!(),=@;']{1,128}")
_EDGE = "capabilities.iotEdge = true"
_METRICS = 5


def register(deployments: typer.Typer) -> None:
    """Adds the commands to `deployments`."""
    deployments.command("create")(create)
    deployments.command("update")(update)
    deployments.command("list")(list_all)
    deployments.command("show")(show)
    deployments.command("delete")(delete)


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and '-'.")],
    modules: Annotated[
        str, typer.Option(metavar="FILE|-", help="The manifest: JSON with modulesContent; - reads stdin.")
    ],
    condition: Annotated[
        str, typer.Option("--condition", "-c", help="Which devices, e.g. tags.site = 'berlin'; * for all.")
    ],
    priority: Annotated[int, typer.Option(min=0, help="The higher one wins; a layer's is above its base's.")],
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, for people and tools.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="NAME=SELECT …: how many rows, for show and the portal.")
    ] = None,
    validation: Annotated[bool, typer.Option(help="Refuse what a device's agent would refuse.")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a base deployment or a layer from a manifest file, checked before the hub sees it.
    E.g. edgeferry deployments create debug --modules debug.json -c "tags.site = 'berlin'" --priority 2000"""
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        _check_name(name)
        document = read_json(modules)
        content = parse_manifest(document)
        if fault := find_content_fault(content):
            raise UsageError(f"{modules}: {fault}", fix="write keys as properties.desired.…")
        if validation and (faults := list(find_unrunnable(content))):
            raise UsageError(
                f"{modules}: no device can run this: {'; '.join(faults)}",
                fix="mend the manifest, or give --no-validation",
            )
        parsed = Deployment(name, priority, "9999", parse_condition(condition), content)
        queries = {**_queries(document), **parse_pairs(metric, "the metric")}
        _check_queries(queries)
        labels = _labels(label)
        selected, edge_devices, warnings = _warn(services, parsed, terminal)
        try:
            made = hub.create_configuration(
                render_configuration(name, content, condition, priority, labels, queries)
            )
        except HubError as error:
            if error.status != 409:
                raise
            raise UsageError(
                f"there is a deployment {name} already; its content cannot be changed",
                fix=f"edgeferry deployments update {name} changes priority, condition and labels; for other "
                f"content choose another name, or edgeferry deployments delete {name} first",
            ) from error
        kind = "base" if is_base(content) else "layer"
        facts = {**_facts(made, None), "selected": selected, "warnings": warnings}
        terminal.answer(
            facts,
            [f"created the {kind} {name}, priority {priority}: {selected} of {edge_devices} edge devices"],
        )


def update(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The deployment.")],
    condition: Annotated[
        str | None, typer.Option("--condition", "-c", help="Which devices; default: as it is.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, help="The higher one wins; default: as it is.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, beside the labels it has.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a deployment's condition, priority or labels; what it gives cannot be changed.
    E.g. edgeferry deployments update debug --priority 7"""
    labels = _labels(label)
    if condition is None and priority is None and not labels:
        raise UsageError("nothing is to change", fix="give --condition, --priority or --label")
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        found = read_deployment(hub, name)
        before = parse_deployment(found)
        if before is None or "edgeferry" in (found.get("labels") or {}):
            raise UsageError(f"{name} is not a deployment made by hand", fix="only its rollout changes it")
        chosen = before.condition if condition is None else parse_condition(condition)
        after = replace(before, condition=chosen, priority=before.priority if priority is None else priority)
        selected, edge_devices, warnings = _warn(services, after, terminal)
        changes = {
            "targetCondition": after.condition.text,
            "priority": after.priority,
            "labels": {**(found.get("labels") or {}), **labels},
        }
        made = hub.update_configuration({**found, **changes})
        terminal.answer(
            {**_facts(made, None), "selected": selected, "warnings": warnings},
            [f"updated {name}, priority {after.priority}: {selected} of {edge_devices} edge devices"],
        )


def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """All deployments on the hub, highest priority first, with how far each has come.
    E.g. edgeferry deployments list --output json"""
    with opened_anywhere(context, output) as (_, services, terminal):
        now = services.now()
        facts = [_facts(one, now) for one in services.hub.configurations()]
        facts.sort(key=lambda one: (-one["priority"], one["deployment"]))
        rows = [
            [
                one["deployment"],
                one["kind"],
                str(one["priority"]),
                one["condition"],
                *(str(one[count]) for count in ("targeted", "applied", "succeeded", "failed")),
                one["age"],
            ]
            for one in facts
        ]
        columns = (
            "deployment",
            "kind",
            "priority",
            "condition",
            "targeted",
            "applied",
            "ok",
            "failed",
            "age",
        )
        terminal.answer(facts, [render_table("Deployments", columns, rows)])


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The deployment.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """One deployment: content, metrics, labels. --output json prints the hub's whole document, which
    create --modules takes again.
    E.g. edgeferry deployments show debug"""
    with opened_anywhere(context, output) as (_, services, terminal):
        found = read_deployment(services.hub, name)
        facts = _facts(found, services.now())
        results = (found.get("metrics") or {}).get("results") or {}
        queries = (found.get("metrics") or {}).get("queries") or {}
        rows = [[each, str(facts[each]), ""] for each in ("targeted", "applied", "succeeded", "failed")]
        rows += [[each, str(results.get(each, "")), text] for each, text in queries.items()]
        head = [
            f"{name}: {facts['kind']}, priority {facts['priority']}, {facts['age']} old",
            f"condition: {facts['condition'] or '(empty: no device)'}",
            f"labels: {json.dumps(found.get('labels') or {})}",
        ]
        content = json.dumps(found.get("content") or {}, indent=2, ensure_ascii=False)
        terminal.answer(found, [*head, render_table("Metrics", ("name", "devices", "query"), rows), content])


def delete(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The deployments.")],
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete deployments. Devices get what the next lower ones give; without another base they keep what
    they have.
    E.g. edgeferry deployments delete debug"""
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        facts: list[Json] = []
        etags: dict[str, str] = {}
        for name in dict.fromkeys(names):
            found = read_deployment(hub, name)
            etags[name] = str(found.get("etag") or "*")
            facts.append({"deployment": name, "devices": _count_applied(hub, name)})
            if "edgeferry" in (found.get("labels") or {}):
                terminal.say(f"{name} is edgeferry's own: the next rollout may make it again")
        lost = ", ".join(f"{one['deployment']} ({_devices(one['devices'])} lose it)" for one in facts)
        confirm(f"This deletes {lost}.", yes)
        for one in facts:
            hub.delete_configuration(one["deployment"], etags[one["deployment"]])
        lines = [f"deleted {one['deployment']}: {_devices(one['devices'])} had it" for one in facts]
        terminal.answer(facts, lines)


def _warn(services: Services, deployment: Deployment, terminal: Terminal) -> tuple[int, int, list[str]]:
    """How many edge devices it selects, how many there are, and what was said about it."""
    hub = services.hub
    edge_devices = _count(hub, _EDGE)
    selected = _count_selected(hub, deployment.condition.text, edge_devices)
    warnings = list(find_warnings(deployment, _others(hub, deployment.id), selected, edge_devices))
    warnings += advise_condition(services, deployment.condition.text) if not selected else []
    for warning in warnings:
        terminal.say(f"{deployment.id}: {warning}")
    return selected, edge_devices, warnings


def _labels(words: list[str] | None) -> dict[str, str]:
    labels = parse_pairs(words, "the label")
    if "edgeferry" in labels:
        raise UsageError("the label edgeferry marks the deployments of rollouts", fix="use another label")
    return labels


def _check_name(name: str) -> None:
    if name.startswith(RESERVED):
        raise UsageError(
            f"names that begin with {RESERVED} belong to edgeferry's own rollouts", fix="choose another name"
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a deployment's name",
            fix=f"use lower-case letters, digits and '-', at most 128, e.g. {name.lower()[:20] or 'debug'}",
        )


def _queries(document: Mapping[str, Any]) -> dict[str, str]:
    queries = (document.get("metrics") or {}).get("queries") or {}
    return {str(name): str(text) for name, text in queries.items()}


def _check_queries(queries: Mapping[str, str]) -> None:
    if len(queries) > _METRICS:
        raise UsageError(f"{len(queries)} metrics, at most {_METRICS} are allowed", fix="leave some out")
    for name, text in queries.items():
        try:
            parse_query(text)
        except ConditionError as error:
            raise UsageError(f"metric {name}: {error.problem}", fix=error.fix) from error


def _others(hub: Hub, name: str) -> Sequence[Deployment]:
    found = []
    for configuration in hub.configurations():
        try:
            parsed = parse_deployment(configuration)
        except ConditionError:
            continue
        if parsed is not None and parsed.id != name:
            found.append(parsed)
    return found


def _count_selected(hub: Hub, condition: str, edge_devices: int) -> int:
    text = condition.strip()
    return edge_devices if text == "*" else _count(hub, join_conditions(_EDGE, text)) if text else 0


def _count_applied(hub: Hub, name: str) -> int:
    # Azure counts devices only, so what counts modules reads them.
    applied = f"moduleId = '$edgeAgent' AND configurations.[[{name}]].status = 'Applied'"
    return sum(len(page) for page in hub.query(f"SELECT deviceId FROM devices.modules WHERE {applied}"))


def _count(hub: Hub, condition: str) -> int:
    rows = [row for page in hub.query(f"SELECT COUNT() AS n FROM devices WHERE {condition}") for row in page]
    return int(rows[0]["n"]) if rows else 0


def _facts(configuration: Json, now: float | None) -> Json:
    content = configuration.get("content") or {}
    modules = content.get("modulesContent")
    kind = "other" if modules is None else "base" if is_base(modules) else "layer"
    progress: Progress = parse_progress(configuration)
    return {
        "deployment": configuration["id"],
        "kind": kind,
        "priority": int(configuration.get("priority") or 0),
        "condition": configuration.get("targetCondition") or "",
        **vars(progress),
        "created_at": configuration.get("createdTimeUtc"),
        **({"age": _age(str(configuration.get("createdTimeUtc") or ""), now)} if now is not None else {}),
    }


def _age(created: str, now: float) -> str:
    try:
        seconds = max(now - datetime.fromisoformat(created).timestamp(), 0)
    except ValueError:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _devices(count: int) -> str:
    return f"{count} device{'s' if count != 1 else ''}"
