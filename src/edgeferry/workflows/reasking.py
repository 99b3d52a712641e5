"""Reasking: a device's companion is asked about its models once the agent runs that is being rolled out; what
it found out before says nothing of that."""

from __future__ import annotations

import math
from dataclasses import replace

from edgeferry.domain.model import COMPANION
from edgeferry.domain.rollout import DeviceFacts, Wanted, find_unasked
from edgeferry.domain.smoke import Verdict
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.verdict import METHOD_EVIDENCE_BYTES, parse_verdicts

AGAIN_S = 10.0
"""How soon a device is asked again that did not settle all of its models."""
LOOK_S = 5.0
"""How long one look may ask: a controller has its lease, and orders to read. The others' turn is the next."""
_TIMEOUT_S = 20


class Reasking:
    """What companions answered about models since their agents run; for others than agents, nothing."""

    def __init__(self, services: Services, wanted: Wanted) -> None:
        self._services = services
        self._wanted = wanted
        self._heard: dict[str, dict[str, Verdict]] = {}
        self._again_s: dict[str, float] = {}
        self._until_s = math.inf

    def begin_look(self) -> None:
        """Another look begins, with its own time to ask in."""
        self._until_s = self._services.now() + LOOK_S

    def add(self, facts: DeviceFacts) -> DeviceFacts:
        """The facts with what the companion answered, asked now where that is wanted. A device that does not
        answer is asked again later."""
        device, now_s = facts.device, self._services.now()
        facts = replace(facts, heard=self._heard.get(device, {}))
        unasked = find_unasked(self._wanted, facts)
        if unasked is None:
            self._heard.pop(device, None)  # should its agent come again, it is asked again
        if not unasked or now_s >= self._until_s or now_s < self._again_s.get(device, 0.0):
            return facts
        self._heard[device] = {**facts.heard, **self._ask(device, unasked)}
        facts = replace(facts, heard=self._heard[device])
        if find_unasked(self._wanted, facts):
            self._again_s[device] = self._services.now() + AGAIN_S
        return facts

    def _ask(self, device: str, models: tuple[str, ...]) -> dict[str, Verdict]:
        order = {"nonce": self._wanted.nonce, **({"model": models[0]} if len(models) == 1 else {})}
        try:
            answer = self._services.hub.call_module(device, COMPANION, "smokeTest", order, _TIMEOUT_S)
            found = parse_verdicts(answer.get("payload"), METHOD_EVIDENCE_BYTES)
        except (HubError, UsageError):
            return {}
        return {model: verdict for model, verdict in found.items() if model in models}
