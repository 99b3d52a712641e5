"""Captures: what a model on a device was asked and answered, fetched home through the hub, page by page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgeferry.domain.capture import Counts, Cursor, Record
from edgeferry.domain.model import COMPANION
from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.capture import parse_record
from edgeferry.wire.capture_page import Page, parse_counts, parse_cursor, parse_page, render_cursor

_PAGE_RECORDS = 1000


@dataclass(frozen=True)
class Wanted:
    """Which of a device's records are wanted."""

    after: str = ""
    """A cursor: only what came behind it."""
    newest: int = 0
    """Only so many; 0: all."""
    purpose: str = ""
    """`user` or `smoke`; "" for both."""
    since: str = ""
    until: str = ""
    """By the device's clock, from `since` to before `until`, as records say it (ISO 8601, UTC); "": any."""


@dataclass(frozen=True)
class Fetched:
    """A record that came home, and the names of its model's columns, none when they are not known."""

    record: Record
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """What one page of a device's captures brought."""

    device: str
    fetched: tuple[Fetched, ...]
    damaged: int
    """Lines that did not match their checksum, there or on arrival."""
    next: str
    """The place to read on from: a sequence, of the last whole record."""
    done: int
    total: int
    """How many of the records that the device holds behind the beginning have been looked at, of how many."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The records alone."""
        return tuple(each.record for each in self.fetched)


@dataclass(frozen=True)
class Captured:
    """What one device's store of one model gave."""

    device: str
    records: tuple[Record, ...]
    damaged: int
    """Lines that did not match their checksum, there or on arrival."""


def fetch_captures(
    services: Services, device: str, model: str, *, after: str = "", newest: int = 0, purpose: str = ""
) -> Captured:
    """The records behind cursor `after`, oldest first, all in memory; only the `newest` of them, 0 for all.
    Errors as `stream_captures`."""
    return collect(stream_captures(services, device, model, Wanted(after, newest, purpose)))


def collect(batches: Iterator[Batch]) -> Captured:
    """What all of a device's batches hold."""
    records: list[Record] = []
    damaged = 0
    for batch in batches:
        records += batch.records
        damaged += batch.damaged
    return Captured(batch.device, tuple(records), damaged)


def stream_captures(services: Services, device: str, model: str, wanted: Wanted) -> Iterator[Batch]:
    """The wanted records that the device holds now, oldest first, as they come: at least one batch, one page
    each. With `newest` and another wish beside it, all must be looked at first, and comes as one batch.

    HubError when the companion is not connected, OutsideError when the model's server does not answer it,
    RefusedError when the device has no such captures.
    """
    cursor = parse_cursor(wanted.after)
    is_narrowed = bool(wanted.purpose or wanted.since or wanted.until)
    if wanted.newest and not is_narrowed:
        last = parse_page(_ask(services, device, "captures", _request(model, cursor, 0, ""))).last
        cursor = max(cursor, Cursor(last - wanted.newest), key=lambda each: (each.after, each.skip))
    batches = _read_batches(services, device, model, cursor, wanted)
    if not (wanted.newest and is_narrowed):
        yield from batches
        return
    kept: deque[Fetched] = deque(maxlen=wanted.newest)
    damaged, batch = 0, Batch(device, (), 0, str(cursor.after), 0, 0)
    for batch in batches:
        kept += batch.fetched
        damaged += batch.damaged
    yield replace(batch, fetched=tuple(kept), damaged=damaged)


def _read_batches(
    services: Services, device: str, model: str, cursor: Cursor, wanted: Wanted
) -> Iterator[Batch]:
    began, end, rest, more = cursor.after, 0, "", True
    while more:
        request = _request(model, cursor, _PAGE_RECORDS, wanted.purpose)
        page = parse_page(_ask(services, device, "captures", request))
        if page.more and page.next == cursor:
            raise RefusedError(
                f"{device}'s captures lead nowhere after {render_cursor(cursor)}", fix=_look(device)
            )
        began, end = max(began, page.first - 1), end or page.last
        *lines, rest = (rest + page.text).split("\n")
        fetched, damaged = [], page.damaged
        for line in lines:
            try:
                record = parse_record(line.encode())
            except ValueError:
                damaged += 1
                continue
            if record.sequence <= end and (wanted.since or record.at) <= record.at < (wanted.until or "~"):
                fetched.append(Fetched(record, _find_columns(page, record.sequence)))
        cursor, more = page.next, page.more and page.next.after < end
        place = min(cursor.after, max(end, began))
        yield Batch(device, tuple(fetched), damaged, str(place), place - began, max(end - began, 0))


def _find_columns(page: Page, sequence: int) -> tuple[str, ...]:
    fitting = [names for begin, names in page.columns if begin <= sequence]
    return fitting[-1] if fitting else ()


def fetch_counts(services: Services, device: str, model: str) -> Counts:
    """How many records of the model the device holds, and what became of others; errors as above."""
    return parse_counts(_ask(services, device, "countCaptures", {"model": model}))


_UNANSWERED = (502, 503, 504)


def _request(model: str, cursor: Cursor, limit: int, purpose: str) -> Json:
    return {"model": model, "after": render_cursor(cursor), "limit": limit, "purpose": purpose}


def _ask(services: Services, device: str, method: str, request: Json) -> object:
    try:
        answer = services.hub.call_module(device, COMPANION, method, request)
    except HubError as error:
        if error.status == 404 and _lacks_companion(services, device):
            raise UsageError(
                f"{device} has no companion to ask: nothing has been rolled out to it yet",
                fix=f"edgeferry ship {request['model']} brings a fleet's first one with the model; "
                f"where there is one: edgeferry rollout {COMPANION}",
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
