"""Sight: what a rollout sees of its devices: their outcomes so far, and what they counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from edgeferry.domain.layering import AGENT
from edgeferry.domain.model import COMPANION
from edgeferry.domain.notation import render_text
from edgeferry.domain.rollout import DeviceFacts, Outcome, State, Wanted, judge_device
from edgeferry.domain.rollout_decision import Look
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.ports import Json, Services
from edgeferry.wire.facts import parse_evidence, parse_facts
from edgeferry.workflows.cases import Known, add_cases
from edgeferry.workflows.watch import end_outcome, is_news

FEW = 50
"""So many devices are read one by one; of more, all twins at once by a query."""
AIM_S = 5.0
"""How long it is taken for granted whom the layer targets: Azure answers 20 such questions a minute."""
_Twins = Mapping[str, tuple[Json | None, Json | None]]


class Sight:
    """Looks at a rollout's devices, and remembers what they said last."""

    def __init__(
        self, services: Services, wanted: Wanted, layer: str, on_change: Callable[[Outcome], None]
    ) -> None:
        self._services = services
        self._wanted = wanted
        self._layer = layer
        self._on_change = on_change
        self._facts: dict[str, DeviceFacts] = {}
        self._evidence: dict[str, DeviceEvidence] = {}
        self._cases: Known = {}
        self._aim: tuple[str | None, frozenset[str]] = (None, frozenset())
        self._aimed_s = -math.inf
        self.told: dict[str, Outcome] = {}
        """The last word of each device that was looked at."""

    def look(self, exposed: Collection[str], others: Collection[str], *, late: bool, again: bool) -> Look:
        """What is to be seen now of the `exposed` devices, and of what `others` counted. Devices that have
        ended are read `again` only when that is asked for; when it is `late`, each device's word is its
        last. HubError when the hub does not answer."""
        condition, targeted = self._read_aim(again)
        meant = {*exposed, *targeted}
        open_ = {device for device in meant if again or self._state(device) is State.PENDING}
        for device, (agent, companion) in self._fetch(open_ | set(others)).items():
            evidence = parse_evidence(companion, self._wanted.module)
            if evidence is not None:
                self._evidence[device] = evidence
            if device in open_:
                self._tell(device, agent, companion)
        outcomes = {
            device: end_outcome(self._wanted, device, self.told, self._facts)
            if late
            else self._so_far(device)
            for device in sorted(meant)
        }
        return Look(outcomes, dict(self._evidence), targeted, condition)

    def forget_aim(self) -> None:
        """Whom the layer targets is read anew: it was changed."""
        self._aimed_s = -math.inf

    def _read_aim(self, again: bool) -> tuple[str | None, frozenset[str]]:
        """The layer's target condition, None without a layer, and whom it selects."""
        now_s = self._services.now()
        if again or now_s - self._aimed_s >= AIM_S:
            found = self._services.hub.configuration(self._layer)
            condition = str(found.get("targetCondition") or "") if found else None
            twins = self._services.hub.devices(condition) if condition else ()
            self._aim = condition, frozenset(str(twin["deviceId"]) for twin in twins)
            self._aimed_s = now_s
        return self._aim

    def _tell(self, device: str, agent: Json | None, companion: Json | None) -> None:
        found = parse_facts(device, self._wanted.module, agent, companion)
        facts = add_cases(self._services, found, self._cases)
        outcome = judge_device(self._wanted, facts)
        if is_news(self.told.get(device), outcome):
            self._on_change(outcome)
        self._facts[device] = facts
        self.told[device] = outcome

    def _state(self, device: str) -> State:
        return self._so_far(device).state

    def _so_far(self, device: str) -> Outcome:
        return self.told.get(device) or Outcome(device, State.PENDING, "nothing was heard of it yet")

    def _fetch(self, devices: Collection[str]) -> _Twins:
        """The twins of the agent and of the companion of each device; None where there is none."""
        hub = self._services.hub
        if len(devices) <= FEW:
            return {
                device: (hub.module_twin(device, AGENT), hub.module_twin(device, COMPANION))
                for device in sorted(devices)
            }
        found: dict[tuple[str, str], Json] = {}
        names = ", ".join(map(render_text, (AGENT, COMPANION)))
        for page in hub.query(f"SELECT * FROM devices.modules WHERE moduleId IN [{names}]"):
            for row in page:
                if row["deviceId"] in devices:
                    found[row["deviceId"], row["moduleId"]] = row
        return {
            device: (found.get((device, AGENT)), found.get((device, COMPANION))) for device in sorted(devices)
        }
