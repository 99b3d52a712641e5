"""What the agent remembers, kept through crashes: each event is on disk before what it announces is done.

The journal holds the events; from time to time the state they make is written whole and the journal is cut.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from edgeferry.device.journal import read_journal
from edgeferry.device.state import Store
from edgeferry.domain.device_state import DeviceState, Event, advance
from edgeferry.wire.device_journal import parse_event, parse_state, render_apply, render_event, render_state

ENTRIES = 100
"""The journal is cut after so many."""

_log = logging.getLogger(__name__)


class Memory:
    """The state, as of the last event."""

    def __init__(self, store: Store) -> None:
        self._file = store.state
        self._journal = store.journal
        self._kept = 0
        said = self._file.load()
        self.state = DeviceState()
        if said is not None:
            self._kept = int(said["sequence"])
            self.state = parse_state(said["state"])
        self._last = self._kept
        for number, entry in self._journal.entries(after=self._kept):
            self._last = number
            try:
                self.state = advance(self.state, parse_event(entry))
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("journal entry passed over number=%d: %r", number, error)

    def note(self, event: Event) -> None:
        """The event happened, also after a power cut. OSError when it cannot be written: then it did not."""
        self._last = self._journal.append(render_event(event))
        self.state = advance(self.state, event)
        if self._last - self._kept >= ENTRIES:
            self.save()

    def tell(self, event: Event) -> None:
        """The event happened; where the disk does not take it, only this agent knows."""
        try:
            self.note(event)
        except OSError as error:
            _log.warning("journal not written: %s", error)
            self.state = advance(self.state, event)

    def save(self) -> None:
        """The state is written whole, and the journal is empty."""
        self._file.save({"sequence": self._last, "state": render_state(self.state)})
        self._journal.cut(self._last)
        self._kept = self._last

    def history(self) -> Sequence[dict[str, Any]]:
        """What was applied, the oldest first."""
        return [render_apply(entry) for entry in self.state.applies]


def read_history(store: Store) -> Sequence[dict[str, Any]]:
    """What was applied, the newest first, without touching anything; for those who do not hold the folder's
    lock. OSError when it cannot be read."""
    said = store.state.read()
    state = parse_state(said["state"]) if said else DeviceState()
    kept = int(said["sequence"]) if said else 0
    for number, entry in read_journal(store.journal.path):
        if number > kept:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                state = advance(state, parse_event(entry))
    return [render_apply(entry) for entry in reversed(state.applies)]
