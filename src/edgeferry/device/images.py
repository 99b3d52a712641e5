"""The images on a device: what it pulled, what it needs, and what may go."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Set

from edgeferry.device.state import Store
from edgeferry.domain.retention import choose_unneeded, remember
from edgeferry.engine import Engine
from edgeferry.errors import EngineError

_log = logging.getLogger(__name__)


class Images:
    """Keeps what the modules run and ran before; removes what only this device pulled and none needs."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._pulled, self._history = store.load_images()

    def note_pulled(self, images: Iterable[str]) -> None:
        """The images came to the engine by this device's doing. OSError: kept with the next ones."""
        self._pulled.update(images)
        self._store.save_images(self._pulled, self._history)

    def settle(self, current: Mapping[str, str], proven: Set[str]) -> None:
        """The modules run `current` (module to image): images beyond those, the previous ones and the
        `proven` go. One that another container still uses stays, and is tried again next time."""
        history = remember(self._history, current)
        changed = history != self._history
        self._history = history
        unneeded = choose_unneeded(self._pulled - proven, history)
        for image in unneeded:
            try:
                self._engine.remove_image(image)
            except EngineError as error:
                _log.info("image=%s stays: %s", image, error.problem)
                continue
            self._pulled.discard(image)
            changed = True
            _log.info("removed image=%s", image)
        if changed:
            self._store.save_images(self._pulled, self._history)
