"""Which key signs for a module: the one on disk, or the hub's where that one is in doubt.

A key is in doubt when the hub has not confirmed it for an hour, and when the module asks for another
signature soon after the last: then the hub has probably refused that one, since the key was changed there.
The hub is waited for briefly, and not at all while it is silent, so that a device without its hub signs at
once.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from edgeferry.device.identities import Identities
from edgeferry.errors import HubError

CONFIRMED_S = 3600.0
AGAIN_S = 60.0
"""Within this of the last signature, another one means that the hub did not take the last."""
ASK_EVERY_S = 2.0
"""At most this often is the hub asked for one module's key."""
SILENT_S = 30.0
"""This long after the hub did not answer, a known key is used without asking."""
PATIENCE_S = 2.0
FIRST_PATIENCE_S = 10.0
"""How long the hub is waited for where no key is known."""
_MOST_AT_ONCE = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyTimes:
    """When things last happened to one module's key, on one steady clock."""

    confirmed_at: float = -math.inf
    signed_at: float = -math.inf
    asked_at: float = -math.inf


def is_in_doubt(times: KeyTimes, *, known: bool, silent_at: float, now: float) -> bool:
    """Whether the hub is asked for the key; `silent_at` is when it last did not answer."""
    if now - times.asked_at < ASK_EVERY_S or now - silent_at < (SILENT_S if known else ASK_EVERY_S):
        return False
    return not known or now - times.confirmed_at > CONFIRMED_S or now - times.signed_at < AGAIN_S


class ModuleKeys:
    """Keys to sign with; `patience_s` is how long a hub is waited for where a key is known."""

    def __init__(
        self,
        identities: Identities,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identities = identities
        self._patience_s = patience_s
        self._clock = clock
        self._lock = threading.Lock()
        self._times: dict[str, KeyTimes] = {}
        self._asking: dict[str, Future[str]] = {}
        self._silent_at = -math.inf
        self._seats = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def key(self, module: str) -> str:
        """The key (base64) that signs for the module now; HubError when none is kept and the hub gives
        none."""
        known = self._identities.key(module)
        asked = self._ask_in_doubt(module, known=bool(known), signing=True)
        if asked is not None:
            try:
                return asked.result(self._patience_s if known else FIRST_PATIENCE_S)
            except TimeoutError:
                self._silent_at = self._clock()
            except HubError as error:
                if not known:
                    raise
                _log.warning("module key from disk module=%s: %s", module, error.problem)
        if not known:
            raise HubError(
                f"module {module} has no key yet, and the hub does not answer",
                fix="it is tried again once the hub can be reached",
                retryable=True,
            )
        return known

    def prepare(self, module: str) -> None:
        """The module's identity and key will be there soon, where the hub answers; does not wait."""
        if not self._identities.key(module):
            self._ask_in_doubt(module, known=False, signing=False)

    def _ask_in_doubt(self, module: str, *, known: bool, signing: bool) -> Future[str] | None:
        """The question under way to the hub, begun where the key is in doubt; None when there is none."""
        with self._lock:
            now = self._clock()
            times = self._times.get(module, KeyTimes())
            doubt = is_in_doubt(times, known=known, silent_at=self._silent_at, now=now)
            if signing:
                self._times[module] = replace(times, signed_at=now)
            running = self._asking.get(module)
            if running is not None and known and now - self._silent_at < SILENT_S:
                return None  # it was waited for already
            if running is not None or not doubt:
                return running
            self._times[module] = replace(self._times.get(module, times), asked_at=now)
            future: Future[str] = Future()
            self._asking[module] = future
        threading.Thread(target=self._ask, args=(module, future), name="module-key", daemon=True).start()
        return future

    def _ask(self, module: str, future: Future[str]) -> None:
        try:
            with self._seats:
                key = self._identities.refresh(module)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._end(module, silent=isinstance(error, HubError) and error.retryable)
            future.set_exception(error)
        else:
            self._end(module, confirmed=True)
            future.set_result(key)

    def _end(self, module: str, *, confirmed: bool = False, silent: bool = False) -> None:
        with self._lock:
            now = self._clock()
            self._asking.pop(module, None)
            if confirmed:
                self._times[module] = replace(self._times.get(module, KeyTimes()), confirmed_at=now)
                self._silent_at = -math.inf
            if silent:
                self._silent_at = now
