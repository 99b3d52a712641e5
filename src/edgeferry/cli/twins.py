"""Command `devices twin`: a device's or module's twin, and changes of its desired properties."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.completing import complete_devices
from edgeferry.cli.console import Output
from edgeferry.cli.names import near, read_device
from edgeferry.cli.project import OutputOption, opened_anywhere
from edgeferry.domain.tags import parse_changes
from edgeferry.domain.twin import SECTION_BYTES, find_fault, strip_hub_members
from edgeferry.errors import HubError, RefusedError, UsageError
from edgeferry.ports import Hub, Json


def register(devices: typer.Typer) -> None:
    """Adds the command to `devices`."""
    devices.command("twin")(twin)


def twin(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="The device.", autocompletion=complete_devices)],
    module: Annotated[str, typer.Option("--module", "-m", help="A module's twin instead.")] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set a desired property; PATH- takes it away."),
    ] = None,
    patch: Annotated[
        str, typer.Option(metavar="FILE|-", help="A merge patch of the desired properties, as JSON.")
    ] = "",
    etag: Annotated[str, typer.Option(help="Change it only if the twin still has this etag.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a twin; change desired properties. --output json prints the whole document.
    E.g. edgeferry devices twin press-1 --module scorer --set limits.rows=500 --set debug-"""
    with opened_anywhere(context, output) as (_, services, terminal):
        hub = services.hub
        document = _read(hub, device, module)
        desired = parse_changes(changes or [], "--set")
        if patch:
            if desired:
                raise UsageError("--set and --patch are both there", fix="give one of them")
            desired = read_json(patch)
        if etag and not desired:
            raise UsageError("--etag is there without a change", fix="add --set PATH=VALUE")
        if desired:
            if fault := find_fault(strip_hub_members(desired), SECTION_BYTES):
                raise UsageError(f"the patch cannot be set: {fault}", fix="correct that path")
            try:
                document = hub.patch_twin(device, module, {"properties": {"desired": desired}}, etag or "*")
            except HubError as error:
                if error.status != 412:
                    raise
                raise RefusedError(
                    f"the twin is not at etag {etag} any more, but at {document.get('etag')}",
                    fix="look at it again, and give that etag",
                ) from error
            if givers := _givers(document):
                terminal.say(
                    f"{', '.join(givers)} gives {module} its desired properties: the hub puts them back when "
                    "it next evaluates deployments"
                )
        terminal.answer(document, [json.dumps(without_metadata(document), indent=2, ensure_ascii=False)])


def read_json(file: str) -> Json:
    """The JSON object in the file, or on stdin for `-`; UsageError naming file and line."""
    name = "stdin" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", fix="name a file with JSON") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}:{error.lineno}: {error.msg}", fix="correct the JSON there") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON in UTF-8", fix="save it as UTF-8") from error
    if not isinstance(value, dict):
        raise UsageError(f"{name} does not hold a JSON object", fix="write {…}")
    return value


def _read(hub: Hub, device: str, module: str) -> Json:
    if not module:
        return read_device(hub, device)
    found = hub.module_twin(device, module)
    if found is None:
        read_device(hub, device)
        known = [str(one["moduleId"]) for one in hub.modules(device)]
        raise UsageError(f"{device} has no module {module!r}", fix=near(module, known))
    return found


def _givers(document: Json) -> list[str]:
    """The deployments that decide this module's desired properties."""
    statuses = document.get("configurations") or {}
    return [name for name, one in sorted(statuses.items()) if one.get("status") == "Applied"]


def without_metadata(value: Any) -> Any:
    """The document without `$metadata`, at any depth."""
    if isinstance(value, dict):
        return {name: without_metadata(one) for name, one in value.items() if name != "$metadata"}
    return value
