"""Whose turn it is: an agent waits here until the device is its own, and watches the one that has it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.self_update import discard_successor, see_successor
from edgeferry.device.state import Store, load_enrolment
from edgeferry.device.state_copy import restore_copy
from edgeferry.domain.agent_update import Phase, Turn, Update, whose_turn, why_failed
from edgeferry.domain.device_rules import UpdateRules
from edgeferry.engine import Engine
from edgeferry.errors import EdgeferryError, EngineError, OutsideError

_LOOK_S = 0.5

_log = logging.getLogger(__name__)


class Turns:
    """One agent's wait for its turn; `mark` is its container's, empty where it is installed as a program."""

    def __init__(
        self, store: Store, engine: Engine, mark: str, rules: UpdateRules, stopping: threading.Event
    ) -> None:
        self._store = store
        self._record = UpdateRecord(store.folder)
        self._engine = engine
        self._mark = mark
        self._rules = rules
        self._stopping = stopping

    def take(self) -> bool:
        """True with the store open, once it is this agent's turn; False when told to stop before.

        OutsideError when another agent has the device and no update is under way.
        """
        seen: Update | None = None
        since = time.monotonic()
        while not self._stopping.is_set():
            update = self._record.load()
            if update != seen:
                seen, since = update, time.monotonic()
            if self._look(update, time.monotonic() - since):
                return True
            self._stopping.wait(_LOOK_S)
        return False

    def _look(self, update: Update | None, waited_s: float) -> bool:
        """Whether the turn was taken."""
        turn = whose_turn(self._mark, update)
        if update is None or self._mark not in (update.before, update.after):
            self._store.open()
            return self._is_still_mine()
        try:
            if turn is Turn.STAND_BY:
                self._stand_by()
            elif turn is Turn.WATCH:
                return self._watch(update, waited_s)
            elif turn is Turn.TAKE:
                if update.phase is Phase.FAILED and self._store.is_held():
                    discard_successor(self._engine, update)
                return self._open()
        except EngineError as error:
            _log.warning("waiting for the turn: %s", error)
        return False

    def _open(self) -> bool:
        """Whether the folder was free, and the turn is still this agent's now that nobody else has it."""
        try:
            self._store.open()
        except OutsideError:
            return False
        return self._is_still_mine()

    def _is_still_mine(self) -> bool:
        update = self._record.load()
        if whose_turn(self._mark, update) is not Turn.TAKE:
            self._store.close()
            return False
        if update is not None and update.phase is Phase.FAILED and self._mark == update.before:
            self._read_again()
        return True

    def _read_again(self) -> None:
        """The state is one that this agent can read, whatever the failed one made of it."""
        try:
            self._store.check()
        except EdgeferryError as error:
            restored = restore_copy(self._store.folder)
            _log.warning("state restored=%s as it was before the update: %s", restored, error)

    def _stand_by(self) -> None:
        """Says whether this agent could act; nothing while the engine does not answer."""
        problem = ""
        try:
            load_enrolment(self._store.folder)
            self._store.check()
        except (EdgeferryError, OSError) as error:
            problem = str(error)
        self._engine.ping()
        self._record.say_ready(self._mark, problem)

    def _watch(self, update: Update, waited_s: float) -> bool:
        """Whether the turn was taken back, since a proven successor let go and never came again."""
        if update.phase is Phase.PROVEN:
            late = waited_s > self._rules.proven_s and not self._store.is_held()
            if late and self._record.move(update, replace(update, phase=Phase.FAILED, reason="it ended")):
                _log.warning("agent update taken back: the proven successor is gone")
            return False
        try:
            successor = see_successor(self._engine, self._record, update.after)
            reason = why_failed(successor, waited_s, self._rules)
        except EngineError as error:
            if waited_s <= self._rules.proven_s:
                raise
            reason = f"the new agent was not proven within {self._rules.proven_s:g} s: {error.problem}"
        if reason and self._record.move(update, replace(update, phase=Phase.FAILED, reason=reason)):
            _log.warning("agent update taken back: %s", reason)
        return False
