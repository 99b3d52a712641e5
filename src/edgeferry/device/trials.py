"""What each unit of modules is to be, and whether a changed one is proven: the agent's memory at work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from edgeferry.device.clock import now_text
from edgeferry.device.memory import Memory
from edgeferry.device.verdicts import fetch_verdicts, mark
from edgeferry.domain.device_layers import Aim, Unit, choose, find_units
from edgeferry.domain.device_policy import find_refusals
from edgeferry.domain.device_rules import Rules
from edgeferry.domain.device_state import Applied, Crashed, Failed, Found, Left, Proved, Retried, Trial
from edgeferry.domain.device_trial import Sight, judge
from edgeferry.domain.manifest import LayerState, ModuleSpec
from edgeferry.domain.smoke import Verdict
from edgeferry.wire.device_journal import unit_hash

_log = logging.getLogger(__name__)


class Trials:
    """Which units are on trial. `now` gives seconds of a clock that never goes back."""

    def __init__(self, memory: Memory, rules: Rules, now: Callable[[], float] = time.monotonic) -> None:
        self._memory = memory
        self._rules = rules
        self._now = now
        self._since: dict[str, float] = {}
        """When each trial began, or its unit was last seen unwell; anew after a start of the agent."""

    @property
    def are_under_way(self) -> bool:
        """Whether any unit is on trial."""
        return bool(self._memory.state.trials)

    def begin_anew(self) -> None:
        """All windows begin now: while nobody could look at the modules, none was seen to be well."""
        self._since = dict.fromkeys(self._since, self._now())

    def next_due(self) -> float:
        """When the next window ends, by the clock."""
        return min((at + self._rules.trial.window_s for at in self._since.values()), default=float("inf"))

    def find(self, running: Mapping[str, ModuleSpec]) -> None:
        """These modules count as proven from now on."""
        if running:
            self._memory.note(Found(running))

    def has_failed(self, module: str) -> bool:
        """Whether the module is of a layer that failed with nothing to go back to."""
        return any(trial.failed and module in trial.modules for trial in self._memory.state.trials.values())

    def is_quarantined(self, layer: str) -> bool:
        """Whether the layer failed and is not tried again."""
        return any(layer in entry.layers for entry in self._memory.state.quarantine.values())

    def retry(self, layer: str) -> bool:
        """Whether the layer was in quarantine; it is tried again."""
        known = self.is_quarantined(layer)
        if known:
            self._memory.note(Retried(layer))
        return known

    def aims(self, desired: Mapping[str, ModuleSpec]) -> Sequence[Aim]:
        """What each unit is to be. Trials of what is no longer desired, or refused now, have ended."""
        state = self._memory.state
        policy = self._rules.policy
        refusals = {name: find_refusals(spec, policy) for name, spec in desired.items()}
        keeps = {name: find_refusals(spec, policy) for name, spec in state.good.items()}
        quarantined = {key: entry.reason for key, entry in state.quarantine.items()}
        units = find_units(desired, state.good, unit_hash)
        aims = [choose(unit, quarantined, refusals, keeps) for unit in units]
        for key in set(state.trials) - {aim.unit.hash for aim in aims if aim.kind == "desired"}:
            self._memory.note(Left(key, now_text()))
        trials = self._memory.state.trials
        self._since = {key: at for key, at in self._since.items() if key in trials}
        return aims

    def begin(self, aims: Sequence[Aim], held: Set[str], version: int, companion: str) -> None:
        """Changed units whose images are there are on trial from now on; `held` modules lack theirs."""
        for aim in aims:
            unit = aim.unit
            if aim.kind != "desired" or unit.is_proven or held & unit.modules:
                continue
            if unit.hash in self._memory.state.trials:
                continue
            stale = tuple(sorted(mark(one) for one in fetch_verdicts(companion).values()))
            gone = tuple(sorted(set(unit.good) - set(unit.desired)))
            self._memory.note(Applied(unit.hash, unit.layers, version, unit.desired, gone, now_text(), stale))
            self._since[unit.hash] = self._now()
            _log.info("trial layer=%s version=%d", unit.name, version)

    def note_crash(self, module: str, ended_at: str) -> None:
        """The module ended by itself: if it is on trial, its window begins anew."""
        for key, trial in self._memory.state.trials.items():
            if module in trial.modules:
                self._memory.tell(Crashed(key, module, ended_at))
                self._since[key] = self._now()
                return

    def judge(
        self,
        aims: Sequence[Aim],
        held: Set[str],
        present: Set[str],
        sight_of: Callable[[ModuleSpec], Sight],
        verdicts: Mapping[str, Verdict],
    ) -> bool:
        """Whether any unit is to go back to what was proven, which is to be done at once. `present` modules
        have a container: a unit is not proven while one of them is to be gone."""
        goes_back = False
        for aim in aims:
            unit = aim.unit
            if aim.kind != "desired" or held & unit.modules:
                continue
            trial = self._memory.state.trials.get(unit.hash)
            if trial is None:
                self._rename(unit)
                continue
            sights = [_with_verdict(sight_of(spec), trial, verdicts) for spec in unit.desired.values()]
            goes_back |= self._judge_one(unit, trial, sights, present)
        return goes_back

    def layers(
        self, aims: Sequence[Aim], held: Mapping[str, str], coming: Mapping[str, str], version: int
    ) -> dict[str, LayerState]:
        """How each layer stands; `held` are modules whose images are not there, with the reason; `coming` is
        how far each image's pull is."""
        said: dict[str, LayerState] = {}
        for aim in aims:
            images = {spec.image for spec in aim.modules.values()}
            progress = "; ".join(f"{image}: {coming[image]}" for image in sorted(images) if image in coming)
            state = replace(self._layer_state(aim, held, version), progress=progress)
            said |= {layer: state for layer in aim.unit.layers if aim.unit.desired}
        return said

    def problems(self, aims: Sequence[Aim]) -> list[str]:
        """Why units are not, or not well, what is desired."""
        told = [aim.reason for aim in aims if aim.reason]
        for aim in aims:
            trial = self._memory.state.trials.get(aim.unit.hash)
            if trial and trial.failed:
                told.append(f"layer {aim.unit.name} failed, and nothing was proven before: {trial.failed}")
        return told

    def _judge_one(self, unit: Unit, trial: Trial, sights: Sequence[Sight], present: Set[str]) -> bool:
        since = self._since.setdefault(unit.hash, self._now())
        elapsed = self._now() - since if unit.desired else float("inf")
        if trial.failed:
            sights = [replace(sight, crashes=0) for sight in sights]
        judgement = judge(sights, elapsed, self._rules.trial)
        if judgement.outcome == "Proven":
            gone = set(unit.good) - set(unit.desired)
            if gone & present:
                return False
            self._memory.note(Proved(unit.hash, unit.desired, tuple(sorted(gone)), now_text()))
            self._since.pop(unit.hash, None)
            _log.info("proven layer=%s", unit.name)
        elif judgement.outcome == "Failed" and not trial.failed:
            back = bool(unit.good)
            self._memory.note(Failed(unit.hash, judgement.reason, now_text(), back))
            _log.warning("failed layer=%s goes_back=%s: %s", unit.name, back, judgement.reason)
            if back:
                self._since.pop(unit.hash, None)
                return True
            self._since[unit.hash] = self._now()
        elif judgement.outcome == "Failed":
            self._since[unit.hash] = self._now()
        return False

    def _rename(self, unit: Unit) -> None:
        """The same modules, brought by other layers: nothing was changed that would need a trial."""
        if unit.is_proven and unit.desired != unit.good:
            self._memory.note(Proved(unit.hash, unit.desired, (), now_text()))

    def _layer_state(self, aim: Aim, held: Mapping[str, str], version: int) -> LayerState:
        unit = aim.unit
        trial = self._memory.state.trials.get(unit.hash)
        waiting = sorted({held[name] for name in aim.modules if name in held})
        if aim.kind == "refused":
            return LayerState("Refused", aim.reason, unit.hash, version)
        if aim.kind == "rolled back":
            entry = self._memory.state.quarantine[unit.hash]
            reason = "; ".join((entry.reason, *(f"not gone back yet: {why}" for why in waiting)))
            return LayerState("RolledBack", reason, unit.hash, entry.version, entry.at)
        if waiting and not unit.is_proven:
            return LayerState("Pulling", "; ".join(waiting), unit.hash, version)
        if trial:
            outcome = "Failed" if trial.failed else "Trial"
            return LayerState(outcome, trial.failed, unit.hash, trial.version, trial.since)
        return LayerState("Proven" if unit.is_proven else "Pulling", "", unit.hash, version)


def _with_verdict(sight: Sight, trial: Trial, verdicts: Mapping[str, Verdict]) -> Sight:
    _, at, digest = sight.spec.image.partition("@")
    for verdict in verdicts.values():
        is_about_it = bool(at) and verdict.digest == digest and mark(verdict) not in trial.stale
        if is_about_it and verdict.state == "Failed":
            return replace(sight, smoke=verdict.reason or "its verdict is Failed")
    crashes = len(trial.crashes.get(sight.spec.name, ()))
    return replace(sight, crashes=crashes)
