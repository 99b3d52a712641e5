"""The agent: makes the device's containers what the hub desires, and reports what is.

One loop, woken by a desired change, by a pull that ended, and every few seconds. What to do is decided by
`domain.device_plan`; here it is done. Nothing is restarted when the agent itself starts or ends.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from edgeferry import __version__
from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.containers import (
    MODULE_LABEL,
    SPEC_LABEL,
    Place,
    made_from,
    render_container,
    spec_hash,
)
from edgeferry.device.identities import Identities
from edgeferry.device.images import Images
from edgeferry.device.link import Handlers, Link
from edgeferry.device.methods import Methods
from edgeferry.device.options import load_rules
from edgeferry.device.pulls import Pulls
from edgeferry.device.retries import Failures, Restarts
from edgeferry.device.self_update import SelfUpdate
from edgeferry.device.state import Enrolment, Store
from edgeferry.domain.device_plan import (
    Action,
    Create,
    Present,
    Pull,
    Remove,
    Start,
    Wanted,
    plan,
    runtime_status,
    wait_s,
)
from edgeferry.domain.manifest import DeviceManifest, DeviceReport, ModuleSpec, ModuleState
from edgeferry.engine import ContainerFacts, Engine, EngineInfo
from edgeferry.errors import DesiredError, EdgeferryError, EngineError
from edgeferry.wire.connection import render_connection_string
from edgeferry.wire.edge import diff_reported, parse_desired, render_reported

Json = dict[str, Any]

AGENT = "$edgeAgent"
PASS_S = 5.0

_log = logging.getLogger(__name__)


def place_of(enrolment: Enrolment, store: Store) -> Place:
    """Where the device's containers live; the hub's CA is copied to where they can read it."""
    ca_file = store.copy_ca(enrolment.hub_ca_file) if enrolment.hub_ca_file else None
    return Place(
        sandbox=enrolment.sandbox,
        device=enrolment.device,
        gateway_name=enrolment.gateway_name,
        gateway_address=enrolment.gateway_address,
        ca_file=str(ca_file or ""),
        ca_sha256=hashlib.sha256(ca_file.read_bytes()).hexdigest() if ca_file else "",
    )


def wipe(enrolment: Enrolment) -> None:
    """This device's containers, network and volumes are gone."""
    place = Place(enrolment.sandbox, enrolment.device, enrolment.gateway_name, enrolment.gateway_address)
    engine = Engine(enrolment.engine)
    try:
        for facts in engine.containers(place.labels):
            engine.remove(facts.id)
        for network in engine.networks(place.labels):
            engine.remove_network(network)
        for volume in engine.volumes(place.network + "."):
            engine.remove_volume(volume)
    finally:
        engine.close()


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
        self._place = place_of(enrolment, store)
        self._pass_s = pass_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._engine = Engine(enrolment.engine)
        self._info: EngineInfo | None = None
        self._identities = Identities(enrolment, store)
        self._pulls = Pulls(enrolment.engine, self._wake)
        self._images = Images(self._engine, store)
        self._self_update = SelfUpdate(
            self._engine,
            UpdateRecord(store.folder),
            mark,
            load_rules(store.folder).update,
            Pulls(enrolment.engine, self._wake),
            self.stop,
        )
        self._update_said = ""
        self._methods = Methods(enrolment.engine, self._place, self._wake.set)
        self._failures = Failures(wait_s)
        self._restarts = Restarts(wait_s)
        self._started_at = _now()
        self._desired = store.load_desired()
        self._tried_version = 0
        self._manifest: DeviceManifest | None = None
        self._fault: DesiredError | None = None
        self._done_version = 0
        self._status = (417, "no desired properties yet")
        self._states: dict[str, ModuleState] = {}
        self._hub_reported: Json | None = None
        self._link = Link(
            lambda refused: self._identities.connection(AGENT, fresh=refused),
            enrolment.hub_ca_file,
            Handlers(self._take_desired, self._take_reported, self._wake.set, self._methods.answer),
            seen_version=self._desired[1] if self._desired else 0,
        )

    def run(self) -> None:
        """Keeps the device as desired until `stop`; then says at the hub that nobody watches any more."""
        self._link.start()
        try:
            while not self._stopping.is_set():
                self._pass()
                due = min(self._failures.next_due(), self._restarts.next_due()) - time.monotonic()
                if self._self_update.soon:
                    due = min(due, 1.0)
                self._wake.wait(max(self._pass_s / 10, min(self._pass_s, due)))
                self._wake.clear()
            if not self.handed_over:
                self._report_leaving()
        finally:
            self._link.stop()
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

    # what the hub says (called in the link's thread)

    def _take_desired(self, desired: Json, version: int) -> None:
        _log.info("desired version=%d", version)
        try:
            self._store.save_desired(desired, version)
        except OSError as error:
            _log.error("desired version=%d not kept on disk: %s", version, error)
        self._desired = (desired, version)
        self._wake.set()

    def _take_reported(self, reported: Json) -> None:
        self._hub_reported = reported

    # one pass

    def _pass(self) -> None:
        try:
            if self._info is None:
                self._info = self._engine.ping()
            self._read_manifest()
            found = self._look()
            if self._fault is not None:
                self._done_version = self._tried_version
                self._status = (self._fault.code, str(self._fault))
            elif self._manifest is not None and self._apply(self._manifest, found):
                found = self._look()
            if self._restart_ended(found):
                found = self._look()
            self._states = {module: self._state(facts) for module, facts in found.items()}
            self._update_itself()
        except (EngineError, OSError) as error:
            _log.error("pass: %s", error)
            self._status = (500, str(error))
            self._states = _unknown(self._states, str(error))
        self._report()

    def _update_itself(self) -> None:
        """The agent's own image is seen to; what is wrong with it is told beside what is of modules."""
        manifest = self._manifest
        own = manifest.system_modules.get("edgeAgent") if manifest else None
        logins = (*self._enrolment.registries, *(manifest.registries if manifest else ()))
        said = self._self_update.step(own.image if own else "", logins, connected=self._link.connected)
        self._update_said = said
        if self._self_update.failed and said not in self._status[1]:
            self._status = (500, "; ".join(part for part in (self._status[1], said) if part))

    def _look(self) -> dict[str, ContainerFacts]:
        """This device's containers by module."""
        found = self._engine.containers(self._place.labels)
        return {facts.labels.get(MODULE_LABEL, ""): facts for facts in found}

    def _read_manifest(self) -> None:
        """Reads the desired properties when they are new; those that cannot be read change nothing here."""
        if self._desired is None or self._desired[1] == self._tried_version:
            return
        desired, version = self._desired
        self._tried_version = version
        self._failures.keep_only(set())
        try:
            self._manifest, self._fault = parse_desired(desired), None
        except DesiredError as error:
            _log.warning("desired version=%d: %s", version, error)
            self._manifest, self._fault = None, error

    def _wanted(self, manifest: DeviceManifest) -> dict[str, Wanted]:
        return {name: Wanted(spec, spec_hash(self._place, spec)) for name, spec in manifest.modules.items()}

    def _apply(self, manifest: DeviceManifest, found: Mapping[str, ContainerFacts]) -> bool:
        """Whether anything was tried; pulls go on beside it and nothing else happens until each has been
        tried once. A module whose image does not come keeps its old container."""
        wanted = self._wanted(manifest)
        for image, problem in self._pulls.harvest().items():
            if problem:
                self._failures.note(f"pull {image}", problem, time.monotonic())
            else:
                self._failures.clear(f"pull {image}")
                self._images.note_pulled(image)
        present = [
            Present(module, facts.labels.get(SPEC_LABEL, ""), facts.status) for module, facts in found.items()
        ]
        settled = {container.module for container in present if _is_settled(container, wanted)}
        needed = {entry.spec.image for name, entry in wanted.items() if name not in settled}
        images = {image for image in needed if self._engine.image(image) is not None}
        actions = plan(wanted, present, images)
        self._failures.keep_only({_key(action, wanted) for action in actions})
        missing = [action for action in actions if isinstance(action, Pull)]
        self._start_pulls(missing, manifest)
        if any(f"pull {pull.image}" not in self._failures for pull in missing):
            return False
        without_image = {pull.image for pull in missing}
        blocked = {name for name, entry in wanted.items() if entry.spec.image in without_image}
        tried = self._carry_out(actions, wanted, found, blocked)
        reasons = self._failures.reasons()
        self._done_version = self._tried_version
        self._status = (500, "; ".join(reasons)) if reasons else (200, "")
        if not reasons:
            self._images.settle({name: spec.image for name, spec in manifest.modules.items()})
        return tried

    def _start_pulls(self, pulls: Sequence[Pull], manifest: DeviceManifest) -> None:
        logins = (*self._enrolment.registries, *manifest.registries)
        for pull in pulls:
            due = self._failures.is_due(f"pull {pull.image}", time.monotonic())
            if due and not self._pulls.is_running(pull.image):
                _log.info("pull image=%s reason=%s", pull.image, pull.reason)
                self._pulls.start(pull.image, logins)

    def _carry_out(
        self,
        actions: Sequence[Action],
        wanted: Mapping[str, Wanted],
        found: Mapping[str, ContainerFacts],
        blocked: set[str],
    ) -> bool:
        """Whether any action was tried. One that fails holds back the later ones of its module only."""
        tried = False
        held_back = set(blocked)
        for action in actions:
            if isinstance(action, Pull) or action.module in held_back:
                continue
            key = _key(action, wanted)
            if self._stopping.is_set() or not self._failures.is_due(key, time.monotonic()):
                held_back.add(action.module)
                continue
            tried = True
            _log.info("%s module=%s reason=%s", _verb(action), action.module, action.reason)
            try:
                self._do(action, wanted, found)
                self._failures.clear(key)
            except (EdgeferryError, OSError) as error:
                _log.warning("%s failed module=%s: %s", _verb(action), action.module, error)
                self._failures.note(key, str(error), time.monotonic())
                held_back.add(action.module)
        return tried

    def _do(self, action: Action, wanted: Mapping[str, Wanted], found: Mapping[str, ContainerFacts]) -> None:
        match action:
            case Remove(module):
                facts = found[module]
                self._engine.stop(facts.id)
                self._engine.remove(facts.id)
                if module not in wanted:
                    self._identities.forget(module)
            case Create(module):
                connection = replace(
                    self._identities.connection(module, fresh=True),
                    gateway_host_name=self._place.gateway_name,
                )
                body = self._render(wanted[module].spec, render_connection_string(connection))
                self._engine.ensure_network(self._place.network, self._place.labels)
                self._engine.create(self._place.container(module), body)
            case Start(module):
                self._engine.start(self._place.container(module))

    def _render(self, spec: ModuleSpec, connection: str) -> Json:
        try:
            return render_container(self._place, spec, connection)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DesiredError(
                f"createOptions of module {spec.name} cannot be read: {error!r}", fix="correct the deployment"
            ) from error

    def _restart_ended(self, found: Mapping[str, ContainerFacts]) -> bool:
        """Whether any container was started again."""
        self._restarts.keep_only(set(found))
        restarted = False
        for module, facts in found.items():
            if not self._restarts.is_due(self._spec(facts), facts, time.monotonic()):
                continue
            restarted = True
            self._restarts.note(module, _now())
            _log.info("restart module=%s was=%s exit_code=%d", module, facts.status, facts.exit_code)
            try:
                if facts.running:
                    self._engine.stop(facts.id)
                self._engine.start(facts.id)
            except EngineError as error:
                _log.warning("restart failed module=%s: %s", module, error)
        return restarted

    # what is reported

    def _spec(self, facts: ContainerFacts) -> ModuleSpec:
        """What the container was made from; the desired module itself where they agree, since restart policy
        and startup order follow it without a new container."""
        module = facts.labels.get(MODULE_LABEL, "")
        desired = self._manifest.modules.get(module) if self._manifest else None
        if desired and spec_hash(self._place, desired) == facts.labels.get(SPEC_LABEL):
            return desired
        return made_from(facts.labels) or ModuleSpec(name=module, image=facts.image, restart_policy="never")

    def _state(self, facts: ContainerFacts) -> ModuleState:
        spec = self._spec(facts)
        history = self._restarts.history(spec.name)
        description = facts.status
        if facts.status == "exited":
            description = f"exited ({facts.exit_code})" + (", out of memory" if facts.oom_killed else "")
        return ModuleState(
            spec=spec,
            runtime_status=runtime_status(spec, facts.status, facts.exit_code, facts.health),
            exit_code=facts.exit_code,
            description=description,
            image_hash=facts.image_id,
            started_at=facts.started_at,
            exited_at=facts.finished_at,
            restart_count=history.total,
            restarted_at=history.restarted_at,
            host_ports=facts.host_ports,
        )

    def _system_states(self) -> dict[str, ModuleState]:
        """IoT Edge's two own modules: this program stands in for the first, and nothing for the second."""
        said = {
            "edgeAgent": (
                "running",
                self._update_said or f"edgeferry {__version__} stands in for it",
                self._started_at,
            ),
            "edgeHub": ("stopped", "not run: modules speak to the hub themselves", None),
        }
        states = {}
        for name, spec in (self._manifest.system_modules if self._manifest else {}).items():
            status, description, started_at = said.get(name, ("stopped", "not run here", None))
            state = ModuleState(spec=spec, runtime_status=status, description=description)
            states[name] = replace(state, started_at=started_at) if started_at else state
        return states

    def _report(self) -> None:
        known = self._hub_reported
        if not self._link.connected or known is None:
            return
        report = DeviceReport(
            last_desired_version=self._done_version,
            status_code=self._status[0],
            status_description=self._status[1],
            agent_version=f"edgeferry {__version__}",
            architecture=self._info.architecture if self._info else "",
            engine_version=self._info.version if self._info else "",
            modules=self._states,
            system_modules=self._system_states(),
            schema_version=self._manifest.schema_version if self._manifest else "1.1",
        )
        said = render_reported(report)
        if not self._done_version:  # nothing was done since this agent started: the last word stands
            said |= {key: known[key] for key in ("lastDesiredVersion", "lastDesiredStatus") if key in known}
        patch = diff_reported(known, said)
        if not patch:
            return
        try:
            self._link.report(patch)
        except EdgeferryError as error:
            _log.warning("not reported: %s", error)
            return
        if self._hub_reported is known:
            self._hub_reported = said

    def _report_leaving(self) -> None:
        self._status = (406, "the agent is not running")
        self._states = _unknown(self._states, "the agent is not running")
        self._report()


def _is_settled(container: Present, wanted: Mapping[str, Wanted]) -> bool:
    entry = wanted.get(container.module)
    return entry is not None and entry.hash == container.hash


def _unknown(states: Mapping[str, ModuleState], why: str) -> dict[str, ModuleState]:
    return {
        module: replace(state, runtime_status="unknown", description=why, host_ports={})
        for module, state in states.items()
    }


def _key(action: Action, wanted: Mapping[str, Wanted]) -> str:
    """What a failure is remembered under: the same action for the same desired module."""
    if isinstance(action, Pull):
        return f"pull {action.image}"
    entry = wanted.get(action.module)
    return f"{_verb(action)} {action.module} {entry.hash if entry else ''}"


def _verb(action: Action) -> str:
    return type(action).__name__.lower()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
