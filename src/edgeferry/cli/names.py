"""What bears a name on the hub, and words for names that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeferry.domain.anchor import DEVICE as ANCHOR
from edgeferry.domain.fields import nearest
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Hub, Json

_MOST_PAGES = 10
_MOST_NAMES = 12


def read_device(hub: Hub, device: str) -> Json:
    """The device's twin; UsageError with the name probably meant when there is no such device."""
    try:
        return hub.device_twin(device)
    except HubError as error:
        if error.status != 404:
            raise
        raise UsageError(f"there is no device {device!r} on the hub", fix=_guess(hub, device)) from error


def read_deployment(hub: Hub, name: str) -> Json:
    """The deployment; UsageError with the name probably meant when there is none."""
    found = hub.configuration(name)
    if found is None:
        known = [str(one["id"]) for one in hub.configurations()]
        raise UsageError(f"there is no deployment {name!r} on the hub", fix=near(name, known))
    return found


def is_reserved(twin: Json) -> bool:
    """Whether it is the identity that holds the ledger's anchor, which is no device of the fleet."""
    return twin.get("deviceId") == ANCHOR


def near(word: str, known: Iterable[str]) -> str:
    """The name probably meant, or some that are known."""
    names = sorted(known)
    guess = nearest(word, names)
    if guess.startswith("did you mean") or len(names) <= _MOST_NAMES:
        return guess
    return f"known here: {list_some(names)}"


def list_some(names: Sequence[str]) -> str:
    """The names, or where there are many the first of them and how many more."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _guess(hub: Hub, device: str) -> str:
    names: list[str] = []
    for number, page in enumerate(hub.query("SELECT deviceId FROM devices"), 1):
        names += [str(row["deviceId"]) for row in page if not is_reserved(row)]
        if number == _MOST_PAGES:
            break
    return near(device, names) if names else "the hub has no device yet: edgeferry devices create NAME"
