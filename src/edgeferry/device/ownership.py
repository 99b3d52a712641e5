"""One agent owns a device's containers: that whose state folder has the id which they carry as a label.

Two state folders of one device on one engine would undo each other's work. So each folder has a random owner
id, made once. An agent that finds another's id stops. Taking over means a new id and a note of whose
containers may be made anew: their labels are not this folder's, so their hash is none that is desired. The
agent they were taken from sees the new id and stops, also when it had taken over itself before.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.device.containers import DEVICE_LABEL, OWNER_LABEL, SANDBOX_LABEL
from edgeferry.device.state import Enrolment, Store
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EngineError, OutsideError, RefusedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A state folder's id, and those whose containers it may make anew."""

    id: str
    taken_from: frozenset[str] = frozenset()


def load_owner(store: Store) -> Owner:
    """The folder's owner, made now if there is none. One that cannot be kept has no id: its containers carry
    none, and are ours at the next start too."""
    said = store.owner.load()
    if said is not None:
        return Owner(str(said["id"]), frozenset(said["taken_from"]))
    try:
        return _save(store, Owner(uuid.uuid4().hex))
    except OutsideError as error:
        _log.warning("containers will carry no owner: %s", error)
        return Owner("")


def claim(enrolment: Enrolment, store: Store, *, take_over: bool) -> Owner:
    """The device's owner from now on: this folder's. An engine that does not answer is not waited for; the
    agent's passes look again.

    RefusedError when another owns containers of this device, unless `take_over`, which needs the engine and
    the disk: EngineError, OutsideError without them.
    """
    owner = load_owner(store)
    engine = Engine(enrolment.engine)
    try:
        found = engine.containers({SANDBOX_LABEL: enrolment.sandbox, DEVICE_LABEL: enrolment.device})
    except EngineError as error:
        if take_over:
            raise
        _log.warning("not known yet who owns the device's containers: %s", error)
        return owner
    finally:
        engine.close()
    strangers = find_strangers(owner, found)
    if strangers and take_over:
        owner = _save(store, Owner(uuid.uuid4().hex, owner.taken_from | strangers | {owner.id}))
        _log.warning("took the device's containers over from owner=%s", ",".join(sorted(strangers)))
    refuse_strangers(owner, found)
    return owner


def find_strangers(owner: Owner, containers: Iterable[ContainerFacts]) -> frozenset[str]:
    """Other owners' ids on these containers; one without an owner's label is from before there were any, and
    ours."""
    ids = {facts.labels.get(OWNER_LABEL, owner.id) for facts in containers}
    return frozenset(ids - {owner.id} - owner.taken_from)


def refuse_strangers(owner: Owner, containers: Iterable[ContainerFacts]) -> None:
    """None of these containers is another owner's; RefusedError naming it."""
    containers = list(containers)
    strangers = find_strangers(owner, containers)
    names = [facts.name for facts in containers if facts.labels.get(OWNER_LABEL) in strangers]
    if names:
        raise RefusedError(
            f"containers of this device belong to another agent, owner {', '.join(sorted(strangers))}: "
            f"{', '.join(names)}",
            fix="stop that agent for good, then start this one once with --take-over",
        )


def _save(store: Store, owner: Owner) -> Owner:
    """Saved twice, so that the previous copy says the same: losing the id means losing the containers."""
    try:
        for _ in range(2):
            store.owner.save({"id": owner.id, "taken_from": sorted(owner.taken_from)})
    except OSError as error:
        raise OutsideError(
            f"the owner's id cannot be kept in {store.folder}: {error.strerror}",
            fix="free space there, and let the agent's user write to it",
        ) from error
    return owner
