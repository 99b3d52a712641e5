"""Which modules of a device move together, and what each such unit is to run.

A unit is the modules that one layer brings now, with those that the same layer brought when they were proven:
a failed unit goes back as a whole, so no module of an old layer runs beside one of a new. Modules that no
deployment brought (content applied to the device directly) are units of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeferry.domain.manifest import ModuleSpec

HashOf = Callable[[Mapping[str, ModuleSpec]], str]
"""The hash of some modules' specs, whatever layer brought them."""


@dataclass(frozen=True)
class Unit:
    """Modules that are applied, proven and taken back together."""

    layers: tuple[str, ...]
    """Ids of the deployments that bring them now, sorted; of those that brought them, when they go."""
    desired: Mapping[str, ModuleSpec]
    good: Mapping[str, ModuleSpec]
    """What was proven of these modules last."""
    hash: str
    """Of the desired specs; where none are, of those that go."""

    @property
    def name(self) -> str:
        """The layers, for people."""
        return ", ".join(self.layers)

    @property
    def modules(self) -> frozenset[str]:
        """All module names that belong to it, now or before."""
        return frozenset(self.desired) | frozenset(self.good)

    @property
    def is_proven(self) -> bool:
        """Whether exactly what is desired was proven."""
        return is_same(self.desired, self.good)


@dataclass(frozen=True)
class Aim:
    """What a unit's modules are to be, and why when that is not what is desired."""

    unit: Unit
    kind: Literal["desired", "rolled back", "refused"]
    modules: Mapping[str, ModuleSpec]
    reason: str = ""


def layer_of(spec: ModuleSpec) -> str:
    """The deployment that brought the module; the module's own name when none did."""
    return spec.layer or spec.name


def is_same(one: Mapping[str, ModuleSpec], other: Mapping[str, ModuleSpec]) -> bool:
    """Whether the modules are the same, whatever layer brought them."""
    return one == other or _without_layers(one) == _without_layers(other)


def find_units(
    desired: Mapping[str, ModuleSpec], good: Mapping[str, ModuleSpec], hash_of: HashOf
) -> tuple[Unit, ...]:
    """The units of a device, by name: connected by a layer that brings, or brought, several modules."""
    groups: dict[str, set[str]] = {name: {name} for name in {**desired, **good}}
    for specs in (desired, good):
        first_of: dict[str, str] = {}
        for name, spec in specs.items():
            first = first_of.setdefault(layer_of(spec), name)
            _join(groups, first, name)
    distinct = {min(group): group for group in groups.values()}
    return tuple(_unit(group, desired, good, hash_of) for _, group in sorted(distinct.items()))


def choose(
    unit: Unit,
    quarantined: Mapping[str, str],
    refusals: Mapping[str, Sequence[str]],
    keeps: Mapping[str, Sequence[str]],
) -> Aim:
    """What the unit is to run: what is desired, unless the device's owner refuses it (`refusals` by module;
    `keeps` are those of what was proven) or it failed before (`quarantined`, reasons by hash)."""
    texts = [text for name in sorted(unit.desired) for text in refusals.get(name, ())]
    if texts:
        kept = {} if any(keeps.get(name) for name in unit.good) else unit.good
        return Aim(unit, "refused", kept, f"layer {unit.name} is refused: {'; '.join(texts)}")
    reason = quarantined.get(unit.hash, "")
    if reason and unit.good and not unit.is_proven:
        return Aim(unit, "rolled back", unit.good, f"layer {unit.name} was rolled back: {reason}")
    return Aim(unit, "desired", unit.desired)


def _join(groups: dict[str, set[str]], one: str, other: str) -> None:
    if groups[one] is groups[other]:
        return
    joined = groups[one] | groups[other]
    for name in joined:
        groups[name] = joined


def _unit(
    group: set[str], desired: Mapping[str, ModuleSpec], good: Mapping[str, ModuleSpec], hash_of: HashOf
) -> Unit:
    wanted = {name: desired[name] for name in sorted(group) if name in desired}
    proven = {name: good[name] for name in sorted(group) if name in good}
    layers = tuple(sorted({layer_of(spec) for spec in (wanted or proven).values()}))
    hash_ = hash_of(wanted) if wanted else f"without {hash_of(proven)}"
    return Unit(layers, wanted, proven, hash_)


def _without_layers(specs: Mapping[str, ModuleSpec]) -> dict[str, ModuleSpec]:
    return {name: spec if not spec.layer else replace(spec, layer="") for name, spec in specs.items()}
