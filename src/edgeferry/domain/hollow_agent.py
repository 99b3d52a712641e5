"""A hollow device's agent: which image it is, and whether it went back to the one before. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

from edgeferry.domain.hollow_device import Hollow, Running, find_fault, is_on, text_of
from edgeferry.domain.layering import locate
from edgeferry.domain.manifest import LayerState, ModuleSpec, ModuleState
from edgeferry.domain.model import DEVICE_AGENT

NAME = locate(DEVICE_AGENT)[1]


def wanted_agent(hollow: Hollow) -> ModuleSpec | None:
    """What is desired of the agent itself."""
    return hollow.wanted.system_modules.get(NAME) if hollow.wanted else None


def change_agent(hollow: Hollow, now_s: float) -> Hollow:
    """The device once its agent has become what is desired, where it can. Its first one is the first desired:
    it was installed so."""
    spec = wanted_agent(hollow)
    if spec is None or (hollow.agent and hollow.agent.spec.image == spec.image):
        return hollow
    if hollow.agent is None:
        return replace(hollow, agent=Running(spec, hollow.wanted_at))
    if hollow.images.get(spec.image, math.inf) > now_s or why_not(hollow, now_s):
        return hollow
    return replace(hollow, agent=Running(spec, max(hollow.wanted_at, hollow.images[spec.image])))


def why_not(hollow: Hollow, now_s: float) -> str:
    """Why the desired agent was given up; "" where it was not."""
    spec = wanted_agent(hollow)
    if spec is None or hollow.agent is None or hollow.agent.spec.image == spec.image:
        return ""
    is_there = hollow.images.get(spec.image, math.inf) <= now_s
    failed = is_there and find_fault(hollow, "agent_fails", spec, now_s)
    return f"the agent {spec.image} is not run: the new agent ended by itself" if failed else ""


def report_own(hollow: Hollow, spec: ModuleSpec, now_s: float) -> ModuleState:
    """What the agent says of itself, where `spec` is desired."""
    runs = hollow.agent
    if runs is None or is_on(hollow, "agent_fixed", now_s):
        return ModuleState(spec, "running")
    image = runs.spec.image
    digest = image.partition("@")[2] or f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    return ModuleState(
        replace(spec, image=image),
        "running",
        description=why_not(hollow, now_s),
        image_hash=digest,
        started_at=text_of(runs.started_at),
    )


def report_own_layer(hollow: Hollow, now_s: float) -> dict[str, LayerState]:
    """The deployment that gave an agent which was given up."""
    spec, reason = wanted_agent(hollow), why_not(hollow, now_s)
    if spec is None or not reason:
        return {}
    return {spec.layer: LayerState("RolledBack", reason, "", hollow.wanted_version)}
