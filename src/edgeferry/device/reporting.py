"""What the agent says at the hub: its reported properties, of which only what changed is sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeferry import __version__
from edgeferry.device.link import Link
from edgeferry.domain.manifest import DeviceManifest, DeviceReport, LayerState, ModuleSpec, ModuleState
from edgeferry.engine import EngineInfo
from edgeferry.errors import EdgeferryError
from edgeferry.wire.edge_report import diff_reported, render_reported

Json = dict[str, Any]

NOT_RUNNING = "the agent is not running"

_log = logging.getLogger(__name__)


class Reporting:
    """The hub's copy of the report, and the way to it."""

    def __init__(self, link: Link, started_at: str) -> None:
        self._link = link
        self._started_at = started_at
        self._known: Json | None = None
        self._own_words = ""
        self._own_image: tuple[str, str] | None = None
        self._gave_up = False

    def take_reported(self, reported: Json) -> None:
        """The hub holds this; called in the link's thread."""
        self._known = reported

    def take_own(self, words: str, image: tuple[str, str] | None, *, gave_up: bool) -> None:
        """What is to be told of the agent itself: the words, reference and engine's id of the image that it
        runs in (None: in none; empty while that is not known), and whether it `gave_up` the one that is
        desired."""
        self._own_words, self._own_image, self._gave_up = words, image, gave_up

    def system_states(self, manifest: DeviceManifest | None) -> dict[str, ModuleState]:
        """IoT Edge's two own modules: this program stands in for the first, and nothing for the second."""
        said = {
            "edgeAgent": (
                "running",
                self._own_words or f"edgeferry {__version__} stands in for it",
                self._started_at,
            ),
            "edgeHub": ("stopped", "not run: modules speak to the hub themselves", None),
        }
        states = {}
        wanted = dict(manifest.system_modules) if manifest else {}
        if self._own_image is not None:
            wanted.setdefault("edgeAgent", ModuleSpec("edgeAgent", ""))
        for name, spec in wanted.items():
            status, description, started_at = said.get(name, ("stopped", "not run here", None))
            state = ModuleState(spec=spec, runtime_status=status, description=description)
            states[name] = replace(state, started_at=started_at) if started_at else state
        if self._own_image is not None:
            image, id_ = self._own_image
            own = states["edgeAgent"]
            states["edgeAgent"] = replace(own, spec=replace(own.spec, image=image), image_hash=id_)
        return states

    def _own_layer(self, manifest: DeviceManifest | None, version: int) -> dict[str, LayerState]:
        """What is to be told of the deployment that gave the agent's image, where the agent went back."""
        spec = manifest.system_modules.get("edgeAgent") if manifest and self._gave_up else None
        named = spec is not None and spec.layer
        return {named: LayerState("RolledBack", self._own_words, "", version)} if named else {}

    def send(
        self,
        version: int,
        status: tuple[int, str],
        states: Mapping[str, ModuleState],
        layers: Mapping[str, LayerState],
        manifest: DeviceManifest | None,
        info: EngineInfo | None,
    ) -> None:
        """The hub holds the report, where it can be reached. `version` is 0 while nothing was carried out
        since the agent started: then the version said before stands, and its status but for bad news."""
        known = self._known
        if not self._link.connected or known is None:
            return
        report = DeviceReport(
            last_desired_version=version,
            status_code=status[0],
            status_description=status[1],
            agent_version=f"edgeferry {__version__}",
            architecture=info.architecture if info else "",
            engine_version=info.version if info else "",
            modules=states,
            system_modules=self.system_states(manifest),
            layers={**layers, **self._own_layer(manifest, version)},
            runtime_settings=manifest.runtime_settings if manifest else {},
            schema_version=manifest.schema_version if manifest else "1.1",
        )
        said = render_reported(report)
        if not version:
            kept = ["lastDesiredVersion"] if status[0] == 500 else ["lastDesiredVersion", "lastDesiredStatus"]
            said |= {key: known[key] for key in kept if key in known}
        patch = diff_reported(known, said)
        if not patch:
            return
        try:
            self._link.report(patch)
        except EdgeferryError as error:
            _log.warning("not reported: %s", error)
            return
        if self._known is known:
            self._known = said


def unknown(states: Mapping[str, ModuleState], why: str) -> dict[str, ModuleState]:
    """The modules while nobody can look at them."""
    return {
        module: replace(state, runtime_status="unknown", description=why, host_ports={})
        for module, state in states.items()
    }
