"""Twins: what services and the devices themselves write into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.twin import (
    Json,
    Twin,
    diff_for_client,
    patch_desired,
    patch_reported,
    patch_tags,
    replace_desired,
    replace_tags,
    strip_hub_members,
)
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.core import Core, check_etag, check_values, invalid, section_of
from edgeferry.hub.events import DesiredChanged, Event
from edgeferry.wire.hub import Identity, IfMatch, render_etag, render_twin


@dataclass(frozen=True)
class Twins:
    """Reads and writes of twins."""

    core: Core
    assigner: Assigner

    def show(self, identity: Identity) -> Json:
        """The twin's document."""
        return render_twin(identity, self.core.presence_of(identity))

    def twin(self, device: str, module: str | None) -> Twin:
        """The twin of the identity; RefusalError when there is none."""
        return self.core.identity(device, module).twin

    def write(
        self, device: str, module: str | None, body: Mapping[str, Any], if_match: IfMatch, whole: bool
    ) -> Identity:
        """The identity with tags and desired properties merged, or the given ones replaced when `whole`."""
        old = self.core.identity(device, module)
        check_etag(if_match, render_etag(old.twin.version), f"the twin of {device}")
        tags, desired = section_of(body, "tags"), section_of(section_of(body, "properties") or {}, "desired")
        now = self.core.now()
        twin = old.twin
        if tags is not None:
            twin = replace_tags(twin, tags) if whole else patch_tags(twin, tags)
            check_values("tags", twin.tags, self.core.sizes.tags_bytes)
        events: list[Event] = []
        if desired is not None:
            twin = replace_desired(twin, desired, now) if whole else patch_desired(twin, desired, now)
            check_values("properties.desired", twin.desired.values, self.core.sizes.section_bytes)
            whole_patch = diff_for_client(old.twin.desired.values, twin.desired.values)
            patch = whole_patch if whole else strip_hub_members(desired)
            events.append(DesiredChanged(device, module, patch, twin.desired.version))
        new = replace(old, twin=twin)
        store = self.core.store
        with store.transaction():
            store.save_identity(new)
            if module is None:
                events += self.assigner.assign(new)
            elif desired is not None and old.assigned:
                store.add_pending([device])  # what deployments decide is put right again
        self.core.announce(events)
        self.assigner.wake()
        return new

    def report(self, device: str, module: str | None, patch: Any) -> int:
        """The version of the reported properties after the identity's own patch of them."""
        old = self.core.identity(device, module)
        if not isinstance(patch, dict):
            raise invalid("reported properties must be a JSON object", "send an object")
        twin = patch_reported(old.twin, patch, self.core.now())
        check_values("properties.reported", twin.reported.values, self.core.sizes.section_bytes)
        new = replace(old, twin=twin)
        store = self.core.store
        with store.transaction():
            store.save_identity(new)
            looks = module is None and self.assigner.looks_at_reported()
            events = self.assigner.assign(new) if looks else []
        self.core.announce(events)
        return twin.reported.version
