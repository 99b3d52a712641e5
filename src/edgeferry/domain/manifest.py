"""What one device should run, and what it does run. Pure values.

`ModuleSpec` and `DeviceManifest` are the desired side, `ModuleState` and `DeviceReport` the reported side;
`wire.edge` turns them into IoT Edge's documents and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAST = 4294967295
"""The startup order of a module that names none: after all others."""
NEVER = "0001-01-01T00:00:00Z"
"""IoT Edge's time for what has not happened."""


@dataclass(frozen=True)
class ModuleSpec:
    """One module as desired."""

    name: str
    image: str
    create_options: Mapping[str, Any] = field(default_factory=dict)
    """The engine's raw create body (Docker API ContainerCreate) without image and environment."""
    env: Mapping[str, str] = field(default_factory=dict)
    status: str = "running"
    """running or stopped."""
    restart_policy: str = "always"
    """never, on-failure, on-unhealthy or always."""
    startup_order: int = LAST
    image_pull_policy: str = "on-create"
    """on-create or never."""
    version: str = ""
    """A free text; a change of it alone makes the device create the module anew."""
    layer: str = ""
    """The id of the deployment that gave the module, as the hub notes it; no part of what a container is
    compared by."""


@dataclass(frozen=True)
class RegistryLogin:
    """A registry (`host:port`) and how to pull from it."""

    address: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class DeviceManifest:
    """Everything one device should run after merging base and layers."""

    modules: Mapping[str, ModuleSpec]
    system_modules: Mapping[str, ModuleSpec] = field(default_factory=dict)
    """edgeAgent and edgeHub: IoT Edge's runtime runs them, our agent recognises and reports them."""
    registries: tuple[RegistryLogin, ...] = ()
    schema_version: str = "1.1"
    runtime_settings: Mapping[str, Any] = field(default_factory=dict)
    """`runtime.settings` as they may be reported: without passwords."""


@dataclass(frozen=True)
class ModuleState:
    """One module as it is: `spec` is what its container was made from, not what is desired now."""

    spec: ModuleSpec
    runtime_status: str
    """unknown, backoff, running, unhealthy, stopped, failed or dead."""
    exit_code: int = 0
    description: str = ""
    image_hash: str = ""
    """What the engine says it runs: the image's config digest (newer engines: the manifest's)."""
    started_at: str = NEVER
    exited_at: str = NEVER
    restart_count: int = 0
    restarted_at: str = NEVER
    host_ports: Mapping[str, int] = field(default_factory=dict)
    """Port of the container (`8080/tcp`) to port of the device."""


@dataclass(frozen=True)
class LayerState:
    """How it stands with all that one deployment gave the device."""

    outcome: str
    """Pulling, Trial, Proven, RolledBack, Refused or Failed."""
    reason: str = ""
    spec_hash: str = ""
    desired_version: int = 0
    """The desired version that brought it as it is."""
    since: str = NEVER
    progress: str = ""
    """How far a pull is, in words."""


@dataclass(frozen=True)
class DeviceReport:
    """What a device's agent says of itself and its modules."""

    last_desired_version: int
    """The newest desired version whose plan ran; 0 before the first."""
    status_code: int
    """Of that plan: 200, 400, 412, 417 or 500, as edgeAgent has them; 406 when the agent has ended."""
    status_description: str
    agent_version: str
    architecture: str
    engine_version: str
    modules: Mapping[str, ModuleState]
    system_modules: Mapping[str, ModuleState]
    schema_version: str = "1.1"
    runtime_settings: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, LayerState] = field(default_factory=dict)
    """By the id of the deployment; "" holds the modules that no deployment gave."""
    agent_build: str = ""
    agent_commit: str = ""
