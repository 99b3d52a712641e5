"""The base of an agent's rollout: no layered deployment may carry system modules, so that a copy of the base
which decides the devices stands in a layer's place, with another image for their agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import Deployment, is_base, rank
from edgeferry.domain.typed import render_choices
from edgeferry.errors import ConditionError, RefusedError, UsageError
from edgeferry.ports import Json
from edgeferry.wire.configuration import parse_deployment
from edgeferry.wire.deployment import ModelLayer, base_name, hash_content, render_agent_base, render_base

_NEW = "0001-01-01T00:00:00Z"
"""When a base that is not on the hub yet was created, as far as its rank goes."""


def copy_base(
    layer: ModelLayer, fleet: Fleet, existing: Sequence[Json], documents: Iterable[Json]
) -> tuple[Json, ModelLayer]:
    """The base that now decides the devices which the layer targets, ours where they have none, and the layer
    above it. UsageError when bases of different content decide them. `documents`: the twins of all edge
    devices."""
    bases = _read_bases(fleet, existing)
    deciding, targeting = _find_deciding(layer, fleet, bases, documents)
    if not deciding:  # nobody is targeted, or it is not known who
        owned = [one for _, one in bases if fleet.owns(one)]
        deciding = [owned[-1] if owned else _find_ours(fleet, bases)]
    first, *others = deciding
    alike = [one for _, one in bases if _is_alike(one, first, layer, fleet)]
    for other in others:
        if other not in alike:
            raise UsageError(
                f"the bases {first['id']} and {other['id']} decide devices of {layer.target_condition!r}, "
                "and say different things",
                fix="narrow --target-condition to the devices of one of them",
            )
    return first, _above(layer, targeting or alike)


def copy_approved(
    layer: ModelLayer,
    image: str,
    fleet: Fleet,
    existing: Sequence[Json],
    content_sha256: str,
    documents: Iterable[Json],
) -> tuple[Json, ModelLayer]:
    """The base whose copy has the content that was approved, and the layer above all that target the same
    devices; RefusedError when there is none any more, or another one decides any of these devices now.
    `documents`: the twins of the devices that the rollout is for."""
    bare = replace(layer, nonce="")
    bases = _read_bases(fleet, existing)
    alike = []
    for _, base in bases:
        try:
            same = hash_content(render_agent_base(base, bare, image, fleet)) == content_sha256
        except UsageError:
            continue
        if same:
            alike.append(base)
    deciding, targeting = _find_deciding(layer, fleet, bases, documents)
    other = next((one for one in deciding if one not in alike), None)
    if other is not None and alike:
        raise RefusedError(
            f"{other['id']} decides devices now that {layer.name} is for: that was to be a copy of "
            f"{alike[-1]['id']}, which says something else",
            fix="plan and approve it again",
        )
    if not alike:
        raise RefusedError(
            f"the base that {layer.name} was to be a copy of has changed since it was approved",
            fix="plan and approve it again",
        )
    return alike[-1], _above(layer, targeting or alike)


def _find_deciding(
    layer: ModelLayer, fleet: Fleet, bases: Sequence[tuple[Deployment, Json]], documents: Iterable[Json]
) -> tuple[list[Json], list[Json]]:
    """The bases that decide devices which the layer targets, ours where they have none; and all that target
    any of these."""
    condition = parse_condition(layer.target_condition)
    deciding: dict[str, Json] = {}
    targeting: dict[str, Json] = {}
    for document in documents:
        if matches(condition, document):
            found = [one for base, one in bases if matches(base.condition, document)]
            found = found or [_find_ours(fleet, bases)]
            deciding[found[-1]["id"]] = found[-1]
            targeting |= {one["id"]: one for one in found}
    return list(deciding.values()), list(targeting.values())


def _find_ours(fleet: Fleet, bases: Sequence[tuple[Deployment, Json]]) -> Json:
    """The fleet's own base; UsageError when what has its name at the hub is none."""
    name = base_name(fleet)
    for base, document in bases:
        if base.id == name:
            return document
    raise UsageError(
        f"the deployment {name} at the hub is no base, or its target condition cannot be read, and devices "
        "need it",
        fix=render_choices(
            fleet.environment,
            {
                "see it": ("deployments", "show", name),
                "to have it made anew": ("deployments", "delete", name),
            },
        ),
    )


def _above(layer: ModelLayer, bases: Sequence[Json]) -> ModelLayer:
    return replace(layer, priority=max(int(one.get("priority") or 0) for one in bases) + 1)


def _is_alike(one: Json, other: Json, layer: ModelLayer, fleet: Fleet) -> bool:
    """Whether they differ in nothing but the agent's image and the rollout that brought it."""
    if one is other:
        return True
    try:
        contents = [render_agent_base(base, layer, "", fleet)["content"] for base in (one, other)]
    except UsageError:
        return False
    return bool(contents[0] == contents[1])


def _read_bases(fleet: Fleet, existing: Sequence[Json]) -> list[tuple[Deployment, Json]]:
    """All bases, the weakest first; before them our own as it would be, where it is not there. One whose
    condition cannot be read is left out: the plan tells of it."""
    ours = render_base(fleet)
    found = []
    for one in existing:
        try:
            deployment = parse_deployment(one)
        except ConditionError:
            continue
        if deployment is not None and is_base(deployment.modules):
            found.append((deployment, one))
    found.sort(key=lambda each: rank(each[0]))
    if ours["id"] not in {one["id"] for one in existing}:
        found.insert(0, (_parse({**ours, "createdTimeUtc": _NEW}), ours))
    return found


def _parse(document: Json) -> Deployment:
    deployment = parse_deployment(document)
    assert deployment is not None
    return deployment
