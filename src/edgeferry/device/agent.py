"""The agent: makes the device's containers what the hub desires, and reports what is.

One loop, woken by a desired change, by a pull that ended, by the engine's events, and every few seconds. What
to do is decided in the domain: `device_layers` says what each unit of modules is to be, `device_plan` which
actions make it so, `device_trial` whether what was changed is proven. Nothing is restarted when the agent
itself starts or ends.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.applying import Applying, Surroundings, key_of
from edgeferry.device.arrivals import Arrivals
from edgeferry.device.clock import now_text
from edgeferry.device.containers import (
    Place,
    made_from,
    made_hash,
    read_search_domains,
    spec_hash,
)
from edgeferry.device.desired import Desired
from edgeferry.device.engine_events import Watch
from edgeferry.device.farewell import Farewell
from edgeferry.device.handover import pick_serving, settle_names
from edgeferry.device.identities import Identities
from edgeferry.device.images import Images
from edgeferry.device.link import Handlers, Link
from edgeferry.device.local_status import LocalStatus, render_status
from edgeferry.device.looks import Looks, tell_ill
from edgeferry.device.memory import Memory
from edgeferry.device.methods import Methods
from edgeferry.device.options import load_rules
from edgeferry.device.ownership import Owner, load_owner, refuse_strangers
from edgeferry.device.pulls import Pulls
from edgeferry.device.reporting import NOT_RUNNING, Reporting, unknown
from edgeferry.device.self_update import SelfUpdate
from edgeferry.device.state import Enrolment, Store
from edgeferry.device.supervision import Supervision
from edgeferry.device.trials import Trials
from edgeferry.device.trust import read_trust_bundle
from edgeferry.device.verdicts import Verdicts, find_companion
from edgeferry.device.workload_api import WorkloadApi
from edgeferry.domain.device_handover import can_hand_over, wants_hand_over
from edgeferry.domain.device_plan import Present, Pull, Wanted, find_changes, plan, wait_s
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec, ModuleState
from edgeferry.engine import ContainerFacts, Engine, EngineInfo
from edgeferry.engine_images import ImageFacts
from edgeferry.errors import EngineError

Json = dict[str, Any]

AGENT = "$edgeAgent"
PASS_S = 5.0
SHORTEST_WAIT_S = 0.1
WATCH_S = 1.0
"""How often other modules are looked at while an action takes its time."""

_log = logging.getLogger(__name__)


def place_of(enrolment: Enrolment, workload: WorkloadApi, owner: Owner) -> Place:
    """Where the device's containers live; OutsideError without the hub's CA."""
    trusted = read_trust_bundle(enrolment.hub_ca_file) if enrolment.hub_ca_file else ""
    return Place(
        sandbox=enrolment.sandbox,
        device=enrolment.device,
        gateway_name=enrolment.gateway_name,
        gateway_address=enrolment.gateway_address,
        hub=enrolment.connection.host_name,
        ca_sha256=hashlib.sha256(trusted.encode()).hexdigest() if trusted else "",
        workload=str(workload.folder),
        generation=workload.generation,
        search=read_search_domains(),
        owner=owner.id,
    )


class Agent:
    """One device's agent. `run` works until `stop`, which leaves the containers as they are."""

    def __init__(
        self,
        enrolment: Enrolment,
        store: Store,
        *,
        mark: str = "",
        pass_s: float = PASS_S,
        wait_s: Callable[[int], float] = wait_s,
    ) -> None:
        self._enrolment = enrolment
        self._store = store
        self._rules = load_rules(store.folder)
        self._owner = load_owner(store)
        self._identities = Identities(enrolment, store)
        self._workload = WorkloadApi(
            store.folder / "workload", self._identities, lambda: read_trust_bundle(enrolment.hub_ca_file)
        )
        self._place = place_of(enrolment, self._workload, self._owner)
        self._pass_s = pass_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._engine = Engine(enrolment.engine)
        self._info: EngineInfo | None = None
        self._memory = Memory(store)
        self._pulls = Pulls(enrolment.engine, self._wake, self._rules.pull)
        self._watch = Watch(enrolment.engine, self._place.labels, self._wake)
        self._images = Images(self._engine, store)
        self._arrivals = Arrivals(self._pulls, self._images)
        self._trials = Trials(self._memory, self._rules)
        self._verdicts = Verdicts(self._wake)
        self._applying = Applying(
            self._engine,
            self._place,
            self._memory,
            self._rules.trial,
            wait_s,
            self._identities,
            self._workload,
            self._watch_others,
        )
        self._supervision = Supervision(self._engine, wait_s)
        self._looks = Looks(self._place, self._supervision, self._applying)
        self._farewell = Farewell(enrolment, store, self.stop)
        self._own_pulls = Pulls(enrolment.engine, self._wake, self._rules.pull)
        self._self_update = SelfUpdate(
            self._engine,
            UpdateRecord(store.folder),
            mark,
            self._rules.update,
            self._own_pulls,
            self.stop,
        )
        self._methods = Methods(
            enrolment.engine,
            self._place,
            self._wake.set,
            hub=enrolment.connection.host_name,
            history=self._memory.history,
            retry=self._retry,
            decommission=self._farewell.answer,
            restarting=self._supervision.restarting,
        )
        self._desired = Desired(store)
        self._began = self._watched_at = 0.0
        self._done_version = 0
        self._status = (417, "no desired properties yet")
        self._states: dict[str, ModuleState] = {}
        self._held: dict[str, str] = {}
        self._link = Link(
            lambda refused: self._identities.connection(AGENT, fresh=refused),
            enrolment.hub_ca_file,
            Handlers(self._take_desired, self._take_reported, self._wake.set, self._methods.answer),
            seen_version=self._desired.seen_version,
        )
        self._reporting = Reporting(self._link, now_text())
        self._reporting.take_own("", self._self_update.own, gave_up=False)
        self._local_status = LocalStatus(store, now_text)

    def run(self) -> None:
        """Keeps the device as desired until `stop`; then says at the hub that nobody watches any more."""
        self._workload.open_all()
        self._watch.start()
        self._verdicts.start()
        self._link.start()
        try:
            while not self._stopping.is_set():
                self._pass()
                self._wake.wait(self._wait())
                self._wake.clear()
            if not self._farewell.settle() and not self.handed_over:
                self._status = (406, NOT_RUNNING)
                self._states = unknown(self._states, NOT_RUNNING)
                self._report()
        finally:
            self._link.stop()
            self._verdicts.stop()
            self._watch.stop()
            self._pulls.close()
            self._workload.stop()
            self._own_pulls.close()
            self._methods.close()
            self._engine.close()

    def stop(self) -> None:
        """Ends `run` after the action under way."""
        self._stopping.set()
        self._wake.set()

    @property
    def handed_over(self) -> bool:
        """Whether it ended because another agent goes on."""
        return self._self_update.leaving

    def _wait(self) -> float:
        """Seconds until the next pass, unless something wakes it. What was due when the last one began had
        its turn: it does not make the loop spin where nothing came of it."""
        parts = (self._applying.failures, self._supervision, self._trials, self._pulls, self._self_update)
        due = min((at for part in parts if (at := part.next_due()) > self._began), default=float("inf"))
        return max(SHORTEST_WAIT_S, min(self._pass_s, due - time.monotonic()))

    # what the hub says (called in the link's thread)

    def _take_desired(self, desired: Json, version: int) -> None:
        self._desired.take(desired, version)
        self._wake.set()

    def _take_reported(self, reported: Json) -> None:
        self._reporting.take_reported(reported)

    # asked by method (in the link's thread)

    def _retry(self, layer: str) -> bool:
        """Whether that layer is in quarantine; the next pass lifts it."""
        known = self._trials.is_quarantined(layer)
        if known:
            self._store.ask_retry(layer)
            self._wake.set()
        return known

    # one pass

    def _pass(self) -> None:
        self._began = self._watched_at = time.monotonic()
        try:
            if self._info is None:
                self._info = self._engine.ping()
            try:
                found = self._bring_about()
                self._update_itself()
            except OSError as error:
                found = self._keep_up(error)
            self._states = {module: self._looks.state(facts) for module, facts in found.items()}
        except EngineError as error:
            _log.error("pass: %s", error)
            self._status = (500, str(error))
            self._states = unknown(self._states, str(error))
            self._supervision.forget_ends()
            self._trials.begin_anew()
        self._report()

    def _bring_about(self) -> Mapping[str, ContainerFacts]:
        """The containers, after all that could be done at once. OSError when the state folder does not take
        what is to be done: then that was not done."""
        if self._desired.read():
            self._applying.failures.keep_only(set())
        for layer in self._store.take_retries():
            _log.info("retry asked layer=%s in_quarantine=%s", layer, self._trials.retry(layer))
        found = self._look()
        self._remember(found)
        goes_back = True
        while goes_back:  # a unit that failed goes back within the same pass
            if self._desired.manifest is not None and self._apply(self._desired.manifest, found):
                found = self._look()
            if self._supervise(found):
                found = self._look()
            goes_back = self._judge(found)
        if fault := self._desired.fault:
            self._done_version = self._desired.version
            self._status = (fault.code, str(fault))
        return found

    def _keep_up(self, error: OSError) -> Mapping[str, ContainerFacts]:
        """The containers, when the state folder takes nothing: what runs is kept up all the same."""
        _log.error("pass: %s", error)
        self._status = (500, f"the agent cannot write to its state folder: {error}")
        found = self._look()
        if self._supervision.start_again(found, self._looks.spec, time.monotonic()):
            found = self._look()
        return found

    def _update_itself(self) -> None:
        """The agent's own image is seen to; what is wrong with it is told beside what is of modules."""
        manifest = self._desired.manifest
        own = manifest.system_modules.get("edgeAgent") if manifest else None
        logins = (*self._enrolment.registries, *(manifest.registries if manifest else ()))
        said = self._self_update.step(own.image if own else "", logins, connected=self._link.connected)
        self._reporting.take_own(said, self._self_update.own, gave_up=self._self_update.given_up)
        if self._self_update.failed and said not in self._status[1]:
            self._status = (500, "; ".join(part for part in (self._status[1], said) if part))

    def _look(self) -> dict[str, ContainerFacts]:
        """This device's containers by module, once no hand-over is left half done; RefusedError when another
        agent has taken any over."""
        found = self._engine.containers(self._place.labels)
        refuse_strangers(self._owner, found)
        if settle_names(self._engine, self._place, found):
            found = self._engine.containers(self._place.labels)
        return pick_serving(self._place, found)

    def _watch_others(self) -> None:
        """Modules that end while others are changed are started again. EngineError when the agent is to end:
        what is under way is given up."""
        if self._stopping.is_set():
            raise EngineError("the agent ends", fix="start it again", retryable=True)
        if time.monotonic() - self._watched_at < WATCH_S:
            return
        self._watched_at = time.monotonic()
        self._supervise(pick_serving(self._place, self._engine.containers(self._place.labels)))

    def _remember(self, found: Mapping[str, ContainerFacts]) -> None:
        """What runs and is no longer desired so counts as good, where nothing of its module was proven: the
        memory was lost, or what runs was still on trial."""
        if self._desired.manifest is None:
            return
        good = self._memory.state.good
        running = {
            module: spec
            for module, facts in found.items()
            if module not in good
            and facts.running
            and not self._trials.has_failed(module)
            and (spec := made_from(facts.labels))
            and self._is_undesired(spec)
        }
        self._trials.find(running)

    def _is_undesired(self, spec: ModuleSpec) -> bool:
        desired = self._desired.manifest.modules.get(spec.name) if self._desired.manifest else None
        return desired is None or spec_hash(self._place, desired) != spec_hash(self._place, spec)

    def _apply(self, manifest: DeviceManifest, found: Mapping[str, ContainerFacts]) -> bool:
        """Whether anything was tried; pulls go on beside it. A unit whose images are not all there stays as
        it is."""
        self._arrivals.harvest()
        aims = self._looks.aims = self._trials.aims(manifest.modules)
        wanted = {name: self._looks.want(spec) for aim in aims for name, spec in aim.modules.items()}
        units = [aim.unit.modules for aim in aims]
        present = self._present(found)
        images = self._find_images(wanted, present)
        wanted = {name: _with_hand_over(entry, images) for name, entry in wanted.items()}
        actions = plan(wanted, present, set(images), units)
        missing = [action for action in actions if isinstance(action, Pull)]
        self._arrivals.ask_for(missing, (*self._enrolment.registries, *manifest.registries))
        self._held = self._arrivals.find_held(spec for aim in aims for spec in aim.modules.values())
        self._applying.failures.keep_only(
            {key_of(action, wanted) for action in actions if not isinstance(action, Pull)}
        )
        companion = find_companion(found.values(), self._place.network)
        self._trials.begin(aims, set(self._held), self._desired.version, companion)
        tried = self._applying.carry_out(actions, Surroundings(wanted, found, units))
        if not self._arrivals.are_expected:
            self._done_version = self._desired.version
        return tried

    def _present(self, found: Mapping[str, ContainerFacts]) -> list[Present]:
        return [
            Present(module, made_hash(self._place, facts.labels), facts.status)
            for module, facts in found.items()
        ]

    def _find_images(self, wanted: Mapping[str, Wanted], present: Sequence[Present]) -> dict[str, ImageFacts]:
        """The images that the engine holds, by reference, of those that unsettled modules need."""
        changed = find_changes(wanted, present)
        needed = {entry.spec.image for name, entry in wanted.items() if name in changed}
        return {image: facts for image in needed if (facts := self._engine.image(image)) is not None}

    def _supervise(self, found: Mapping[str, ContainerFacts]) -> bool:
        """Whether any container was started again."""
        for module, ended_at in self._supervision.find_crashes(found, self._looks.spec):
            if self._looks.aimed_at(found[module]):  # the end of what is to go says nothing of its successor
                self._trials.note_crash(module, ended_at)
        return self._supervision.start_again(found, self._looks.spec, time.monotonic())

    def _judge(self, found: Mapping[str, ContainerFacts]) -> bool:
        """Whether a unit is to go back to what was proven."""
        url = find_companion(found.values(), self._place.network) if self._trials.are_under_way else ""
        self._verdicts.look_at(url)
        goes_back = self._trials.judge(
            self._looks.aims,
            set(self._held),
            set(found),
            lambda spec: self._looks.sight(spec, found),
            self._verdicts.current(),
        )
        if self._desired.manifest is not None:
            undone = [*self._arrivals.problems(), *self._applying.failures.reasons()]
            states = [self._looks.state(facts) for facts in found.values()]
            reasons = [*undone, *self._trials.problems(self._looks.aims), *tell_ill(states)]
            self._status = (500, "; ".join(reasons)) if reasons else (200, "")
            if not undone and not goes_back:
                self._settle_images()
        return goes_back

    def _settle_images(self) -> None:
        modules = [spec for aim in self._looks.aims for spec in aim.modules.values()]
        proven = {spec.image for spec in self._memory.state.good.values()}
        self._images.settle({spec.name: spec.image for spec in modules}, proven)

    # what is reported

    def _report(self) -> None:
        coming = self._arrivals.progress()
        layers = self._trials.layers(self._looks.aims, self._held, coming, self._desired.version)
        self._reporting.send(
            self._done_version, self._status, self._states, layers, self._desired.manifest, self._info
        )
        connected = self._link.connected
        self._local_status.save(
            render_status(
                self._done_version, self._status, self._states, layers, self._pulls, connected=connected
            )
        )


def _with_hand_over(wanted: Wanted, images: Mapping[str, ImageFacts]) -> Wanted:
    image = images.get(wanted.spec.image)
    asks = image is not None and wants_hand_over(wanted.spec, image.labels)
    return replace(wanted, hands_over=asks and not can_hand_over(wanted.spec))
