"""What the ledger tells of a release or a rollout, entry by entry, in a person's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeferry.domain.approval import find_people, render_origin
from edgeferry.domain.release import Entry

_HASH_LETTERS = len("sha256:") + 12


def find_story(entries: Sequence[Entry], name: str) -> tuple[Entry, ...]:
    """All that the ledger says of a release, or of a rollout: its release, plan and approvals too."""
    rollout = next(
        (e for e in entries if e.kind == "rollout" and e.subject == name and name_release(e) != name), None
    )
    if rollout is None:
        ids = {entry.subject for entry in entries if entry.kind == "rollout" and name_release(entry) == name}
        return tuple(entry for entry in entries if entry.subject in ids | {name})
    release = name_release(rollout)
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
            devices = sum(len(list_devices(wave)) for wave in waves)
            return f"{devices} device{'s' * (devices != 1)} in {len(waves)} wave{'s' * (len(waves) != 1)}"
        case "approval":
            people = " and ".join(find_people(entry)) or f"nobody ({entry.author} is a pipeline)"
            until = f", until {body['expires_at']}" if body.get("expires_at") else ""
            wave = f" for wave {body['wave']}" if body.get("wave") else ""
            return f"{body.get('decision')}{wave} by {people}{render_origin(entry)}{until}"
        case "rollout":
            where = f" for devices where {body['condition']}" if body.get("condition") else ""
            state = f"{body['state']}: {body.get('reason')}" if "state" in body else f"started{where}"
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


def name_release(start: Entry) -> str:
    """The release that a rollout is of, by the rollout's start."""
    return str(start.body.get("release") or start.subject)


def list_devices(wave: Mapping[str, Any]) -> Sequence[str]:
    """The devices that a wave of a plan adds."""
    return wave.get("devices") or ()


def _short(digest: Any) -> str:
    return str(digest or "no digest")[:_HASH_LETTERS]
