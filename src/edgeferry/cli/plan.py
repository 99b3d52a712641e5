"""Command `plan`: what a release would do to the fleet, before anybody approves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from edgeferry.cli.console import Output, counted, finish, render_table
from edgeferry.cli.names import near
from edgeferry.cli.project import (
    ConditionOption,
    OutputOption,
    ReleaseArgument,
    choose_condition,
    opened,
    read_fleet,
)
from edgeferry.cli.rules import read_rollout
from edgeferry.domain.explanation import Explanation, explain
from edgeferry.domain.layering import AGENT, Deployment
from edgeferry.domain.plan_groups import DeviceChange, Group
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.errors import UsageError
from edgeferry.ports import Json
from edgeferry.wire.plan import plan_hash, render_plan
from edgeferry.workflows.aim import advise_condition
from edgeferry.workflows.plan import Scene, draw_plan, find_group, look
from edgeferry.workflows.release import find_release

_SECRET = "registryCredentials"
_SHOWN_CHANGES = 10


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(plan)


def plan(
    context: typer.Context,
    release: ReleaseArgument,
    target_condition: ConditionOption = "",
    device: Annotated[
        str, typer.Option("--device", "-d", help="Show this device's manifest before and after too.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """What a rollout of the release would do: which devices in which waves, what changes on them, what they
    pull, what is in the way. Nothing is touched. Exit code 1 when something blocks it.

    E.g. edgeferry plan nyc_taxi --env prod
    """
    with opened(context, output) as (settings, services, terminal):
        entry = find_release(services, release)
        condition = choose_condition(settings, services, entry.body["model"], target_condition)
        scene = look(services, entry, condition, read_fleet(settings))
        drawn = draw_plan(scene, read_rollout(settings), services.registry.blob_sizes)
        if not drawn.targeted:
            for line in advise_condition(services, condition):
                terminal.say(line)
        facts: Json = {"hash": plan_hash(drawn), "blocked": drawn.blocked, **render_plan(drawn)}
        tables = plan_tables(drawn)
        if device:
            view = _view(scene, device)
            facts["device"] = _device_facts(*view)
            tables += _device_tables(*view)
        terminal.answer(facts, tables)
        blocking = drawn.blocks
        problem = f"{counted(len(blocking), 'conflict')} would stop this rollout"
        finish(not blocking, problem, blocking[0].fix if blocking else "")


def plan_tables(plan: RolloutPlan) -> list[Table | str]:
    """A plan for a person to look at."""
    words = ("get it", plan.gained), ("would lose it", plan.lost), ("have it already", plan.unchanged)
    counts = ", ".join(f"{counted(len(devices), 'device')} {word}" for word, devices in words)
    tables: list[Table | str] = [
        f"{plan.release}, layer {plan.layer}, for devices where {plan.condition}",
        f"plan {plan_hash(plan)}",
        counts,
        _waves_table(plan),
    ]
    if plan.changes:
        shown = plan.changes[:_SHOWN_CHANGES]
        rows = [row for change in shown for row in _change_rows(change)]
        columns = ("devices", "module", "path", "now by", "then by", "pulls")
        tables.append(render_table("Changes", columns, rows))
        if rest := plan.changes[_SHOWN_CHANGES:]:
            others = sum(len(change.devices) for change in rest)
            tables.append(f"… and {counted(len(rest), 'other change')} on {counted(others, 'device')}")
    unknown = sorted({image for change in plan.changes for image in change.unknown_images})
    if unknown:
        tables.append(f"not counted in bytes, since their size cannot be told: {', '.join(unknown)}")
    if plan.conflicts:
        found = [
            [one.severity, str(one.kind), _with_devices(one.problem, one.devices, one.examples), one.fix]
            for one in plan.conflicts
        ]
        tables.append(render_table("In the way", ("severity", "kind", "problem", "fix"), found))
    quotas = [[quota.name, f"{quota.used:,}", f"{quota.limit:,}", quota.where] for quota in plan.quotas]
    tables.append(render_table("Of what a hub allows", ("quota", "used", "allowed", "by"), quotas))
    return tables


def _waves_table(plan: RolloutPlan) -> Table:
    rows = [
        [
            str(wave.number),
            wave.rule,
            str(len(wave.members)),
            ", ".join(wave.members[:3]) + (" …" if len(wave.members) > 3 else ""),
            wave.condition,
            f"{seconds:.0f}",
        ]
        for wave, seconds in zip(plan.waves, plan.wave_seconds, strict=True)
    ]
    columns = ("wave", "rule", "adds", "devices", "target condition from then on", "at least seconds")
    return render_table("Waves", columns, rows)


def _change_rows(change: DeviceChange) -> list[list[str]]:
    names = ", ".join(change.devices[:3]) + (
        f" and {len(change.devices) - 3} more" * (len(change.devices) > 3)
    )
    pulls = f"{change.pull_bytes / 1e6:.1f} MB"
    if change.unknown_images:
        pulls += f" and {counted(len(change.unknown_images), 'image')} more"
    rows = [
        [path.module, path.path or "all", path.before or "nobody", path.after or "nobody"]
        for path in change.paths
    ]
    first = [[names, *rows[0], pulls]]
    return first + [["", *row, ""] for row in rows[1:]]


def _with_devices(problem: str, devices: int, examples: tuple[str, ...]) -> str:
    if not examples:
        return problem
    more = f" and {devices - len(examples)} more" if devices > len(examples) else ""
    return f"{problem} (on {', '.join(examples)}{more})"


# one device


def _view(scene: Scene, device: str) -> tuple[str, Group, Explanation]:
    group = find_group(scene, device)
    if group is None:
        fix = near(device, [str(one["deviceId"]) for one in scene.documents])
        raise UsageError(f"{device} is no edge device of this hub", fix=f"{fix}; edgeferry devices list")
    twin = next(one for one in scene.documents if one["deviceId"] == device)
    return device, group, explain(scene.after, twin)


def _device_facts(device: str, group: Group, after: Explanation) -> Json:
    return {
        "device": device,
        "before": _manifest(group.before.desired),
        "after": _manifest(group.after.desired),
        "given": [
            {
                "module": share.module,
                "path": share.path,
                "deployment": share.giver.id,
                "lost": [f"{loser.deployment.id}: {loser.reason}" for loser in share.losers],
            }
            for share in after.shares
        ],
    }


def _device_tables(device: str, group: Group, after: Explanation) -> list[Table | str]:
    modules = sorted(group.before.modules.keys() | group.after.modules.keys())
    images = [
        [name, group.before.image_of(name) or "nothing", group.after.image_of(name) or "nothing"]
        for name in modules
    ]
    shares = [
        [
            share.module,
            share.path,
            _name(share.giver),
            "; ".join(f"{_name(loser.deployment)}: {loser.reason}" for loser in share.losers),
        ]
        for share in after.shares
    ]
    return [
        render_table(f"{device}: modules", ("module", "image now", "image then"), images),
        render_table(f"{device}: who gives what then", ("module", "path", "given by", "lost here"), shares),
    ]


def _name(deployment: Deployment) -> str:
    return f"{deployment.id} (priority {deployment.priority})"


def _manifest(desired: Mapping[str, Json]) -> dict[str, Any]:
    """The desired properties by module, without what devices log in to registries with."""
    return {module: _open(values) if module == AGENT else values for module, values in desired.items()}


def _open(agent: Mapping[str, Any]) -> dict[str, Any]:
    runtime = agent.get("runtime")
    settings = runtime.get("settings") if isinstance(runtime, Mapping) else None
    if not isinstance(runtime, Mapping) or not isinstance(settings, Mapping) or _SECRET not in settings:
        return dict(agent)
    logins = settings[_SECRET]
    hidden = {
        name: {**login, "password": "…"} if isinstance(login, Mapping) else login
        for name, login in (logins.items() if isinstance(logins, Mapping) else ())
    }
    return {**agent, "runtime": {**runtime, "settings": {**settings, _SECRET: hidden}}}
