"""What the agent says of itself on its own machine, for `edgeferry agent status`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgeferry import __version__
from edgeferry.device.pulls import Pulls
from edgeferry.device.state import Store
from edgeferry.domain.manifest import LayerState, ModuleState

Json = dict[str, Any]

_log = logging.getLogger(__name__)


class LocalStatus:
    """The status file, written when something changed. `now`: the time as text."""

    def __init__(self, store: Store, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._said: Json = {}

    def save(self, said: Json) -> None:
        """The file says this; what cannot be written is logged, and is no fault of the device."""
        if said == self._said:
            return
        try:
            self._store.save_status({"at": self._now(), **said})
            self._said = said
        except OSError as error:
            _log.warning("status not written: %s", error)


def render_status(
    version: int,
    status: tuple[int, str],
    states: Mapping[str, ModuleState],
    layers: Mapping[str, LayerState],
    pulls: Pulls,
    *,
    connected: bool,
) -> Json:
    """The status as JSON, but for its time."""
    return {
        "connected": connected,
        "desired_version": version,
        "status": {"code": status[0], "description": status[1]},
        "layers": {name: asdict(layer) for name, layer in layers.items()},
        "modules": {name: _render_module(state) for name, state in states.items()},
        "pulls": {
            **pulls.waiting(),
            **{
                image: f"{progress.bytes_done / 1e6:.0f} of {progress.bytes_known / 1e6:.0f} MB"
                for image, progress in pulls.progress().items()
            },
        },
        "pid": os.getpid(),
        "version": f"edgeferry {__version__}",
    }


def _render_module(state: ModuleState) -> Json:
    return {
        "runtimeStatus": state.runtime_status,
        "description": state.description,
        "image": state.spec.image,
        "imageHash": state.image_hash,
        "restartCount": state.restart_count,
        "hostPorts": dict(state.host_ports),
    }
