"""The fleet of one environment: which devices, what runs their modules, how much one may use. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.condition import join_conditions, parse_condition
from edgeferry.domain.device_class import SMALL, DeviceClass
from edgeferry.domain.edge_runtime import OUR_AGENT, EdgeRuntime
from edgeferry.domain.expression import All


@dataclass(frozen=True)
class Fleet:
    """One environment's devices. Several environments may share a hub: each sees and touches the deployments
    of its own name only."""

    condition: str
    """Devices that get our base and the companion."""
    environment: str = ""
    only: str = ""
    """The target condition of the environment's devices; "" for all of the hub's."""
    runtime: EdgeRuntime = OUR_AGENT
    limits: DeviceClass = SMALL

    @property
    def all_devices(self) -> str:
        """The target condition of the devices that get base and companion."""
        return self.narrow(self.condition)

    def narrow(self, condition: str) -> str:
        """The target condition of those devices of the environment that `condition` picks; ConditionError
        when it cannot be read."""
        if not self.only or condition == self.only:
            return condition
        if condition in ("", "*"):
            return self.only
        parsed = parse_condition(condition).expression
        if isinstance(parsed, All) and parsed.parts[-1] == parse_condition(self.only).expression:
            return condition  # it was narrowed before, and is the same condition when it is given again
        return join_conditions(condition, self.only)

    @property
    def suffix(self) -> str:
        """What ends the names of the environment's deployments, in the letters that their names may have."""
        return f"-{self.environment}".lower() if self.environment else ""

    @property
    def labels(self) -> dict[str, str]:
        """What its deployments wear besides their own."""
        return {"environment": self.environment} if self.environment else {}

    def owns(self, configuration: Mapping[str, Any]) -> bool:
        """Whether a deployment of ours was made for this environment."""
        labels = configuration.get("labels") or {}
        return "edgeferry" in labels and labels.get("environment", "") == self.environment
