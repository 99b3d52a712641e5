"""Carries out the device plan's actions on the engine, each written in the journal before it begins.

An action that fails is tried again with growing waits, and holds back the rest of its unit meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.device.containers import Place, render_container
from edgeferry.device.handover import hand_over
from edgeferry.device.identities import Identities
from edgeferry.device.memory import Memory
from edgeferry.device.retries import Failures, WaitS
from edgeferry.device.workload_api import WorkloadApi
from edgeferry.domain.device_plan import Action, Create, HandOver, Pull, Remove, Start, Wanted
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.device_state import Doing
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import DesiredError, EdgeferryError

Json = dict[str, Any]

STOP_S = 10
"""How long a module may take to end, where its createOptions do not say."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What the actions work on."""

    wanted: Mapping[str, Wanted]
    found: Mapping[str, ContainerFacts]
    units: Sequence[frozenset[str]]


class Applying:
    """The doing half of the device plan."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        memory: Memory,
        rules: TrialRules,
        wait_s: WaitS,
        identities: Identities,
        workload: WorkloadApi,
        meanwhile: Callable[[], None],
    ) -> None:
        self._workload = workload
        self._meanwhile = meanwhile
        self._identities = identities
        self._engine = engine
        self._place = place
        self._memory = memory
        self._rules = rules
        self.failures = Failures(wait_s)

    def carry_out(self, actions: Iterable[Action], around: Surroundings) -> bool:
        """Whether any action was tried. EngineError of `meanwhile`, which is called before each: the rest is
        left for the next time."""
        tried = False
        held_back: set[str] = set()
        for action in actions:
            if isinstance(action, Pull) or action.module in held_back:
                continue
            self._meanwhile()
            key = key_of(action, around.wanted)
            if not self.failures.is_due(key, time.monotonic()):
                held_back |= _unit_of(action.module, around.units)
                continue
            tried = True
            if not self._try(action, key, around):
                held_back |= _unit_of(action.module, around.units)
        return tried

    def refusal(self, wanted: Wanted) -> str:
        """Why the engine cannot make or start this module; empty while that is the engine's own trouble, or
        the disk's, and another try may help."""
        for verb in (Create, Start, HandOver):
            key = key_of(verb(wanted.spec.name, ""), {wanted.spec.name: wanted})
            if key in self.failures and self.failures[key].is_final:
                return self.failures[key].reason
        return ""

    def _try(self, action: Remove | Create | Start | HandOver, key: str, around: Surroundings) -> bool:
        verb = verb_of(action)
        _log.info("%s module=%s reason=%s", verb, action.module, action.reason)
        self._memory.tell(Doing(verb, action.module, action.reason))
        try:
            self._do(action, around)
        except (EdgeferryError, OSError) as error:
            _log.warning("%s failed module=%s: %s", verb, action.module, error)
            is_final = isinstance(error, DesiredError) or not getattr(error, "retryable", True)
            self.failures.note(key, str(error), time.monotonic(), is_final=is_final)
            return False
        self.failures.clear(key)
        return True

    def _do(self, action: Action, around: Surroundings) -> None:
        match action:
            case Remove(module):
                facts = around.found[module]
                self._engine.stop(facts.id, STOP_S)
                self._engine.remove(facts.id)
                if module not in around.wanted:
                    self._workload.close(module)
                    self._identities.forget(module)
            case Create(module):
                body = self._render(around.wanted[module].spec)
                self._engine.ensure_network(self._place.network, self._place.owned_labels)
                self._engine.create(self._place.container(module), body)
            case Start(module):
                self._engine.start(self._place.container(module))
            case HandOver(module):
                body = self._render(around.wanted[module].spec)
                old = around.found[module]
                hand_over(self._engine, self._place, module, old, body, self._rules, self._meanwhile)

    def _render(self, spec: ModuleSpec) -> Json:
        self._workload.open(spec.name)
        try:
            return render_container(self._place, spec)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DesiredError(
                f"createOptions of module {spec.name} cannot be read: {error!r}", fix="correct the deployment"
            ) from error


def key_of(action: Remove | Create | Start | HandOver, wanted: Mapping[str, Wanted]) -> str:
    """What a failure is remembered under: the same action for the same desired module."""
    entry = wanted.get(action.module)
    return f"{verb_of(action)} {action.module} {entry.hash if entry else ''}"


def verb_of(action: Action) -> str:
    """The action's name, for people."""
    return {"HandOver": "hand over"}.get(type(action).__name__, type(action).__name__.lower())


def _unit_of(module: str, units: Sequence[frozenset[str]]) -> frozenset[str]:
    return next((unit for unit in units if module in unit), frozenset({module}))
