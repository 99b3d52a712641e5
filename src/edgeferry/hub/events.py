"""What a change means for clients that are connected."""

from __future__ import annotations

from dataclasses import dataclass

from edgeferry.domain.twin import Json


@dataclass(frozen=True)
class DesiredChanged:
    """A module's or device's desired properties are new; `patch` turns the old ones into them."""

    device: str
    module: str | None
    patch: Json
    version: int


@dataclass(frozen=True)
class IdentityGone:
    """The identity must not stay connected: it was deleted, disabled or got other keys."""

    device: str
    module: str | None


@dataclass(frozen=True)
class AssignmentRefused:
    """Deployments together ask for what a device cannot have; it keeps what it had."""

    device: str
    reason: str


Event = DesiredChanged | IdentityGone | AssignmentRefused
