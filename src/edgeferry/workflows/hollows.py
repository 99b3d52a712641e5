"""The identities of hollow devices at the hub: made before a simulation, gone after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeferry.domain.enrolment import new_tags
from edgeferry.domain.twin import merge
from edgeferry.errors import RefusedError
from edgeferry.ports import Hub, Json

HOLLOW_TAG = "hollow"
"""What tells a hollow device from others, whatever its name is."""
DEAL = "|"


def name_hollows(prefix: str, count: int) -> list[str]:
    """`PREFIX-0001` and so on."""
    return [f"{prefix}-{number:04}" for number in range(1, count + 1)]


def deal_tags(tags: Json, number: int) -> Json:
    """The tags of hollow device `number` (from 0): a text `a|b|c` is dealt out, one part to each in turn."""
    dealt: Json = {}
    for name, value in tags.items():
        if isinstance(value, Mapping):
            dealt[name] = deal_tags(dict(value), number)
        elif isinstance(value, str) and DEAL in value:
            parts = value.split(DEAL)
            dealt[name] = parts[number % len(parts)]
        else:
            dealt[name] = value
    return dealt


def enrol_hollows(hub: Hub, names: Sequence[str], device_class: str, tags: Json) -> dict[str, Json]:
    """The twin of each hollow device, made or found at the hub, by name. RefusedError when a device of that
    name is not hollow: then nothing was changed."""
    found = {twin["deviceId"]: twin for twin in hub.devices()}
    real = [name for name in names if name in found and not (found[name].get("tags") or {}).get(HOLLOW_TAG)]
    if real:
        raise RefusedError(
            f"the hub has a device {real[0]!r} that is not hollow; nothing was changed",
            fix="choose another --prefix",
        )
    states = hub.create_devices([name for name in names if name not in found], True, {HOLLOW_TAG: True})
    faults = [state for state in states.values() if state not in ("created", "existed")]
    if faults:
        raise RefusedError(f"the hub made no hollow devices: {faults[0]}", fix="ask for fewer --devices")
    twins = {}
    for number, name in enumerate(names):
        wanted = new_tags(name, device_class, merge({HOLLOW_TAG: True}, deal_tags(tags, number)))
        has = merge({}, (found.get(name) or {}).get("tags") or {})
        if has != wanted:
            hub.patch_tags(name, {**dict.fromkeys(has), **wanted})
        twins[name] = {"deviceId": name, "tags": wanted}
    return twins


def fetch_keys(hub: Hub, names: Sequence[str]) -> dict[str, str]:
    """Each device's own key."""
    return {name: hub.device(name)["authentication"]["symmetricKey"]["primaryKey"] for name in names}


def retire_hollows(hub: Hub, names: Sequence[str]) -> None:
    """The hub knows none of these devices any more."""
    hub.delete_devices(names)
