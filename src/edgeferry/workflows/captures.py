"""Captures: what a model on a device was asked and answered, fetched home through the hub, page by page."""

from __future__ import annotations

from dataclasses import dataclass

from edgeferry.domain.capture import SMOKE, USER, Counts, Cursor, Record
from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.capture import parse_counts, parse_cursor, parse_page, parse_record, render_cursor
from edgeferry.wire.deployment import COMPANION
from edgeferry.workflows.survey import survey

_PAGE_RECORDS = 1000


@dataclass(frozen=True)
class Captured:
    """What one device's store of one model gave."""

    device: str
    records: tuple[Record, ...]
    damaged: int
    """Lines that did not match their checksum, there or on arrival."""
    next: str
    """The place to read on from, later."""


def find_devices(services: Services, model: str) -> list[str]:
    """The devices that report the model as one of their modules; UsageError when none does."""
    found = [sighting.device for sighting in survey(services) if sighting.module == model]
    if not found:
        raise UsageError(f"no device reports a module {model}", fix="edgeferry status shows what runs where")
    return found


def fetch_captures(
    services: Services, device: str, model: str, *, after: str = "", newest: int = 0, purpose: str = ""
) -> Captured:
    """The records behind cursor `after`, oldest first; only the `newest` of them unless that is 0.

    `purpose`: "" for all. HubError when the companion is not connected, OutsideError when the model's server
    does not answer it, RefusedError when the device has no such captures.
    """
    cursor = parse_cursor(after)
    if newest and not purpose:
        last = parse_page(_ask(services, device, "captures", _request(model, cursor, 0, ""))).last
        cursor = max(cursor, Cursor(last - newest), key=lambda each: (each.after, each.skip))
    records: list[Record] = []
    damaged, rest, more = 0, "", True
    while more:
        request = _request(model, cursor, _PAGE_RECORDS, purpose)
        page = parse_page(_ask(services, device, "captures", request))
        if page.more and page.next == cursor:
            raise RefusedError(
                f"{device}'s captures lead nowhere after {render_cursor(cursor)}", fix=_look(device)
            )
        *lines, rest = (rest + page.text).split("\n")
        for line in lines:
            try:
                records.append(parse_record(line.encode()))
            except ValueError:
                damaged += 1
        damaged, cursor, more = damaged + page.damaged, page.next, page.more
    kept = records[-newest:] if newest else records
    return Captured(device, tuple(kept), damaged, render_cursor(cursor))


def fetch_counts(services: Services, device: str, model: str) -> Counts:
    """How many records of the model the device holds, and what became of others; errors as above."""
    return parse_counts(_ask(services, device, "countCaptures", {"model": model}))


def count_captures(services: Services, device: str, model: str, purpose: str = USER) -> int:
    """How many records of the model with that purpose the device holds."""
    counts = fetch_counts(services, device, model)
    return {USER: counts.user, SMOKE: counts.smoke}[purpose]


_UNANSWERED = (502, 504)


def _request(model: str, cursor: Cursor, limit: int, purpose: str) -> Json:
    return {"model": model, "after": render_cursor(cursor), "limit": limit, "purpose": purpose}


def _ask(services: Services, device: str, method: str, request: Json) -> object:
    try:
        answer = services.hub.call_module(device, COMPANION, method, request)
    except HubError as error:
        if error.status == 404 and _lacks_companion(services, device):
            raise UsageError(
                f"{device} has no companion to ask: nothing has been rolled out to it yet",
                fix=f"edgeferry ship {request['model']} brings model and companion to the devices it targets",
            ) from error
        raise
    payload = answer.get("payload")
    if answer.get("status") == 200:
        return payload
    said = payload.get("message") if isinstance(payload, dict) else payload
    problem = f"{device} gives no captures of {request['model']}: {said}"
    if answer.get("status") in _UNANSWERED:
        raise OutsideError(problem, fix=_look(device), retryable=True)
    raise RefusedError(problem, fix=_look(device))


def _lacks_companion(services: Services, device: str) -> bool:
    """The device is there, and no companion on it."""
    has_agent = services.hub.module_twin(device, "$edgeAgent") is not None
    return has_agent and services.hub.module_twin(device, COMPANION) is None


def _look(device: str) -> str:
    return f"edgeferry status shows what runs there; edgeferry logs {COMPANION} --device {device}"
