"""The update of an agent that runs as a container: it prepares its successor and hands the device over; the
successor proves itself, or the predecessor takes the device back. Pure.

Both containers start again after a power cut. A record on disk, moved from one phase to the next by compare
and swap, says whose turn it is; a lock that only one of them can hold makes sure of it.

    prepared   the predecessor acts; the successor starts and looks whether it can read the state
    handed     the successor acts; the predecessor watches
    proven     the successor acts, removes the predecessor and takes its name
    failed     the predecessor acts; the image is not tried again until another is desired
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgeferry.domain.device_rules import UpdateRules

AGENT_LABEL = "edgeferry.agent"
"""Label of images that are agents: `true`."""
OFFLINE_PASSES = 3
"""So many passes prove an agent whose predecessor had no hub either."""
_IOT_EDGE = "azureiotedge-agent"


class Phase(StrEnum):
    """How far an update is."""

    PREPARED = "prepared"
    HANDED = "handed"
    PROVEN = "proven"
    FAILED = "failed"


@dataclass(frozen=True)
class Update:
    """The update on record; agents are named by the mark that their containers carry."""

    phase: Phase
    before: str
    after: str
    """Empty where the image was refused before a container was made of it."""
    image: str
    pulled: bool = False
    """Whether the image came for this update, so that it may go with it."""
    connected: bool = False
    """Whether the predecessor had its hub when it handed over, so that the successor must have it too."""
    reason: str = ""


@dataclass(frozen=True)
class Successor:
    """What is seen of the successor's container, once it was started."""

    ended: str = ""
    """Why it does not run, or empty."""
    ready: bool = False
    problem: str = ""
    """What it found that keeps it from this device."""


@dataclass(frozen=True)
class Found:
    """The desired image on the engine."""

    id: str
    is_agent: bool


@dataclass(frozen=True)
class Sight:
    """What the agent that acts sees in one pass."""

    own: str
    """Its mark; empty where it does not run as a container."""
    own_image: str
    own_image_id: str
    desired: str
    """The desired image of `edgeAgent`; empty where none is known."""
    update: Update | None = None
    found: Found | None = None
    successor: Successor | None = None
    waited_s: float = 0.0
    """Since this phase was first seen."""
    connected: bool = False
    passes: int = 0
    """How many passes this agent has made."""


@dataclass(frozen=True)
class Nothing:
    """Nothing is to be done; `reason` is worth telling when it is not empty."""

    reason: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Fetch:
    """The image is to be pulled."""

    reason: str


@dataclass(frozen=True)
class Prepare:
    """A successor is wanted: it goes on record."""

    reason: str


@dataclass(frozen=True)
class Launch:
    """The successor on record gets its container."""

    reason: str


@dataclass(frozen=True)
class HandOver:
    """The successor's turn begins."""

    reason: str


@dataclass(frozen=True)
class GiveUp:
    """The image has failed: it goes on record."""

    reason: str


@dataclass(frozen=True)
class Discard:
    """The failed successor's container goes."""

    reason: str


@dataclass(frozen=True)
class Forget:
    """The record goes, and the successor's container if there is one."""

    reason: str


@dataclass(frozen=True)
class Prove:
    """This agent is proven."""

    reason: str


@dataclass(frozen=True)
class Settle:
    """The predecessor's container goes, its name moves here, the record goes."""

    reason: str


@dataclass(frozen=True)
class Leave:
    """It is not this agent's turn any more."""

    reason: str


Action = Nothing | Fetch | Prepare | Launch | HandOver | GiveUp | Discard | Forget | Prove | Settle | Leave


def decide(sight: Sight, rules: UpdateRules) -> Action:
    """What the agent that acts does next about its own update."""
    update = sight.update
    if update is None:
        return _begin(sight)
    if sight.own and update.after == sight.own:
        return _prove(sight, update)
    if update.before != sight.own:
        return Forget("that update was between other agents")
    if update.phase is Phase.PREPARED:
        return _prepare(sight, update, rules)
    if update.phase is Phase.FAILED:
        return _remember(sight, update)
    return GiveUp("the new agent let go of the device")


class Turn(StrEnum):
    """What an agent does that does not hold the device."""

    TAKE = "take"
    STAND_BY = "stand by"
    WATCH = "watch"
    REST = "rest"


def whose_turn(own: str, update: Update | None) -> Turn:
    """What the agent with that mark (empty: no container) does before it acts."""
    if update is None or not own or own not in (update.before, update.after):
        return Turn.TAKE
    if own == update.before:
        return Turn.TAKE if update.phase in (Phase.PREPARED, Phase.FAILED) else Turn.WATCH
    if update.phase is Phase.PREPARED:
        return Turn.STAND_BY
    return Turn.REST if update.phase is Phase.FAILED else Turn.TAKE


def why_failed(successor: Successor | None, waited_s: float, rules: UpdateRules) -> str:
    """Why the predecessor takes the device back from a successor that is not proven; empty to wait on.

    `successor` is None where its container is gone.
    """
    if successor is None:
        return "the new agent's container is gone"
    if successor.ended:
        return f"the new agent {successor.ended}"
    if waited_s > rules.proven_s:
        return f"the new agent was not proven within {rules.proven_s:g} s"
    return ""


def _begin(sight: Sight) -> Action:
    if not sight.desired or sight.desired == sight.own_image or _is_iot_edge(sight.desired):
        return Nothing()
    if not sight.own:
        return Nothing(
            f"edgeAgent's image {sight.desired} is not run: this agent is installed as a program, "
            "update its package"
        )
    if sight.found is None:
        return Fetch("desired for the agent itself")
    if sight.found.id == sight.own_image_id:
        return Nothing()
    if not sight.found.is_agent:
        return GiveUp(f"it is no agent of edgeferry's: its label {AGENT_LABEL} is not true")
    return Prepare("desired for the agent itself")


def _prepare(sight: Sight, update: Update, rules: UpdateRules) -> Action:
    successor = sight.successor
    if sight.desired != update.image:
        return Forget("another agent is desired")
    if successor is None:
        return Launch("no container yet")
    if successor.problem:
        return GiveUp(f"the new agent cannot run here: {successor.problem}")
    if successor.ended:
        return GiveUp(f"the new agent {successor.ended}")
    if successor.ready:
        return HandOver("the new agent can read the state and reach the engine")
    if sight.waited_s > rules.ready_s:
        return GiveUp(f"the new agent was not ready within {rules.ready_s:g} s")
    return Nothing(f"the agent {update.image} is being made ready")


def _prove(sight: Sight, update: Update) -> Action:
    if update.phase is Phase.PROVEN:
        return Settle("proven")
    if update.phase is not Phase.HANDED:
        return Leave("the device was taken back")
    if sight.connected:
        return Prove("connected to the hub")
    if not update.connected and sight.passes >= OFFLINE_PASSES:
        return Prove(f"{sight.passes} passes without a hub, as its predecessor had none")
    return Nothing(f"the agent {update.image} is on trial")


def _remember(sight: Sight, update: Update) -> Action:
    if sight.successor is not None:
        return Discard(update.reason)
    if sight.desired and sight.desired != update.image:
        return Forget("another agent is desired")
    return Nothing(f"the agent {update.image} is not run: {update.reason}", failed=True)


def choose_desired(image: str, home: str) -> str:
    """The image that the agent is to be, given the desired `image` of `edgeAgent`: where that is IoT Edge's
    own, no agent of ours is desired any more, and the device goes back to the one it was installed with:
    `home`, empty where nothing has followed that one yet."""
    return home if home and _is_iot_edge(image) else image


def _is_iot_edge(image: str) -> bool:
    """Whether it is IoT Edge's own agent, which every deployment must name and which is never run here."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0] == _IOT_EDGE
