"""Audit: what was desired on a device, who approved it on what evidence, and what ran there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from edgeferry.domain.audit import Desire, Ran, find_desires, read_applies
from edgeferry.domain.layering import AGENT
from edgeferry.domain.release import Entry
from edgeferry.domain.story import approval_ids, find_story
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Hub, Services
from edgeferry.wire.plan import hash_body

METHOD = "GetApplyHistory"


@dataclass(frozen=True)
class Told:
    """An entry, and why it does not count ("" when it does)."""

    entry: Entry
    distrust: str


@dataclass(frozen=True)
class Reason:
    """Why something was desired: the release, with its evidence, and who approved it."""

    desire: Desire
    release: Entry | None
    """None when the ledger has none that counts."""
    approvals: tuple[Entry, ...]


@dataclass(frozen=True)
class DeviceAudit:
    """One device at one moment."""

    device: str
    at: datetime
    reasons: tuple[Reason, ...]
    ran: Ran
    ignored: tuple[Told, ...]
    """Entries that do not count, so nothing here rests on them."""


def tell_story(services: Services, name: str) -> Sequence[Told]:
    """All that the ledger says of a release or a rollout, oldest first; all entries for "". UsageError when
    there is neither."""
    entries = services.ledger.all_entries()
    chosen = find_story(entries, name) if name else tuple(entries)
    if name and not chosen:
        known = ", ".join(dict.fromkeys(e.subject for e in reversed(entries) if e.kind == "release"))
        raise UsageError(
            f"the ledger says nothing of {name}", fix=f"releases in the ledger: {known or 'none yet'}"
        )
    return [Told(entry, services.ledger.distrust(entry)) for entry in chosen]


def audit_device(services: Services, device: str, at: datetime) -> DeviceAudit:
    """What the ledger says was desired on the device at that moment and why, and what its agent says ran."""
    told = [Told(entry, services.ledger.distrust(entry)) for entry in services.ledger.all_entries()]
    entries = [one.entry for one in told if not one.distrust]
    plans = {hash_body(entry.body): entry.body for entry in entries if entry.kind == "plan"}
    by_id = {entry.id: entry for entry in entries}
    releases = {entry.subject: entry for entry in entries if entry.kind == "release"}
    reasons = [
        Reason(
            desire,
            releases.get(desire.release),
            tuple(by_id[one] for one in approval_ids(desire.rollout) if one in by_id),
        )
        for desire in find_desires(entries, device, at, plans.get)
    ]
    ignored = tuple(one for one in told if one.distrust)
    return DeviceAudit(device, at, tuple(reasons), _ask(services.hub, device, at), ignored)


def _ask(hub: Hub, device: str, at: datetime) -> Ran:
    try:
        said = hub.call_module(device, AGENT, METHOD, {})
    except (HubError, UsageError) as error:
        silent = isinstance(error, HubError) and error.status in (404, 504)
        return Ran(note="its agent is not connected, and only the agent knows" if silent else error.problem)
    return read_applies(said, at)
