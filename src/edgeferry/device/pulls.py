"""Pulling images beside the agent's loop, so that crashed modules are restarted meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from edgeferry.domain.manifest import RegistryLogin
from edgeferry.engine import Engine
from edgeferry.errors import EngineError

_log = logging.getLogger(__name__)


class Pulls:
    """Pulls under way; each has a thread and an engine connection of its own, and sets `wake` at its end."""

    def __init__(self, engine_url: str, wake: threading.Event) -> None:
        self._engine_url = engine_url
        self._wake = wake
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._ended: dict[str, str] = {}

    def is_running(self, image: str) -> bool:
        """Whether that image is being pulled now."""
        with self._lock:
            return image in self._running

    def start(self, image: str, logins: Sequence[RegistryLogin]) -> None:
        """The pull begins; the login is the one whose address is the image's registry."""
        registry = image.partition("/")[0]
        login = next((login for login in logins if login.address == registry), None)
        with self._lock:
            self._running.add(image)
        threading.Thread(target=self._pull, args=(image, login), name="pull", daemon=True).start()

    def harvest(self) -> dict[str, str]:
        """Image to problem ("" when it arrived) of the pulls that ended since the last call."""
        with self._lock:
            ended, self._ended = self._ended, {}
        return ended

    def _pull(self, image: str, login: RegistryLogin | None) -> None:
        began = time.monotonic()
        engine = Engine(self._engine_url)
        problem = ""
        try:
            engine.pull(image, login.username if login else "", login.password if login else "")
            _log.info("pulled image=%s seconds=%.1f", image, time.monotonic() - began)
        except EngineError as error:
            problem = str(error)
            _log.warning("pull failed image=%s: %s", image, error)
        finally:
            engine.close()
            with self._lock:
                self._running.discard(image)
                self._ended[image] = problem
            self._wake.set()
