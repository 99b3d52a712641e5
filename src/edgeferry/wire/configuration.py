"""IoT Hub's `Configuration` documents as their reader sees them: deployments, contents, progress.

Format: IoT Hub service REST 2021-04-12; manifest files as `az iot edge deployment create` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import Deployment
from edgeferry.errors import UsageError

Json = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a deployment has come: numbers of devices, as the hub counted them last."""

    targeted: int
    applied: int
    succeeded: int
    failed: int


def parse_deployment(configuration: Mapping[str, Any]) -> Deployment | None:
    """The deployment; None for a configuration of another kind. ConditionError when its target condition
    cannot be read."""
    modules = (configuration.get("content") or {}).get("modulesContent")
    if modules is None:
        return None
    return Deployment(
        id=str(configuration["id"]),
        priority=int(configuration.get("priority") or 0),
        created_at=str(configuration.get("createdTimeUtc") or ""),
        condition=parse_condition(str(configuration.get("targetCondition") or "")),
        modules=modules,
    )


def parse_progress(configuration: Mapping[str, Any]) -> Progress:
    """Its system metrics; 0 for what the hub has not counted yet."""
    results = (configuration.get("systemMetrics") or {}).get("results") or {}
    names = ("targetedCount", "appliedCount", "reportedSuccessfulCount", "reportedFailedCount")
    return Progress(*(int(results.get(name) or 0) for name in names))


def parse_manifest(document: Any) -> Json:
    """The `modulesContent` of a manifest file: {"content": {"modulesContent": …}}, {"modulesContent": …} or
    what stands in it; UsageError when it is none of them."""
    inner = document
    for name in ("content", "modulesContent"):
        if isinstance(inner, dict) and name in inner:
            inner = inner[name]
    if isinstance(inner, dict) and inner and all(isinstance(one, dict) for one in inner.values()):
        return inner
    raise UsageError(
        "the manifest has no modulesContent",
        fix='write {"modulesContent": {"$edgeAgent": {"properties.desired.modules.NAME": {…}}}}',
    )
