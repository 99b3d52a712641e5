"""What runs the modules on the fleet's devices: our agent, or Azure IoT Edge. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EdgeRuntime:
    """A fleet's runtime, and what deployments must tell it."""

    kind: Literal["agent", "iotedge"] = "agent"
    agent_image: str = "mcr.microsoft.com/azureiotedge-agent:1.5"
    """Of IoT Edge's own system modules; our agent reports them and runs neither."""
    hub_image: str = "mcr.microsoft.com/azureiotedge-hub:1.5"


OUR_AGENT = EdgeRuntime()
