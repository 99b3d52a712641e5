"""Rollouts as the ledger has them: how each stands, and what a person orders of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.domain.fields import nearest
from edgeferry.domain.gate import judge_approver
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import know_people
from edgeferry.domain.promotion import Promoters
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_record import Serving, parse_outcomes, parse_serving
from edgeferry.domain.rollout_state import OrderName, RolloutState, find_promotions, fold
from edgeferry.domain.typed import render_command
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


def find_rollout(services: Services, name: str, environment: str = "") -> Record:
    """The rollout of that id, or the newest one of the release or model `name`; UsageError where there is
    none. `environment`: for the command that is told then."""
    records = load_rollouts(services)
    for record in reversed(records):
        if name in (record.id, record.state.release, record.state.model):
            return record
    names = {text for each in records for text in (each.id, each.state.release, each.state.model)}
    if (meant := nearest(name, names)).startswith("did you mean"):
        raise UsageError(f"the ledger has no rollout {name}", fix=meant)
    known = ", ".join(record.id for record in records[-5:]) or "none yet"
    raise UsageError(
        f"the ledger has no rollout {name}",
        fix=f"the newest are {known}; all of them: {render_command(environment, 'rollouts', 'list')}",
    )


def find_by_layer(services: Services, layer: ModelLayer) -> Record | None:
    """The rollout that put this layer on the hub; None where the ledger knows of none."""
    records = reversed(load_rollouts(services, {"nonce": [layer.nonce]}))
    return next((record for record in records if record.state.nonce == layer.nonce), None)


def load_record(services: Services, rollout: str, gate: GatePolicy | None = None) -> Record:
    """The rollout of that id as it stands now; with the gate's rules, a wave is promoted by those who may."""
    found = services.ledger.all_entries()
    entries = trusted(services, [e for e in found if e.kind in KINDS and e.subject == rollout])
    record = _record(entries, _find_promoters(services, found, entries, gate) if gate else None)
    if record is None:
        raise UsageError(f"the ledger has no rollout {rollout}", fix="edgeferry rollouts list")
    return record


def load_plan(services: Services, release: str, plan_hash: str, environment: str) -> RolloutPlan:
    """The plan that was approved, by its hash; UsageError where the ledger has none that counts."""
    for _, plan in find_plans(services, release):
        if hash_plan(plan) == plan_hash:
            return plan
    raise UsageError(
        f"the ledger has no plan {plan_hash} of {release}",
        fix=f"see what is wrong: {render_command(environment, 'audit', 'verify')}",
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


def judge_promoter(services: Services, record: Record, gate: GatePolicy, user: str) -> str:
    """Why the user's word that the running wave is good enough would not count, or ""."""
    promoters = _find_promoters(services, services.ledger.all_entries(), record.entries, gate)
    return judge_approver(user, promoters.release, gate, promoters.people) if promoters else ""


def find_lacking(services: Services, rollout: str, gate: GatePolicy) -> str:
    """What the running wave lacks to be promoted, or ""."""
    record = load_record(services, rollout, gate)
    promoters = _find_promoters(services, services.ledger.all_entries(), record.entries, gate)
    said = find_promotions(record.state, record.state.wave)
    return promoters.judge(said)[1] if promoters else ""


def trusted(services: Services, entries: Sequence[Entry]) -> list[Entry]:
    """Those that count; RefusedError where that is known elsewhere and not on this machine, which lacks a
    key."""
    doubtful = [entry for entry in entries if services.ledger.distrust(entry)]
    if doubtful:
        services.ledger.require_keys(doubtful)
    return [entry for entry in entries if entry not in doubtful]


def first_trusted(services: Services, entries: Iterable[Entry]) -> Entry | None:
    """The first of them that counts; RefusedError as above."""
    return next(iter(trusted(services, list(entries))), None)


def outcomes_of(record: Record) -> tuple[Outcome, ...]:
    """How each device ended, without what was answered; empty before the end."""
    ends = (entry for entry in record.entries if entry.kind == "end")
    return parse_outcomes(end.body.get("devices")) if (end := next(ends, None)) else ()


def serving_of(record: Record) -> Serving | None:
    """What serves since it was taken back; None where it was not, or nobody knows."""
    ends = (entry for entry in reversed(record.entries) if entry.kind == "end")
    return parse_serving(end.body) if (end := next(ends, None)) else None


def _record(entries: Sequence[Entry], promoters: Promoters | None = None) -> Record | None:
    start = next((entry for entry in entries if entry.kind == "rollout" and "plan" in entry.body), None)
    return Record(start, fold(entries, promoters), tuple(entries)) if start else None


def _find_promoters(
    services: Services, all_: Sequence[Entry], entries: Sequence[Entry], gate: GatePolicy
) -> Promoters | None:
    start = next((entry for entry in entries if entry.kind == "rollout"), None)
    named = str(start.body.get("release")) if start else ""
    releases = [entry for entry in all_ if (entry.kind, entry.subject) == ("release", named)]
    if not releases:
        return None
    signed = [(one.author, one.key) for one in (*entries, releases[-1])]
    return Promoters(releases[-1], gate, know_people(services.ledger.trusted(), signed))
