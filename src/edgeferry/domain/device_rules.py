"""What the owner of a device lets its agent do: which createOptions, how to pull, when a layer is proven.

Pure values with the defaults of a device whose owner said nothing; `device/options.py` reads what was said.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Policy:
    """What createOptions may ask for. All of it is refused unless named here."""

    privileged: bool = False
    """Privileged modules, and whatever weakens what keeps a module in its container."""
    docker_socket: bool = False
    """Folders and sockets by which the engine itself can be reached."""
    host_network: bool = False
    host_namespaces: bool = False
    """The machine's processes, IPC, UTS, users or cgroups; other containers' namespaces and volumes."""
    mounts: tuple[str, ...] = ()
    """Folders of the machine that modules may mount, they and what is below them."""
    devices: tuple[str, ...] = ()
    """Device files that modules may use, such as `/dev/video0`, or all below a folder; and what device
    requests ask for: `gpu`, or a CDI name."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that modules may add, without `CAP_`; `ALL`: any."""
    sysctls: tuple[str, ...] = ()
    """Kernel settings that modules may set for themselves, such as `net.core.somaxconn`."""
    runtimes: tuple[str, ...] = ()
    """The engine's runtimes that modules may name, such as `nvidia`."""
    log_drivers: tuple[str, ...] = ()
    """Where else modules' logs may go, such as `syslog`; `json-file`, `local`, `journald` and `none` may
    always be named."""


@dataclass(frozen=True)
class PullRules:
    """How images are pulled."""

    bytes_per_s: int = 0
    """The most that pulls may take of the line; 0: no cap."""
    window: str = ""
    """Times of day in which pulls may run, `22:00-05:00` in the machine's own time; empty: always."""
    progress_s: float = 120.0
    """A pull that brings no byte for so long is given up and tried again."""
    least_free_bytes: int = 500_000_000
    """What must stay free on the disk that holds the images, beyond what the pull brings."""


@dataclass(frozen=True)
class TrialRules:
    """When a changed layer is proven, and when it has failed."""

    window_s: float = 600.0
    """A layer that was well for so long since it was applied, and since a module of it ended, is proven."""
    crashes: int = 3
    """A module that ended so often by itself before its layer was proven crash-loops."""
    ready_s: float = 60.0
    """How long the successor of a hand-over may take to answer `/health`."""


@dataclass(frozen=True)
class UpdateRules:
    """How long a new agent has, before the one that runs goes on."""

    ready_s: float = 60.0
    """To start, and to find that it can read this device's state."""
    proven_s: float = 180.0
    """To connect to the hub once it has taken over."""


@dataclass(frozen=True)
class Rules:
    """All of an owner's rules."""

    policy: Policy = field(default_factory=Policy)
    pull: PullRules = field(default_factory=PullRules)
    trial: TrialRules = field(default_factory=TrialRules)
    update: UpdateRules = field(default_factory=UpdateRules)
