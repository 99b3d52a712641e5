"""The content of a deployment applied to one device, once; a deployment that targets it has the last word."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeferry.domain.layering import (
    AGENT,
    Assignment,
    apply_content,
    find_assignment_fault,
    find_content_fault,
)
from edgeferry.domain.twin import diff_for_client, settle_desired
from edgeferry.hub.assigner import Assigner, settle_modules
from edgeferry.hub.core import Core
from edgeferry.hub.events import DesiredChanged, Event
from edgeferry.wire.hub import Json, RefusalError


@dataclass(frozen=True)
class Content:
    """Writes of `applyConfigurationContent`."""

    core: Core
    assigner: Assigner

    def apply(self, device: str, body: Json) -> None:
        """Each listed module has the content's desired properties and no others; the device has a module for
        each that `$edgeAgent` lists and none that it was managed to have otherwise. RefusalError
        InvalidConfigurationContent when the content is not one, or leaves `$edgeAgent` without any."""
        owner = self.core.identity(device)
        if not owner.is_edge:
            raise _invalid(f"device {device!r} is no edge device", "create it with capabilities.iotEdge")
        if body.get("deviceContent") is not None:
            raise _invalid("deviceContent is not supported by this hub", "send modulesContent")
        content = body.get("modulesContent")
        fault = find_content_fault(content, self.core.sizes)
        if fault or content is None:
            raise _invalid(str(fault), "write keys as properties.desired.…")
        store = self.core.store
        modules = {module.module or "": module for module in store.modules(device)}
        current = {name: module.twin.desired.values for name, module in modules.items()}
        desired = {**current, **apply_content(current, content)}
        if not desired.get(AGENT):
            raise _invalid("$edgeAgent is missing, and the device has none", "send $edgeAgent's too")
        assignment = Assignment(None, desired, {})
        fault = find_assignment_fault(assignment, self.core.sizes)
        if fault:
            raise _invalid(fault, "apply less")
        now = self.core.now()
        events: list[Event] = []
        with store.transaction():
            events += settle_modules(self.core, device, modules, assignment.module_names(), now)
            for name, module in modules.items():
                if name not in content:
                    continue
                twin = settle_desired(module.twin, desired[name], now)
                if twin is not module.twin:
                    store.save_identity(replace(module, twin=twin))
                    patch = diff_for_client(module.twin.desired.values, twin.desired.values)
                    events.append(DesiredChanged(device, name, patch, twin.desired.version))
            if any(module.assigned for module in modules.values()):
                store.add_pending([device])
        self.core.announce(events)
        self.assigner.wake()


def _invalid(problem: str, fix: str) -> RefusalError:
    return RefusalError("InvalidConfigurationContent", problem, fix=fix)
