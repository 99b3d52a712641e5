"""A device class: a named set of limits that images are verified under and run under. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceClass:
    """Limits of one container on such a device."""

    name: str
    memory_bytes: int
    cpus: float
    """Cores; a part of one is a share of its time."""
    pids: int
    """Processes and threads at once."""


SMALL = DeviceClass(name="small", memory_bytes=512 * 1024 * 1024, cpus=1.0, pids=128)
"""The default: half a gigabyte and one core for a module."""

DEVICE_CLASSES = {
    each.name: each
    for each in (
        SMALL,
        DeviceClass(name="medium", memory_bytes=1024 * 1024 * 1024, cpus=2.0, pids=256),
        DeviceClass(name="large", memory_bytes=4 * 1024 * 1024 * 1024, cpus=4.0, pids=512),
    )
}
"""By name."""
