"""What the hub desires of this device: kept on disk as it came, read as a manifest in the agent's loop."""

from __future__ import annotations

import logging
from typing import Any

from edgeferry.device.state import Store
from edgeferry.domain.manifest import DeviceManifest
from edgeferry.errors import DesiredError
from edgeferry.wire.edge import parse_desired

Json = dict[str, Any]

_log = logging.getLogger(__name__)


class Desired:
    """The last desired properties. `take` is called in the link's thread, `read` in the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._taken = store.load_desired()
        self._read: tuple[Json, int] | None = None
        self.seen_version = self._taken[1] if self._taken else 0
        """The version that was kept when the agent started."""
        self.version = 0
        """The version that was read last."""
        self.manifest: DeviceManifest | None = None
        """Of the last properties that could be read."""
        self.fault: DesiredError | None = None
        """Why the last ones could not; what was desired before stands."""

    def take(self, properties: Json, version: int) -> None:
        """These are desired from the next `read` on, also after a restart where the disk takes them."""
        _log.info("desired version=%d", version)
        try:
            self._store.save_desired(properties, version)
        except OSError as error:
            _log.error("desired version=%d not kept on disk: %s", version, error)
        self._taken = (properties, version)

    def read(self) -> bool:
        """Whether what is desired is new; it is read."""
        taken = self._taken
        if taken is None or taken == self._read:
            return False
        self._read = taken
        properties, self.version = taken
        try:
            self.manifest, self.fault = parse_desired(properties), None
        except DesiredError as error:
            _log.warning("desired version=%d: %s", self.version, error)
            self.fault = error
        return True
