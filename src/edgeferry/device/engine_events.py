"""Listening to the engine, so that the agent's loop sees at once what happens to its containers."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping

from edgeferry.engine import Engine
from edgeferry.engine_stream import BROKEN, Stream
from edgeferry.errors import EngineError

KINDS = ("die", "health_status", "oom", "start")
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0

_log = logging.getLogger(__name__)


class Watch:
    """Sets `wake` whenever a container with these labels starts, ends or changes its health, and when the
    engine came back: what happened before was not heard. From `start` until `stop`."""

    def __init__(self, engine_url: str, labels: Mapping[str, str], wake: threading.Event) -> None:
        self._engine_url = engine_url
        self._labels = dict(labels)
        self._wake = wake
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._listen, name="engine events", daemon=True)

    def start(self) -> None:
        """It listens, as soon as the engine answers."""
        self._thread.start()

    def stop(self) -> None:
        """It has ended."""
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.end()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _listen(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                heard = self._listen_once()
            except (EngineError, *BROKEN) as error:
                heard = False
                _log.info("not listening to the engine: %s", str(error) or type(error).__name__)
            failures = 0 if heard else failures + 1
            wait = min(_FIRST_WAIT_S * 2 ** min(failures, 10), _LONGEST_WAIT_S)
            self._stopping.wait(wait * (1 - random.random() / 2))

    def _listen_once(self) -> bool:
        """Whether the engine answered; returns when the connection ended."""
        engine = Engine(self._engine_url)
        try:
            stream = engine.events(self._labels, KINDS)
        finally:
            engine.close()
        with self._lock:
            self._stream = stream
        try:
            self._wake.set()
            if not self._stopping.is_set():
                for _ in stream.lines():
                    self._wake.set()
        except BROKEN:
            pass
        finally:
            with self._lock:
                self._stream = None
                stream.close()
        return True
