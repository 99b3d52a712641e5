"""What runs the modules on the fleet's devices: our agent, or Azure IoT Edge. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeferry.domain.manifest import RegistryLogin


@dataclass(frozen=True)
class EdgeRuntime:
    """A fleet's runtime, and what deployments must tell it."""

    kind: Literal["agent", "iotedge"] = "agent"
    agent_image: str = "mcr.microsoft.com/azureiotedge-agent:1.5"
    """Of IoT Edge's own system modules; our agent reports them and runs neither."""
    hub_image: str = "mcr.microsoft.com/azureiotedge-hub:1.5"
    pull: RegistryLogin | None = None
    """How IoT Edge's devices pull: a login that can do nothing else. None: they need no login, or have it
    already. Our agent got its own at enrolment."""


OUR_AGENT = EdgeRuntime()
