"""What was desired on a device at a moment, by the ledger, and what ran there, by its agent. Pure.

A layer stays until its rollout failed or a person took it back; of a model's layers on one device the newest
that stayed is the one desired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edgeferry.domain.approval import find_people, render_origin
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.errors import UsageError

FindPlan = Callable[[str], Mapping[str, Any] | None]
"""The body of the plan with that hash; None when the ledger has none."""

_HASH_LETTERS = len("sha256:") + 12


@dataclass(frozen=True)
class Desire:
    """That a release was desired on a device, for a while."""

    environment: str
    model: str
    release: str
    rollout: Entry
    """Its start."""
    wave: int
    """0 where the ledger does not tell."""
    since: str
    """ISO 8601."""
    until: str
    """When it was taken back; "" while it was not."""
    state: str
    """How the device ended in the rollout; "" before the end."""
    reason: str


@dataclass(frozen=True)
class Ran:
    """What a device's agent says it applied."""

    at: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    """By module."""
    outcome: str = ""
    """As `GetApplyHistory` says it: Trial, Proven, RolledBack, Failed or Superseded."""
    reason: str = ""
    note: str = ""
    """Why it is not known; "" when it is."""


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment; of a bare date its end, UTC, and `now` for "". UsageError for what is none."""
    if not text:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no date", fix="write 2026-11-28, or 2026-11-28T14:00 for a moment in UTC"
        ) from error
    if len(text) <= len("2026-11-28"):
        moment += timedelta(days=1, microseconds=-1)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def find_desires(
    entries: Sequence[Entry], device: str, at: datetime, find_plan: FindPlan
) -> tuple[Desire, ...]:
    """What was desired on the device at that moment, one for each environment and model. `entries`: those
    that count, oldest first."""
    past = [entry for entry in entries if _moment(entry.at) <= at]
    models = {entry.subject: str(entry.body.get("model") or "") for entry in past if entry.kind == "release"}
    newest: dict[tuple[str, str], Desire] = {}
    for start in past:
        if start.kind != "rollout":
            continue
        own = [entry for entry in past if entry.kind != "rollout" and entry.subject == start.subject]
        desire = _trace(start, own, device, models, find_plan)
        if desire is not None and not desire.until:
            key = (desire.environment, desire.model)
            if key not in newest or newest[key].since <= desire.since:
                newest[key] = desire
    return tuple(desire for _, desire in sorted(newest.items()))


def read_applies(answer: Mapping[str, Any], at: datetime) -> Ran:
    """What ran at that moment, from an agent's answer to `GetApplyHistory`: the last apply until then."""
    payload = _mapping(answer.get("payload"))
    applies = payload.get("applies")
    if answer.get("status") != 200 or not isinstance(applies, Sequence) or isinstance(applies, str):
        return Ran(note="its agent keeps no history of what it applied: IoT Edge's has none")
    past = [
        (moment, one)
        for one in map(_mapping, applies)
        if (moment := _read_moment(one.get("at"))) and moment <= at
    ]
    if not past:
        return Ran(note="its agent remembers no apply so long ago")
    found = max(past, key=lambda pair: pair[0])[1]
    return Ran(
        at=str(found["at"]),
        images={str(name): str(image) for name, image in _mapping(found.get("images")).items()},
        outcome=str(found.get("outcome") or ""),
        reason=str(found.get("reason") or ""),
    )


def find_story(entries: Sequence[Entry], name: str) -> tuple[Entry, ...]:
    """All that the ledger says of a release, or of a rollout: its release, plan and approvals too."""
    rollout = next(
        (e for e in entries if e.kind == "rollout" and e.subject == name and _release(e) != name), None
    )
    if rollout is None:
        ids = {entry.subject for entry in entries if entry.kind == "rollout" and _release(entry) == name}
        return tuple(entry for entry in entries if entry.subject in ids | {name})
    release = _release(rollout)
    approvals = approval_ids(rollout)
    return tuple(
        entry
        for entry in entries
        if entry.subject == name
        or entry.id in approvals
        or (entry.subject == release and entry.kind in ("release", "plan"))
    )


def approval_ids(start: Entry) -> tuple[str, ...]:
    """The ids of the approvals that a rollout began with."""
    said = start.body.get("approvals") or start.body.get("approval") or ()
    return (said,) if isinstance(said, str) else tuple(str(one) for one in said)


def describe(entry: Entry) -> str:
    """What the entry says, in a line."""
    body = entry.body
    match entry.kind:
        case "release":
            return f"version {body.get('version')}, {_short(body.get('digest'))}"
        case "plan":
            waves = body.get("waves") or ()
            devices = sum(len(_members(wave)) for wave in waves)
            return f"{devices} device{'s' * (devices != 1)} in {len(waves)} wave{'s' * (len(waves) != 1)}"
        case "approval":
            people = " and ".join(find_people(entry)) or f"nobody ({entry.author} is a pipeline)"
            until = f", until {body['expires_at']}" if body.get("expires_at") else ""
            wave = f" for wave {body['wave']}" if body.get("wave") else ""
            return f"{body.get('decision')}{wave} by {people}{render_origin(entry)}{until}"
        case "rollout":
            state = f"{body['state']}: {body.get('reason')}" if "state" in body else "started"
            return f"{state}, layer {body.get('layer')}"
        case "wave":
            verdict = body.get("verdict")
            said = (
                f": {verdict.get('state')}: {verdict.get('reason')}" if isinstance(verdict, Mapping) else ""
            )
            return f"wave {body.get('wave')} {body.get('event')}{said}"
        case "order":
            return f"{body.get('order')}: {body.get('reason') or 'no reason given'}"
        case "end":
            return f"{body.get('state')}: {body.get('reason')}"
        case _:
            return ""


def _trace(
    start: Entry, own: Sequence[Entry], device: str, models: Mapping[str, str], find_plan: FindPlan
) -> Desire | None:
    body = start.body
    release = _release(start)
    devices = _mapping(body.get("devices"))
    since, wave = (start.at, 0) if device in devices else ("", 0)
    if not since:
        since, wave = _find_wave(own, device, find_plan(str(body.get("plan") or "")) or {})
    until = start.at if body.get("state") == State.FAILED else ""
    for entry in own:
        if entry.kind == "end":
            devices = _mapping(entry.body.get("devices"))
            since = since or (entry.at if device in devices else "")
        failed = entry.kind == "end" and entry.body.get("state") == State.FAILED
        taken = entry.kind == "order" and entry.body.get("order") == "revert"
        until = until or (entry.at if failed or taken else "")
    if not since:
        return None
    said = _mapping(devices.get(device))
    return Desire(
        environment=str(body.get("environment") or ""),
        model=str(body.get("model") or models.get(release) or ""),
        release=release,
        rollout=start,
        wave=wave,
        since=since,
        until=until,
        state=str(said.get("state") or ""),
        reason=str(said.get("reason") or ""),
    )


def _find_wave(own: Sequence[Entry], device: str, plan: Mapping[str, Any]) -> tuple[str, int]:
    """(when, number) of the wave that reached the device first; ("", 0) when none did."""
    numbers = {wave.get("wave") for wave in plan.get("waves") or () if device in _members(wave)}
    for entry in own:
        if (
            entry.kind == "wave"
            and entry.body.get("event") == "started"
            and entry.body.get("wave") in numbers
        ):
            return entry.at, int(entry.body["wave"])
    return "", 0


def _members(wave: Mapping[str, Any]) -> Sequence[str]:
    return wave.get("devices") or ()


def _release(start: Entry) -> str:
    return str(start.body.get("release") or start.subject)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _short(digest: Any) -> str:
    return str(digest or "no digest")[:_HASH_LETTERS]
