"""The direct method by which a device leaves its fleet: the agent comes to rest, wipes, answers and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgeferry.device.state import Enrolment, Store
from edgeferry.device.wipe import decommission

WIPE_S = 120.0
"""How long a device may take to come to rest, and to wipe itself after that."""


class Farewell:
    """`answer` is the method, called in the methods' thread; `settle` is the loop's last word."""

    def __init__(self, enrolment: Enrolment, store: Store, stop: Callable[[], None]) -> None:
        """`stop` lets the loop end, which must then call `settle` before it closes the link."""
        self._enrolment = enrolment
        self._store = store
        self._stop = stop
        self._asked = threading.Event()
        self._at_rest = threading.Event()
        self._done = threading.Event()

    def answer(self, said: Mapping[str, Any]) -> tuple[int, Any]:
        """(status, what is gone) once this device is wiped; 400 without `{"device": NAME}` to confirm it."""
        device = self._enrolment.device
        if said.get("device") != device:
            return 400, {"message": f'nothing was wiped: to confirm it, send {{"device": "{device}"}}'}
        self._asked.set()
        self._stop()
        try:
            if not self._at_rest.wait(WIPE_S):
                return 500, {"message": "nothing was wiped: the agent does not come to rest"}
            wiped = decommission(self._enrolment, self._store)
            return 500 if wiped.problems else 200, asdict(wiped)
        finally:
            self._done.set()

    def settle(self) -> bool:
        """Whether the device was told to leave; if so, it has wiped itself. Nothing touches containers or
        the store after this call."""
        self._at_rest.set()
        return self._asked.is_set() and self._done.wait(WIPE_S)
