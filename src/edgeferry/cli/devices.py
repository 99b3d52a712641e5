"""Commands `devices create|list|query|show|tag|delete`: the fleet's devices, on Azure's hub or ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from edgeferry.cli import credentials, enrolment, messages, twins, why
from edgeferry.cli.completing import complete_devices
from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, Terminal, counted, finish, render_table
from edgeferry.cli.device_facts import (
    agent_lines,
    device_facts,
    is_edge,
    layer_facts,
    module_facts,
    moment,
    statuses,
)
from edgeferry.cli.names import is_reserved, read_device
from edgeferry.cli.project import OutputOption, opened_anywhere
from edgeferry.cli.twins import without_metadata
from edgeferry.domain.condition import parse_condition
from edgeferry.domain.known_tags import list_tags
from edgeferry.domain.portability import find_unknown
from edgeferry.domain.tags import is_change, parse_tags
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Hub, Json
from edgeferry.wire.connection import device_connection, render_connection_string
from edgeferry.workflows.aim import advise_condition, advise_tags

devices = typer.Typer(
    no_args_is_help=True,
    help="The fleet's devices: identities, twins, tags, and why.\n\n"
    "[bold]edgeferry devices list[/bold] shows them; [bold]edgeferry devices why press-1[/bold] says why one "
    "has what it has.",
)

WhereOption = Annotated[
    str, typer.Option("--where", "-w", help="The devices of a target condition, e.g. tags.site = 'berlin'.")
]

_PAGE = 1000
_COLUMNS = 10
"""Rows of more columns, as those of `SELECT *`, are no table on any terminal."""
_QUERY_LETTERS = 8000
"""A query may have 8192."""


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    enrolment.register(devices)
    twins.register(devices)
    credentials.register(devices)
    why.register(devices)
    messages.register(devices)
    app.add_typer(devices, name="devices")


@devices.command("create")
def create(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="New devices.")] = None,
    edge: Annotated[
        bool, typer.Option("--edge/--no-edge", help="Devices that run modules, or that do not.")
    ] = True,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="KEY=VALUE, for each of them; dots nest.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="So many more, named PREFIX1, PREFIX2 …")] = 0,
    prefix: Annotated[str, typer.Option(help="What begins the names that --count makes.")] = "device-",
    strings: Annotated[
        bool, typer.Option("--connection-string", help="Print each device's connection string: a secret.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create devices. Those that exist stay as they are.
    E.g. edgeferry devices create press-1 press-2 --tag site=berlin"""
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        wanted = list(dict.fromkeys([*(names or ()), *(f"{prefix}{one}" for one in range(1, count + 1))]))
        if not wanted:
            raise UsageError("no device is named", fix="edgeferry devices create NAME, or --count 10")
        tags = parse_tags(tag or [])
        states: dict[str, str] = {}
        for start in range(0, len(wanted), _PAGE):
            states |= hub.create_devices(wanted[start : start + _PAGE], edge, tags)
            if len(wanted) > _PAGE:
                terminal.say(f"{len(states):,} of {len(wanted):,} devices done")
        facts: list[Json] = [{"device": name, "state": state} for name, state in states.items()]
        if strings:
            for one in facts:
                if one["state"] in ("created", "existed"):
                    connection = device_connection(hub.host, hub.device(one["device"]))
                    one["connection_string"] = render_connection_string(connection)
        existed = sum(state == "existed" for state in states.values())
        if existed:
            terminal.say(
                f"{existed} of {len(states)} existed already and were left as they are: tags, keys and kind"
            )
        rows = [[one["device"], one["state"]] for one in facts]
        secrets = [one["connection_string"] for one in facts if "connection_string" in one]
        terminal.answer(facts, [render_table("Devices", ("device", "state"), rows), *secrets])
        failed = [name for name, state in states.items() if state not in ("created", "existed")]
        finish(
            not failed,
            f"{len(failed)} of {len(states)} devices were not created: {failed[0] if failed else ''}"
            f"{' and others' if len(failed) > 1 else ''}",
            "the column state says why; names are letters, digits, '-', '_' and '.'",
        )


@devices.command("list")
def list_devices(
    context: typer.Context,
    condition: Annotated[
        str, typer.Argument(metavar="[CONDITION]", help="A target condition; default: all devices.")
    ] = "",
    where: WhereOption = "",
    top: Annotated[int, typer.Option(min=0, help="At most so many; default: all.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """The devices on the hub, with tags and the deployments that apply.
    E.g. edgeferry devices list "tags.site = 'berlin'" --top 20"""
    with opened_anywhere(context, output) as (_, services, terminal):
        if condition and where:
            raise UsageError("the condition is there twice", fix="give it once, with or without --where")
        text = f"SELECT * FROM devices{_render_where(condition or where, terminal)}"
        found = fetch(services.hub, text, terminal, top + 1 if top else 0)
        twins = sorted(
            (twin for twin in found if not is_reserved(twin)), key=lambda twin: str(twin["deviceId"])
        )
        twins = twins[: top or None]
        if not twins and (condition or where):
            _hint(terminal, advise_condition(services, condition or where))
        agents = _fetch_agents(services.hub, twins, terminal)
        facts = [device_facts(twin, agents.get(twin["deviceId"], {})) for twin in twins]
        rows = [
            [
                each["device"],
                "yes" if each["edge"] else "no",
                "yes" if each["connected"] else "no",
                moment(each["last_activity"]),
                json.dumps(each["tags"]) if each["tags"] else "",
                ", ".join(each["deployments"]),
            ]
            for each in facts
        ]
        columns = ("device", "edge", "connected", "last activity", "tags", "deployments")
        terminal.answer(facts, [render_table(counted(len(facts), "device"), columns, rows)])


@devices.command("query")
def query(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="'SELECT …'", help="A query in IoT Hub's query language.")],
    top: Annotated[int, typer.Option(min=0, help="At most so many rows; default: all.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """The rows of any query over device and module twins; whole twins as documents, without metadata.
    E.g. edgeferry devices query "SELECT deviceId, tags.site FROM devices WHERE tags.floor > 2" """
    with opened_anywhere(context, output) as (_, services, terminal):
        try:
            rows = fetch(services.hub, text, terminal, top)
        except HubError as error:
            if error.status != 400:
                raise
            raise UsageError(error.problem, fix="correct the query as the hub says") from error
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if len(columns) > _COLUMNS:
            documents = [json.dumps(without_metadata(row), indent=2, ensure_ascii=False) for row in rows]
            terminal.answer(rows, [*documents, counted(len(rows), "row")])
            return
        cells = [[_cell(row[name]) if name in row else "" for name in columns] for row in rows]
        terminal.answer(rows, [render_table(counted(len(rows), "row"), columns, cells)])


@devices.command("show")
def show(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="The device.", autocompletion=complete_devices)],
    output: OutputOption = Output.TABLE,
) -> None:
    """One device at a glance: identity, modules, deployments. Never its keys.
    E.g. edgeferry devices show press-1"""
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        twin = read_device(hub, device)
        agent = hub.module_twin(device, "$edgeAgent") or {}
        facts = device_facts(twin, agent)
        facts |= {"status": twin.get("status"), "parents": twin.get("parentScopes") or []}
        facts["modules"] = [module_facts(module, agent) for module in hub.modules(device)]
        facts["deployments"] = statuses(agent)
        said = (agent.get("properties") or {}).get("reported") or {}
        layers = layer_facts(said)
        facts |= {"layers": layers, "agent_says": without_metadata(said.get("lastDesiredStatus") or {})}
        head = [
            f"{device}: {'edge device' if facts['edge'] else 'device'}, {facts['status']}, "
            f"{'connected' if facts['connected'] else 'not connected'}, "
            f"last activity {moment(facts['last_activity'])}",
            f"tags: {json.dumps(facts['tags'])}",
        ]
        rows = [
            [
                one["module"],
                "yes" if one["connected"] else "no",
                one["wanted"],
                one["runs"],
                one["image"],
                one["given_by"],
            ]
            for one in facts["modules"]
        ]
        columns = ("module", "connected", "wanted", "runs", "image", "given by")
        head += agent_lines(facts["agent_says"])
        given = [
            [name, status, layers.get(name, {}).get("outcome", ""), layers.get(name, {}).get("reason", "")]
            for name, status in facts["deployments"].items()
        ]
        terminal.answer(
            facts,
            [
                *head,
                render_table("Modules", columns, rows),
                render_table("Deployments", ("deployment", "status", "on the device", "reason"), given),
            ],
        )


@devices.command("tag")
def tag_devices(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="[DEVICE]... KEY=VALUE|KEY-...", help="Dots nest; KEY- takes the tag away."),
    ],
    where: WhereOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set or remove tags: what target conditions look at.
    E.g. edgeferry devices tag press-1 press-2 models.nyc_taxi=true old_tag-
    or edgeferry devices tag --where "tags.site = 'berlin'" floor=3"""
    with opened_anywhere(context, output) as (_, services, terminal):
        names = [word for word in words if not is_change(word)]
        if not names and not where and "=" not in words[0]:
            names = words[:1]  # a device whose name ends in '-'
        changes = [word for word in words if word not in names]
        if not changes:
            raise UsageError("no tag is given", fix=f"edgeferry devices tag {' '.join(names)} KEY=VALUE")
        patch = parse_tags(changes)
        chosen = choose(services.hub, names, where, terminal)
        _hint(terminal, advise_tags(services, list_tags(patch)))
        if where and not chosen:
            _hint(terminal, advise_condition(services, where))
        if where:
            confirm(f"This changes the tags of {_many(chosen)}.", yes)
        facts = []
        for number, name in enumerate(chosen, 1):
            try:
                twin = services.hub.patch_tags(name, patch)
            except HubError as error:
                if error.status != 404:
                    raise
                twin = read_device(services.hub, name)
            facts.append({"device": name, "tags": twin.get("tags") or {}})
            if number % 100 == 0 and number < len(chosen):
                terminal.say(f"{number:,} of {len(chosen):,} devices tagged")
        lines = [f"{one['device']}: {json.dumps(one['tags'])}" for one in facts]
        terminal.answer(facts[0] if len(facts) == 1 and not where else facts, lines)


@devices.command("delete")
def delete(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]...", help="The devices.")] = None,
    where: WhereOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete devices with their modules, keys and twins; what runs on them goes on running.
    E.g. edgeferry devices delete press-1 press-2"""
    with opened_anywhere(context, output) as (_, services, terminal):
        chosen = choose(services.hub, names or [], where, terminal)
        if not where and len(chosen) == 1:
            read_device(services.hub, chosen[0])
        if chosen:
            confirm(f"This deletes {_many(chosen)}, with modules, keys and twins, for good.", yes)
        states: dict[str, str] = {}
        for start in range(0, len(chosen), _PAGE):
            states |= services.hub.delete_devices(chosen[start : start + _PAGE])
            if len(chosen) > _PAGE:
                terminal.say(f"{len(states):,} of {len(chosen):,} devices done")
        facts = [{"device": name, "state": state} for name, state in states.items()]
        rows = [[*one.values()] for one in facts]
        terminal.answer(facts, [render_table("Devices", ("device", "state"), rows)])
        left = [name for name, state in states.items() if state != "deleted"]
        finish(
            not left,
            f"{len(left)} of {len(states)} devices were not deleted: {left[0] if left else ''}"
            f"{' and others' if len(left) > 1 else ''}",
            "edgeferry devices list shows which there are",
        )


def choose(hub: Hub, names: Sequence[str], where: str, terminal: Terminal) -> Sequence[str]:
    """The devices named, or those that the condition selects; UsageError for neither and for both."""
    if bool(names) == bool(where):
        raise UsageError(
            "name devices, or give a condition with --where" + (", not both" if names else ""),
            fix="edgeferry devices list shows the devices",
        )
    if names:
        return list(dict.fromkeys(names))
    rows = fetch(hub, f"SELECT deviceId FROM devices{_render_where(where, terminal)}", terminal)
    return sorted(str(row["deviceId"]) for row in rows if not is_reserved(row))


def fetch(hub: Hub, text: str, terminal: Terminal, top: int = 0) -> list[Json]:
    """The query's rows, at most `top` unless it is 0; progress is said from the second page on."""
    rows: list[Json] = []
    for page in hub.query(text, min(top or _PAGE, _PAGE)):
        if rows:
            terminal.say(f"{len(rows) + len(page):,} rows read")
        rows += page
        if top and len(rows) >= top:
            return rows[:top]
    return rows


def _render_where(condition: str, terminal: Terminal) -> str:
    if condition.strip() in ("", "*"):
        return ""
    parsed = parse_condition(condition)  # a mistake is told with its column, before anything is sent
    for remark in find_unknown(parsed.expression):
        terminal.say(f"column {remark.column}: {remark.problem}: {remark.fix}")
    return f" WHERE {condition}"


def _fetch_agents(hub: Hub, twins: Sequence[Json], terminal: Terminal) -> Mapping[str, Json]:
    """What the hub knows of each edge device's agent, by device: of these alone if they fit into a query."""
    names = [twin["deviceId"] for twin in twins if is_edge(twin)]
    if not names:
        return {}
    text = (
        "SELECT deviceId, connectionState, lastActivityTime, configurations FROM devices.modules "
        "WHERE moduleId = '$edgeAgent'"
    )
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    if len(text) + len(listed) < _QUERY_LETTERS:
        text += f" AND deviceId IN [{listed}]"
    return {row["deviceId"]: row for row in fetch(hub, text, terminal)}


def _hint(terminal: Terminal, lines: Sequence[str]) -> None:
    for line in lines:
        terminal.say(line)


def _many(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"{len(names):,} device{'s' if len(names) != 1 else ''}: {shown}"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
