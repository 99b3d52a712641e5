"""The images on a device: what it pulled, what it needs, and what may go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set

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

    def note_pulling(self, image: str) -> None:
        """The image comes to the engine by this device's doing, and is its to remove. To be noted before the
        pull begins: nobody else would remove what came just before a power cut. OSError when it cannot be
        written down: then it must not begin."""
        if image not in self._pulled:
            self._store.save_images({*self._pulled, image}, self._history)
            self._pulled.add(image)

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
            self._save()

    def _save(self) -> None:
        """What is known survives a restart, if the disk takes it; modules do not wait for that."""
        try:
            self._store.save_images(self._pulled, self._history)
        except OSError as error:
            _log.warning("images not kept on disk: %s", error)
