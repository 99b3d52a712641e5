"""Reasking: a device's companion is asked about its models once the agent runs that is being rolled out; what
it found out before says nothing of that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from edgeferry.domain.backoff import wait_s
from edgeferry.domain.model import COMPANION
from edgeferry.domain.rollout import DeviceFacts, Wanted, find_unasked
from edgeferry.domain.smoke import Verdict
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.verdict import METHOD_EVIDENCE_BYTES, parse_verdicts

LOOK_S = 5.0
"""How long one look begins to ask, for there are orders to read; who had no turn has theirs in the next. What
was begun is waited for."""
_TIMEOUT_S = 20
ASK_S = _TIMEOUT_S + 10.0
"""How long one question may take, with the hub's own time: for so long a controller holds its lease first."""

Hold = Callable[[float], bool]
"""Whether one may go on for so many seconds."""


def _always(_: float) -> bool:
    return True


class Reasking:
    """What companions answered about models since their agents run; for others than agents, nothing."""

    def __init__(self, services: Services, wanted: Wanted, hold: Hold = _always) -> None:
        self._services = services
        self._wanted = wanted
        self._hold = hold
        self._heard: dict[str, dict[str, Verdict]] = {}
        self._asked_s: dict[str, float] = {}
        """When each device was asked last."""
        self._failures: dict[str, int] = {}
        """How often in a row it did not settle all of its models."""

    def complete(self, facts: Iterable[DeviceFacts]) -> Iterator[DeviceFacts]:
        """The facts of one look with what the companions answered, asked now where that is wanted: first who
        was never asked, then who was asked longest ago. One that does not settle its models waits the longer
        for its next turn, the more often it did not. HubError, after the others, when there were no more
        facts to be had."""
        waiting: dict[str, DeviceFacts] = {}
        failed: HubError | None = None
        try:
            for one in facts:
                known, is_due = self._add(one)
                if is_due:
                    waiting[one.device] = known
                else:
                    yield known
        except HubError as error:
            failed = error
        until_s, goes_on = self._services.now() + LOOK_S, True
        for one in sorted(waiting.values(), key=lambda each: self._asked_s.get(each.device, -math.inf)):
            goes_on = goes_on and self._services.now() < until_s and self._hold(ASK_S)
            yield self._ask(one) if goes_on else one
        if failed is not None:
            raise failed

    def forget(self, device: str) -> None:
        """Another machine has its name now."""
        for known in (self._heard, self._asked_s, self._failures):
            known.pop(device, None)

    def _add(self, facts: DeviceFacts) -> tuple[DeviceFacts, bool]:
        """The facts with what was heard, and whether the device is to be asked now."""
        device = facts.device
        facts = replace(facts, heard=self._heard.get(device, {}))
        unasked = find_unasked(self._wanted, facts)
        if unasked is None:
            self._heard.pop(device, None)  # should its agent come again, it is asked again
        if not unasked:
            self._failures.pop(device, None)
            return facts, False
        failures = self._failures.get(device, 0)
        rests_s = wait_s(failures - 1, 0.0) if failures else 0.0
        return facts, self._services.now() >= self._asked_s.get(device, -math.inf) + rests_s

    def _ask(self, facts: DeviceFacts) -> DeviceFacts:
        device = facts.device
        models = find_unasked(self._wanted, facts) or ()
        self._heard[device] = {**facts.heard, **self._call(device, models)}
        self._asked_s[device] = self._services.now()
        facts = replace(facts, heard=self._heard[device])
        if find_unasked(self._wanted, facts):
            self._failures[device] = self._failures.get(device, 0) + 1
        return facts

    def _call(self, device: str, models: tuple[str, ...]) -> dict[str, Verdict]:
        order = {"nonce": self._wanted.nonce, **({"model": models[0]} if len(models) == 1 else {})}
        try:
            answer = self._services.hub.call_module(device, COMPANION, "smokeTest", order, _TIMEOUT_S)
            found = parse_verdicts(answer.get("payload"), METHOD_EVIDENCE_BYTES)
        except (HubError, UsageError):
            return {}
        return {model: verdict for model, verdict in found.items() if model in models}
