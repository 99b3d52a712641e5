"""The tags that make a device one of the fleet: what target conditions and rollouts look at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeferry.domain.bucket import rollout_bucket
from edgeferry.domain.twin import merge

Json = dict[str, Any]

FLEET_TAG = "edgeferry"
BUCKET_TAG = "rollout_bucket"
CLASS_TAG = "device_class"
PLATFORM_TAG = "platform"


def new_tags(device: str, device_class: str, asked: Mapping[str, Any]) -> Json:
    """All tags of a new device; those `asked` for count before ours."""
    ours = {FLEET_TAG: True, BUCKET_TAG: rollout_bucket(device), CLASS_TAG: device_class}
    return merge(ours, asked)


def missing_tags(device: str, device_class: str, has: Mapping[str, Any], asked: Mapping[str, Any]) -> Json:
    """The merge patch that makes a device one of the fleet: what it `has` stays, but for what is `asked`."""
    ours = new_tags(device, device_class, {})
    return {**{name: value for name, value in ours.items() if name not in has}, **asked}
