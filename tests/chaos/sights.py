"""What was seen of one device: plain values that `invariants` judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layer:
    """What one configuration at the hub brings: `images` is module to image id."""

    number: int
    images: Mapping[str, str]


@dataclass(frozen=True)
class Container:
    """One container of the device; `layer` is the number that its labels say."""

    id: str
    name: str
    module: str
    layer: int
    image_id: str
    running: bool
    is_named: bool = True
    """Whether its name is the one that its module's container has in the end."""
    health: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Sequence[str] = ()


@dataclass(frozen=True)
class Moment:
    """From `at` (seconds) on, these modules ran, each of these layers: (module, layer)."""

    at: float
    running: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Sight:
    """One device and what stands around it, at one time."""

    wanted: Layer
    """What must run once the faults are over."""
    version: int
    """Of the desired properties that ask for it."""
    code: int
    """What the device must say of them."""
    containers: Sequence[Container]
    reported: Mapping[str, Any]
    others: Mapping[str, str] = field(default_factory=dict)
    """Modules of other layers that must run: name to image id."""
    networks: Sequence[str] = ()
    images: Sequence[str] = ()
    """References from the device's registry that its engine holds."""
    known: Mapping[str, str] = field(default_factory=dict)
    """References that were pushed for it, and whose module's they are."""
    files: Sequence[str] = ()
    """Names in its state folder."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Where no secret may stand: logs, twins; name to text."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """What each is to its text."""


@dataclass(frozen=True)
class Start:
    """A container that was started: from which reference, and which image that was on the engine."""

    image: str
    image_id: str
