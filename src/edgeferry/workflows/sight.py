"""Sight: what a rollout sees of its devices: their outcomes so far, and what they counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping

from edgeferry.domain.rollout import DeviceFacts, Outcome, State, Wanted, judge_device
from edgeferry.domain.rollout_decision import Look
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer, holds_layer
from edgeferry.workflows.reasking import Hold, Reasking
from edgeferry.workflows.reports import Reports
from edgeferry.workflows.watch import end_outcome, is_news

AIM_S = 5.0
"""How long it is taken for granted whom the layer targets: Azure answers 20 such questions a minute."""


class Sight:
    """Looks at a rollout's devices, and remembers what they said last."""

    def __init__(
        self,
        services: Services,
        wanted: Wanted,
        layer: ModelLayer,
        on_change: Callable[[Outcome], None],
        hold: Hold = lambda for_s: True,
    ) -> None:
        """`hold`: whether one may go on for so many seconds."""
        self._services = services
        self._wanted = wanted
        self._layer = layer
        self._on_change = on_change
        self._reports = Reports(services, wanted.module)
        self._reasking = Reasking(services, wanted, hold)
        self._facts: dict[str, DeviceFacts] = {}
        self._evidence: dict[str, DeviceEvidence] = {}
        self._aim: tuple[str | None, Mapping[str, str]] = (None, {})
        self._aimed_s = -math.inf
        self._fresh: dict[str, DeviceFacts] = {}
        """What the last look has read, whether or not it was judged."""
        self._aim_is_fresh = False
        self.told: dict[str, Outcome] = {}
        """The last word of each device that was looked at."""

    def look(self, exposed: Collection[str], others: Collection[str], *, late: bool, again: bool) -> Look:
        """What is to be seen now of the `exposed` devices, and of what `others` counted. Devices that have
        ended are judged `again` only when that is asked for; when it is `late`, each device's word is its
        last. HubError when the hub does not answer."""
        self._fresh = {}
        self._aim_is_fresh = False
        self._read_aim(again)
        return self._look(exposed, others, late, again)

    def look_again(self, exposed: Collection[str], others: Collection[str], *, late: bool) -> Look:
        """The same of all devices, with what `look` read just now as it was read."""
        self._read_aim(not self._aim_is_fresh)
        return self._look(exposed, others, late, again=True)

    def forget_aim(self) -> None:
        """Whom the layer targets is read anew: it was changed."""
        self._aimed_s = -math.inf

    def pause_s(self, usual_s: float, left_s: float) -> float:
        """How long to wait before the next look; `left_s`: until the deadline."""
        return self._reports.pause_s(usual_s, left_s)

    def is_few(self, devices: int) -> bool:
        """Whether so many devices are read one by one."""
        return self._reports.is_few(devices)

    def _look(self, exposed: Collection[str], others: Collection[str], late: bool, again: bool) -> Look:
        self._wanted = self._reports.cases.complete(self._wanted)
        condition, targeted = self._aim
        meant = {*exposed, *targeted}
        open_ = {device for device in meant if again or self._state(device) is State.PENDING}
        wanted = (open_ | set(others)) - self._fresh.keys()
        if not self.is_few(len(wanted)):
            wanted = meant | set(others)  # pages hold them all
        for facts in self._reasking.complete(self._read(open_, wanted)):
            self._tell(facts)
        outcomes = {
            device: end_outcome(self._wanted, device, self.told, self._facts)
            if late
            else self._so_far(device)
            for device in sorted(meant)
        }
        return Look(outcomes, dict(self._evidence), frozenset(targeted), condition, targeted)

    def _read_aim(self, again: bool) -> None:
        """The layer's target condition, None where it is not (another deployment may have its name), and whom
        it selects. What a machine said whose name another one has now is forgotten."""
        now_s = self._services.now()
        if again or now_s - self._aimed_s >= AIM_S:
            found = self._services.hub.configuration(self._layer.name)
            ours = found is not None and holds_layer(found, self._layer)
            condition = str(found.get("targetCondition") or "") if found and ours else None
            before = self._aim[1]
            self._aim = condition, self._reports.select(condition) if condition else {}
            for device, generation in self._aim[1].items():
                if before.get(device, generation) != generation:
                    self._forget(device)
            self._aimed_s = now_s
            self._aim_is_fresh = True

    def _forget(self, device: str) -> None:
        self.told.pop(device, None)
        self._facts.pop(device, None)
        self._evidence.pop(device, None)
        self._fresh.pop(device, None)
        self._reasking.forget(device)

    def _read(self, open_: Collection[str], wanted: Collection[str]) -> Iterator[DeviceFacts]:
        """What the `open_` devices tell; the `wanted` ones are read anew."""
        for device in sorted(self._fresh.keys() & open_):
            yield self._fresh[device]
        for device, report in self._reports.read(wanted):
            self._fresh[device] = report.facts
            if report.evidence is None:  # what was told once may be of a machine that is gone
                self._evidence.pop(device, None)
            else:
                self._evidence[device] = report.evidence
            if device in open_:
                yield report.facts

    def _tell(self, facts: DeviceFacts) -> None:
        device, outcome = facts.device, judge_device(self._wanted, facts)
        if is_news(self.told.get(device), outcome):
            self._on_change(outcome)
        self._facts[device] = facts
        self.told[device] = outcome

    def _state(self, device: str) -> State:
        return self._so_far(device).state

    def _so_far(self, device: str) -> Outcome:
        return self.told.get(device) or Outcome(device, State.PENDING, "nothing was heard of it yet")
