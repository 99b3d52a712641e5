"""Removal: a deployment goes only as it was read and judged; one that somebody has changed since stays."""

from __future__ import annotations

from edgeferry.errors import HubError
from edgeferry.ports import Json, Services

CHANGED = 412
"""The hub's status where a deployment is another one than was read."""


def remove_as_read(services: Services, name: str, etag: str) -> bool:
    """Whether the hub deleted it, or had none; no when it is another one than was read."""
    try:
        services.hub.delete_configuration(name, etag)
    except HubError as error:
        if error.status != CHANGED:
            raise
        return False
    return True


def collect(services: Services, read: Json) -> bool:
    """The same for one that is only in the way, read a while ago; that it stays is said.

    An etag counts the writes of one deployment, so another one in its place may have the same: when it was
    made tells them apart."""
    name = str(read["id"])
    now = services.hub.configuration(name)
    same = now is None or all(now.get(key) == read.get(key) for key in ("etag", "createdTimeUtc"))
    gone = same and remove_as_read(services, name, str(read.get("etag") or "*"))
    if not gone:
        services.say(f"{name} was changed since it was read, so it stays: the next rollout looks at it again")
    return gone
