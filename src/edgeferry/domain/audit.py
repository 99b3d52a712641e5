"""What was desired on a device at a moment, by the ledger, and what ran there, by its agent. Pure.

A layer stays until its rollout failed or a person took it back; of a model's layers on one device the newest
that stayed is the one desired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edgeferry.domain.fields import members
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.domain.story import list_devices, name_release
from edgeferry.errors import UsageError

FindPlan = Callable[[str], Mapping[str, Any] | None]
"""The body of the plan with that hash; None when the ledger has none."""


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
    """What ran on a device: what its agent says it applied, and has not taken away again."""

    at: str = ""
    """When the newest of it was applied."""
    images: Mapping[str, str] = field(default_factory=dict)
    """By module."""
    outcome: str = ""
    """Of the newest, as `GetApplyHistory` says it: Proven, Trial, or Failed with nothing to go back to."""
    reason: str = ""
    undone: str = ""
    """What was applied after that and is gone again, when, and why; "" where nothing was."""
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
    """What ran at that moment, from an agent's answer to `GetApplyHistory`: of each module the last apply
    until then that was not undone. What serves again because the next is gone is applied no second time."""
    payload = members(answer.get("payload"))
    applies = payload.get("applies")
    if answer.get("status") != 200 or not isinstance(applies, Sequence) or isinstance(applies, str):
        return Ran(note="its agent keeps no history of what it applied: IoT Edge's has none")
    past = [
        (moment, one)
        for one in map(members, applies)
        if (moment := _read_moment(one.get("at"))) and moment <= at
    ]
    if not past:
        return Ran(note="its agent remembers no apply so long ago")
    past.sort(key=lambda pair: pair[0])
    images: dict[str, str] = {}
    newest: Mapping[str, Any] = {}
    undone = ""
    for _, one in past:
        if _is_undone(one, at):
            undone = _render_undone(one)
            continue
        newest, undone = one, ""
        gone = one.get("gone")
        for module in gone if isinstance(gone, Sequence) else ():
            images.pop(str(module), None)
        images |= {str(module): str(image) for module, image in members(one.get("images")).items()}
    if not newest:
        return Ran(note=f"what its agent remembers of it is gone again: {undone}")
    ended = _read_moment(newest.get("ended_at"))
    on_trial = ended is not None and ended > at
    return Ran(
        at=str(newest["at"]),
        images=images,
        outcome="Trial" if on_trial else str(newest.get("outcome") or ""),
        reason="" if on_trial else str(newest.get("reason") or ""),
        undone=undone,
    )


def _is_undone(apply: Mapping[str, Any], at: datetime) -> bool:
    """Whether its modules went back at that moment or before, or something else took their place."""
    ended = _read_moment(apply.get("ended_at"))
    match apply.get("outcome"):
        case "RolledBack" | "Superseded":
            return ended is None or ended <= at
        case "Failed":  # with nothing to go back to it stays, until something else is desired
            return ended is not None and ended <= at
    return False


def _render_undone(apply: Mapping[str, Any]) -> str:
    images = ", ".join(f"{module}: {image}" for module, image in sorted(members(apply.get("images")).items()))
    reason = f": {apply['reason']}" if apply.get("reason") else ""
    return f"{images or 'no module'}, applied at {apply.get('at')}, {apply.get('outcome')}{reason}"


def _trace(
    start: Entry, own: Sequence[Entry], device: str, models: Mapping[str, str], find_plan: FindPlan
) -> Desire | None:
    body = start.body
    release = name_release(start)
    devices = members(body.get("devices"))
    since, wave = (start.at, 0) if device in devices else ("", 0)
    if not since:
        since, wave = _find_wave(own, device, find_plan(str(body.get("plan") or "")) or {})
    until = start.at if body.get("state") == State.FAILED else ""
    for entry in own:
        if entry.kind == "end":
            devices = members(entry.body.get("devices"))
            since = since or (entry.at if device in devices else "")
        failed = entry.kind == "end" and entry.body.get("state") == State.FAILED
        taken = entry.kind == "order" and entry.body.get("order") == "revert"
        until = until or (entry.at if failed or taken else "")
    if not since:
        return None
    said = members(devices.get(device))
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
    numbers = {wave.get("wave") for wave in plan.get("waves") or () if device in list_devices(wave)}
    for entry in own:
        if (
            entry.kind == "wave"
            and entry.body.get("event") == "started"
            and entry.body.get("wave") in numbers
        ):
            return entry.at, int(entry.body["wave"])
    return "", 0


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
