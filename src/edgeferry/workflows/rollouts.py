"""Rollouts as the ledger has them: how each stands, and what a person orders of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile

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
    of = of or {}
    records = (_record(trusted(services, entries)) for entries in _select(services, of))
    return [record for record in records if record and _is_of(record.start, of)]


def load_open(services: Services, of: Mapping[str, Collection[str]]) -> list[Record]:
    """The same of those that have not ended. Of the others nothing is judged but their ends: of a thousand
    rollouts in a row that would take as long as the next one."""
    begun = (entries for entries in _select(services, of) if not _has_ended(services, entries))
    records = (_record(trusted(services, entries)) for entries in begun)
    return [record for record in records if record and not record.ended and _is_of(record.start, of)]


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
    return _load(services, rollout, gate)[0]


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
    record, promoters = _load(services, rollout, gate)
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


def _select(services: Services, of: Mapping[str, Collection[str]]) -> list[list[Entry]]:
    """The entries of each rollout whose start has one of these values in each member, oldest first."""
    by_id: dict[str, list[Entry]] = {}
    wanted: set[str] = set()
    for entry in services.ledger.all_entries():
        if entry.kind in KINDS:
            by_id.setdefault(entry.subject, []).append(entry)
        if entry.kind == "rollout" and _is_of(entry, of):
            wanted.add(entry.subject)
    return [entries for id_, entries in by_id.items() if id_ in wanted]


def _is_of(start: Entry, of: Mapping[str, Collection[str]]) -> bool:
    return all(start.body.get(member, "") in values for member, values in of.items())


def _has_ended(services: Services, entries: Sequence[Entry]) -> bool:
    """Whether an end that counts follows on a start; what else ends a rollout, its whole story tells."""
    begun = dropwhile(lambda entry: entry.kind != "rollout", entries)
    return first_trusted(services, (entry for entry in begun if entry.kind == "end")) is not None


def _load(services: Services, rollout: str, gate: GatePolicy | None) -> tuple[Record, Promoters | None]:
    """The rollout of that id, and who may promote its waves; from one reading of the ledger."""
    found = services.ledger.all_entries()
    entries = trusted(services, [e for e in found if e.kind in KINDS and e.subject == rollout])
    promoters = _find_promoters(services, found, entries, gate) if gate else None
    record = _record(entries, promoters)
    if record is None:
        raise UsageError(f"the ledger has no rollout {rollout}", fix="edgeferry rollouts list")
    return record, promoters


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
