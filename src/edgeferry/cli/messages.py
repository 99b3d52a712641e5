"""Command `devices messages`: what devices said."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from edgeferry.cli.console import Output, Terminal, render_table
from edgeferry.cli.names import read_device
from edgeferry.cli.project import OutputOption, load_anywhere, opened_anywhere
from edgeferry.domain.message import Message
from edgeferry.errors import OutsideError, UsageError
from edgeferry.ports import Json, Messages
from edgeferry.settings import Settings
from edgeferry.wiring import open_messages

_PAGE = 100
_WAIT_S = 10
_AGAIN_S = 1


def register(devices: typer.Typer) -> None:
    """Adds the command to `devices`."""
    devices.command("messages")(messages)


def messages(
    context: typer.Context,
    device: Annotated[str, typer.Argument(metavar="[DEVICE]", help="One device; default: all.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Only new ones, as they come; Ctrl-C ends.")
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From this time on, ISO 8601 in UTC: 2026-11-27T20:00.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """What devices said, as far as the hub still has it.
    E.g. edgeferry devices messages press-1 --follow"""
    terminal = Terminal(output)
    if follow and since:
        raise UsageError("--since and --follow are both there", fix="give one of them")
    begin = _parse_time(since) if since else datetime.min.replace(tzinfo=UTC)
    settings = load_anywhere(context)
    with open_messages(settings, terminal.say) as port:
        if follow:
            _check_device(context, settings, device)
            _follow(port, device, terminal)
        found = [one for one in _read_all(port, device, terminal) if _parse_time(one.enqueued_at) >= begin]
        if not found:
            _check_device(context, settings, device)
        facts = [_facts(one) for one in found]
        rows = [[one["at"], one["device"], one["module"] or "", _text(one["body"])] for one in facts]
        columns = ("at", "device", "module", "body")
        terminal.answer(facts, [render_table(f"{len(facts):,} messages", columns, rows)])


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", fix="write it like 2026-11-27T20:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _check_device(context: typer.Context, settings: Settings, device: str) -> None:
    """UsageError with the name probably meant, where the hub can be asked and has no such device."""
    if device and (settings["hub.connection_string"] or settings["hub.host"]):
        with opened_anywhere(context, Output.TABLE) as (_, services, _terminal):
            read_device(services.hub, device)


def _read_all(port: Messages, device: str, terminal: Terminal) -> list[Message]:
    found: list[Message] = []
    after = ""
    while True:
        page = port.read(after, _PAGE, 0, device)
        if page.lost:
            terminal.say(f"{page.lost} messages are no longer kept")
        found += page.messages
        if not page.messages or page.next == after:
            return found
        after = page.next


def _follow(port: Messages, device: str, terminal: Terminal) -> None:
    """Prints messages until somebody ends it; a hub that is away for a while is waited for."""
    after = port.read("end", _PAGE, 0, device).next
    is_away = False
    while True:
        try:
            page = port.read(after, _PAGE, _WAIT_S, device)
        except OutsideError as error:
            if not error.retryable:
                raise
            if not is_away:
                terminal.say(f"{error.problem}; waiting until it does")
            is_away = True
            time.sleep(_AGAIN_S)
            continue
        if is_away:
            terminal.say("the hub answers again")
        is_away, after = False, page.next
        for one in page.messages:
            facts = _facts(one)
            who = f"{one.device}/{one.module}" if one.module else one.device
            terminal.answer(facts, [f"{facts['at']} {who} {_text(facts['body'])}"])


def _facts(message: Message) -> Json:
    return {
        "at": message.enqueued_at,
        "device": message.device,
        "module": message.module,
        "system": dict(message.system),
        "properties": dict(message.properties),
        "body": _body(message.body),
    }


def _body(data: bytes) -> Any:
    """The body as JSON where it reads as JSON, else as text, else as base64."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
