"""What to know about a deployment before it is created: not wrong, and yet seldom meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeferry.domain.layering import AGENT, Deployment, is_base
from edgeferry.domain.portability import find_remarks

RESERVED = "edgeferry-"
"""How the names of edgeferry's own deployments begin."""


def find_warnings(
    deployment: Deployment, others: Sequence[Deployment], selected: int, edge_devices: int
) -> Iterator[str]:
    """Sentences about the deployment beside the `others` on the hub, when its condition selects `selected` of
    the hub's `edge_devices`."""
    if not selected:
        yield f"its condition selects none of the {edge_devices} edge devices"
    elif selected == edge_devices and deployment.condition.text.strip() != "*":
        yield f"its condition selects all {edge_devices} edge devices"
    for remark in find_remarks(deployment.condition.expression):
        yield f"its condition, column {remark.column}: {remark.problem}: {remark.fix}"
    equal = [one.id for one in others if one.priority == deployment.priority]
    if equal:
        has = "has" if len(equal) == 1 else "have"
        yield (
            f"{', '.join(sorted(equal))} {has} priority {deployment.priority} too: where both set one path, "
            "the one created last wins"
        )
    if is_base(deployment.modules):
        return
    for path in _whole_lists(deployment.modules):
        yield (
            f"{path} as a whole replaces all modules of lower deployments: write {path}.NAME for the modules "
            "that it brings"
        )
    bases = [one for one in others if is_base(one.modules)]
    if not bases:
        yield "it is a layer, and the hub has no base deployment: it waits until one targets its devices"
    elif all(one.priority >= deployment.priority for one in bases):
        lowest = min(one.priority for one in bases)
        yield (
            "it is a layer, and every base has at least its priority: it waits below such a base; "
            f"give more than {lowest}"
        )


def _whole_lists(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind in ("modules", "systemModules"):
        if f"properties.desired.{kind}" in modules.get(AGENT, {}):
            yield f"properties.desired.{kind}"
