"""Who is connected, since when, and when everybody was last heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from edgeferry.hub.messages import Key
from edgeferry.wire.hub import Presence

ACTIVE_S = 1.0
"""How exact the time of the last activity is while connected."""
_NEVER_SEEN = Presence()

Note = Callable[[Key, Presence | None, bool], None]


class Presences:
    """The presence of every identity that was ever seen."""

    def __init__(self, kept: Mapping[Key, Presence], note: Note, now: str) -> None:
        """`kept` is what an earlier process wrote: who it left connected is not, as of `now`."""
        self._note = note
        self._known = dict(kept)
        for key, one in kept.items():
            if one.connected:
                self._set(key, replace(one, connected=False, changed_at=now), True)

    def of(self, device: str, module: str | None) -> Presence:
        """The identity's presence; made to be asked often."""
        return self._known.get((device, module), _NEVER_SEEN)

    def enter(self, key: Key, at: str) -> None:
        """Connected now."""
        self._set(key, Presence(True, at, at), True)

    def leave(self, key: Key, at: str) -> None:
        """No longer connected; nothing, when it was forgotten."""
        one = self._known.get(key)
        if one is not None:
            self._set(key, Presence(False, at, one.active_at), True)

    def heard(self, key: Key, at: str) -> None:
        """It said something; written down within seconds."""
        one = self._known.get(key)
        if one is not None:
            self._set(key, replace(one, active_at=at), False)

    def forget(self, key: Key) -> None:
        """As if it had never been seen."""
        if self._known.pop(key, None) is not None:
            self._note(key, None, True)

    def _set(self, key: Key, presence: Presence, soon: bool) -> None:
        self._known[key] = presence
        self._note(key, presence, soon)
