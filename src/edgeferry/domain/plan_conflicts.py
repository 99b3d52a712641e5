"""What stands in the way of a rollout: kinds of conflict, and how bad each is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """What two things want at once, or what is not as a rollout needs it."""

    MODULE = "module"
    """Another deployment brings, or changes, the release's module."""
    COVERED = "covered"
    """Something above the layer takes away what it brings."""
    HOST_PORT = "host-port"
    MOUNT = "mount"
    DEVICE_PATH = "device-path"
    EQUAL_PRIORITY = "equal-priority"
    MISSING_BASE = "missing-base"
    BELOW_BASE = "below-base"
    FOREIGN_BASE = "foreign-base"
    COVERED_BASE = "covered-base"
    """Our base would take the place of another one."""
    NOBODY = "nobody"
    EVERYBODY = "everybody"
    NOT_AS_AZURE = "not-as-azure"
    """Azure would read the condition differently, or not at all."""
    UNTAGGED = "untagged"
    """A device without what waves are cut by."""
    UNREAD = "unread"
    """A deployment whose target condition we cannot read."""
    DEPLOYMENTS = "deployments"
    MODULES = "modules"
    TAGS = "tags"
    DESIRED = "desired"
    CONDITION = "condition"
    """These five are the hub's quotas."""


Severity = Literal["blocks", "warns"]


@dataclass(frozen=True)
class Conflict:
    """One thing that stands in the way, or that a person should know."""

    kind: Kind
    severity: Severity
    problem: str
    fix: str
    devices: int = 0
    """How many devices it concerns."""
    examples: tuple[str, ...] = ()
    """Some of them, by name."""
    deployments: tuple[str, ...] = ()
