"""What failed and when it is tried again: actions of the plan, and modules that ended by themselves."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from edgeferry.domain.device_plan import HEALTHY_AFTER_S, wants_restart
from edgeferry.domain.manifest import NEVER, ModuleSpec
from edgeferry.engine import ContainerFacts

WaitS = Callable[[int], float]
"""Seconds to wait after the n-th failure in a row, counted from 0."""


@dataclass(frozen=True)
class Failure:
    """An action that failed `count` times in a row; times are seconds of a monotonic clock."""

    count: int
    reason: str
    again_at: float
    is_final: bool = False
    """Whether trying again cannot help."""


class Failures:
    """Failed actions by key, each with a back-off."""

    def __init__(self, wait_s: WaitS) -> None:
        self._wait_s = wait_s
        self._failures: dict[str, Failure] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._failures

    def __getitem__(self, key: str) -> Failure:
        return self._failures[key]

    def is_due(self, key: str, now: float) -> bool:
        """Whether the action may be tried at `now`."""
        return key not in self._failures or now >= self._failures[key].again_at

    def note(self, key: str, reason: str, now: float, *, is_final: bool = False) -> None:
        """The action failed once more."""
        count = self._failures[key].count if key in self._failures else 0
        self._failures[key] = Failure(count + 1, reason, now + self._wait_s(count), is_final)

    def clear(self, key: str) -> None:
        """The action succeeded."""
        self._failures.pop(key, None)

    def keep_only(self, keys: Set[str]) -> None:
        """Actions that are no longer asked for have not failed."""
        self._failures = {key: failure for key, failure in self._failures.items() if key in keys}

    def reasons(self) -> list[str]:
        """Why, oldest failure first."""
        return [failure.reason for failure in self._failures.values()]

    def next_due(self) -> float:
        """When the next action may be tried; infinity when nothing failed."""
        return min((failure.again_at for failure in self._failures.values()), default=float("inf"))


@dataclass(frozen=True)
class History:
    """How often the agent restarted one container."""

    container: str
    total: int = 0
    in_a_row: int = 0
    restarted_at: str = NEVER
    runs_since: float | None = None
    due_at: float | None = None


class Restarts:
    """Which containers that ended (or are unhealthy) are started again, and when."""

    def __init__(self, wait_s: WaitS) -> None:
        self._wait_s = wait_s
        self._histories: dict[str, History] = {}

    def is_due(self, spec: ModuleSpec, facts: ContainerFacts, now: float) -> bool:
        """Whether the policy asks to restart the container now. One that had ended before it was first seen
        (the machine was off) is due at once."""
        history = self._histories.get(spec.name)
        first_seen = history is None or history.container != facts.id
        if history is None or first_seen:
            history = History(container=facts.id)
        if not wants_restart(spec, facts.status, facts.exit_code, facts.health):
            since = history.runs_since if history.runs_since is not None else now
            history = replace(history, due_at=None, runs_since=since if facts.running else None)
        elif history.due_at is None:
            ran_s = now - history.runs_since if history.runs_since is not None else 0.0
            in_a_row = 0 if ran_s >= HEALTHY_AFTER_S else history.in_a_row
            wait = 0.0 if first_seen else self._wait_s(in_a_row)
            history = replace(history, in_a_row=in_a_row, due_at=now + wait, runs_since=None)
        self._histories[spec.name] = history
        return history.due_at is not None and now >= history.due_at

    def note(self, module: str, at: str) -> None:
        """The container was started again at `at` (ISO 8601), or that was tried."""
        history = self._histories[module]
        self._histories[module] = replace(
            history,
            total=history.total + 1,
            in_a_row=history.in_a_row + 1,
            restarted_at=at,
            due_at=None,
            runs_since=None,
        )

    def history(self, module: str) -> History:
        """What was done for the module so far."""
        return self._histories.get(module, History(container=""))

    def keep_only(self, modules: Set[str]) -> None:
        """Forgets modules that are gone."""
        self._histories = {name: history for name, history in self._histories.items() if name in modules}

    def next_due(self) -> float:
        """When the next container is due; infinity when none is."""
        due = [history.due_at for history in self._histories.values() if history.due_at is not None]
        return min(due, default=float("inf"))
