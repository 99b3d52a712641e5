"""Keeps modules up: starts again what ended or is unhealthy, whatever else is under way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

from edgeferry.device.clock import now_text
from edgeferry.device.retries import History, Restarts, WaitS
from edgeferry.domain.device_plan import ended_badly
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EngineError

_log = logging.getLogger(__name__)


class Supervision:
    """Watches the containers from look to look."""

    def __init__(self, engine: Engine, wait_s: WaitS) -> None:
        self._engine = engine
        self._restarts = Restarts(wait_s)
        self._ends: dict[str, str] = {}
        self._excused: set[str] = set()
        self._is_first = True

    def history(self, module: str) -> History:
        """How often the module was started again."""
        return self._restarts.history(module)

    def next_due(self) -> float:
        """When the next container is due, by the monotonic clock; infinity when none is."""
        return self._restarts.next_due()

    def forget_ends(self) -> None:
        """What has ended when next seen did not end by itself: the engine or the machine went down."""
        self._is_first = True

    @contextlib.contextmanager
    def restarting(self, module: str) -> Iterator[None]:
        """Meanwhile the module's end is somebody's wish. May be used by any thread."""
        self._excused.add(module)
        try:
            yield
        finally:
            self._excused.discard(module)

    def find_crashes(
        self, found: Mapping[str, ContainerFacts], spec_of: Callable[[ContainerFacts], ModuleSpec]
    ) -> Iterator[tuple[str, str]]:
        """(module, time of its end) of those that ended by themselves since the last look."""
        ends = {
            module: facts.finished_at
            for module, facts in found.items()
            if ended_badly(spec_of(facts), facts.status, facts.exit_code)
        }
        before, self._ends = self._ends, {**self._ends, **ends}
        if self._is_first:
            self._is_first = False
            return
        excused = frozenset(self._excused)
        yield from (
            (module, at) for module, at in ends.items() if module not in excused and before.get(module) != at
        )

    def start_again(
        self,
        found: Mapping[str, ContainerFacts],
        spec_of: Callable[[ContainerFacts], ModuleSpec],
        now: float,
    ) -> bool:
        """Whether any container was started again, at `now` of the monotonic clock."""
        self._restarts.keep_only(set(found))
        restarted = False
        for module, facts in found.items():
            if not self._restarts.is_due(spec_of(facts), facts, now):
                continue
            restarted = True
            self._restarts.note(module, now_text())
            _log.info("restart module=%s was=%s exit_code=%d", module, facts.status, facts.exit_code)
            try:
                if facts.running:
                    self._engine.stop(facts.id)
                self._engine.start(facts.id)
            except EngineError as error:
                _log.warning("restart failed module=%s: %s", module, error)
        return restarted
