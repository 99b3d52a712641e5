"""Rollouts as the ledger has them: how each stands, and what a person orders of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.domain.release import Entry
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_state import OrderName, RolloutState, fold
from edgeferry.errors import UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.plan import parse_plan
from edgeferry.wire.plan import plan_hash as hash_plan

KINDS = frozenset({"rollout", "wave", "order", "end"})


@dataclass(frozen=True)
class Record:
    """One rollout: its start, what became of it, and its entries that count."""

    start: Entry
    state: RolloutState
    entries: tuple[Entry, ...]

    @property
    def id(self) -> str:
        return self.start.subject

    @property
    def ended(self) -> bool:
        return self.state.end is not None


def load_rollouts(services: Services, of: Mapping[str, Collection[str]] | None = None) -> list[Record]:
    """Every rollout that the ledger knows, oldest first. `of`: only those whose start has one of these values
    in each member, e.g. {"model": ["taxi"]}; whether the others count is not looked at."""
    by_id: dict[str, list[Entry]] = {}
    wanted: set[str] = set()
    for entry in services.ledger.all_entries():
        if entry.kind in KINDS:
            by_id.setdefault(entry.subject, []).append(entry)
        if entry.kind == "rollout" and all(
            entry.body.get(member, "") in values for member, values in (of or {}).items()
        ):
            wanted.add(entry.subject)
    records = (_record(trusted(services, entries)) for id_, entries in by_id.items() if id_ in wanted)
    return [record for record in records if record]


def find_rollout(services: Services, name: str) -> Record:
    """The rollout of that id, or the newest one of the release or model `name`; UsageError where there is
    none."""
    records = load_rollouts(services)
    for record in reversed(records):
        if name in (record.id, record.state.release, record.state.model):
            return record
    known = ", ".join(record.id for record in records[-5:]) or "none yet"
    raise UsageError(f"the ledger has no rollout {name}", fix=f"edgeferry rollouts list; the newest: {known}")


def find_by_layer(services: Services, layer: ModelLayer) -> Record | None:
    """The rollout that put this layer on the hub; None where the ledger knows of none."""
    records = reversed(load_rollouts(services, {"nonce": [layer.nonce]}))
    return next((record for record in records if record.state.nonce == layer.nonce), None)


def load_record(services: Services, rollout: str) -> Record:
    """The rollout of that id as it stands now."""
    entries = [e for e in services.ledger.all_entries() if e.kind in KINDS and e.subject == rollout]
    record = _record(trusted(services, entries))
    if record is None:
        raise UsageError(f"the ledger has no rollout {rollout}", fix="edgeferry rollouts list")
    return record


def load_plan(services: Services, release: str, plan_hash: str) -> RolloutPlan:
    """The plan that was approved, by its hash; UsageError where the ledger has none that counts."""
    for _, plan in find_plans(services, release):
        if hash_plan(plan) == plan_hash:
            return plan
    raise UsageError(
        f"the ledger has no plan {plan_hash} of {release}", fix="edgeferry audit verify shows what is wrong"
    )


def find_plans(services: Services, release: str) -> Iterator[tuple[Entry, RolloutPlan]]:
    """The release's plans that count, newest first."""
    for entry in reversed(services.ledger.entries("plan", release)):
        if services.ledger.distrust(entry):
            continue
        try:
            yield entry, parse_plan(entry.body)
        except ValueError:  # of another version of edgeferry
            continue


def give_order(
    services: Services, rollout: str, order: OrderName, reason: str, user: str, wave: int | None = None
) -> Entry:
    """The signed order; the controller that goes on with the rollout reads it there. `wave`: the one that the
    user saw run; another may have started meanwhile."""
    body: Json = {"order": order, "reason": reason}
    if wave is not None:
        body["wave"] = wave
    return services.ledger.append("order", rollout, body, user)


def trusted(services: Services, entries: Sequence[Entry]) -> list[Entry]:
    """Those that count."""
    return [entry for entry in entries if not services.ledger.distrust(entry)]


def devices_of(record: Record) -> Mapping[str, Mapping[str, str]]:
    """How each device ended, by its name; empty before the end."""
    end = next((entry for entry in reversed(record.entries) if entry.kind == "end"), None)
    devices = end.body.get("devices") if end else None
    return devices if isinstance(devices, Mapping) else {}


def _record(entries: Sequence[Entry]) -> Record | None:
    start = next((entry for entry in entries if entry.kind == "rollout" and "plan" in entry.body), None)
    return Record(start, fold(entries), tuple(entries)) if start else None
