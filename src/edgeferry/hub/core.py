"""What every room of the hub stands on: the store, a clock, who is connected, whom to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.limits import AZURE_SIZES, Sizes
from edgeferry.domain.twin import find_fault
from edgeferry.hub.events import Event
from edgeferry.hub.store import Store
from edgeferry.wire.hub import (
    Configuration,
    Identity,
    IfMatch,
    Presence,
    RefusalError,
    matches_etag,
    render_etag,
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Core:
    """`now` gives ISO 8601 UTC with microseconds. Each change is one transaction of the store; what it means
    for connected clients is announced after the commit."""

    store: Store
    now: Callable[[], str]
    new_key: Callable[[], str]
    presence: Callable[[str, str | None], Presence]
    announce: Callable[[Sequence[Event]], None]
    log: Callable[..., None]
    sizes: Sizes = AZURE_SIZES

    def identity(self, device: str, module: str | None = None) -> Identity:
        """The identity; RefusalError DeviceNotFound or ModuleNotFound."""
        identity = self.store.identity(device, module)
        if identity is not None:
            return identity
        if module is None or self.store.identity(device) is None:
            raise RefusalError("DeviceNotFound", f"there is no device {device!r}", fix="create it first")
        raise RefusalError(
            "ModuleNotFound", f"device {device!r} has no module {module!r}", fix="create it first"
        )

    def presence_of(self, identity: Identity) -> Presence:
        """Whether the identity is connected now."""
        return self.presence(identity.device, identity.module)


def invalid(problem: str, fix: str) -> RefusalError:
    """The refusal of an argument."""
    return RefusalError("ArgumentInvalid", problem, fix=fix)


def check_id(body: Mapping[str, Any], member: str, expected: str) -> None:
    """RefusalError when the body names another one than the address."""
    if body.get(member) not in (None, expected):
        raise invalid(f"{member} {body[member]!r} is not the one in the address", f"make it {expected!r}")


def check_put(
    old: Identity | Configuration | None, if_match: IfMatch, exists: str, missing: str, what: str
) -> None:
    """RefusalError unless a PUT without If-Match creates, or one with it updates the write it has seen."""
    if old is not None and if_match is None:
        raise RefusalError(exists, f"{what} exists already", fix="send If-Match to update it")
    if old is None and if_match is not None:
        raise RefusalError(missing, f"there is no {what}", fix="leave If-Match out to create it")
    if old is not None:
        check_etag(if_match, render_etag(old.etag), what)


def check_etag(if_match: IfMatch, etag: str, what: str) -> None:
    """RefusalError PreconditionFailed when If-Match names another write."""
    if not matches_etag(if_match, etag):
        wanted = " or ".join(if_match or ()) or "none"
        raise RefusalError(
            "PreconditionFailed", f"{what} has etag {etag}, not {wanted}", fix="read it again, then write"
        )


def check_values(section: str, values: Json, limit_bytes: int | None) -> None:
    """RefusalError when IoT Hub would refuse these tags or properties."""
    fault = find_fault(values, limit_bytes)
    if fault:
        raise invalid(f"{section}: {fault}", "keep to IoT Hub's limits for twins")


def section_of(body: Mapping[str, Any], member: str) -> Json | None:
    """The object at `member`, None when absent; RefusalError when it is something else."""
    value = body.get(member)
    if value is not None and not isinstance(value, dict):
        raise invalid(f"{member} is not an object", f"send {member} as a JSON object")
    return value
