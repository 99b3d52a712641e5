"""Hollow devices on the true wire: each has an agent's and a companion's connection, and nothing behind them.

What they do is `domain.hollow`'s; here it meets the hub. All share one event loop and one clock, which may
run faster than the world's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from edgeferry.device.hollow_session import HubPlace, Session
from edgeferry.device.identities import identity_path, new_identity
from edgeferry.domain.hollow import advance, ask, next_at, note_traffic, serve_until, want
from edgeferry.domain.hollow_device import CasesOf, Hollow, is_on, is_up, nonce_of, text_of
from edgeferry.domain.hollow_report import report_agent
from edgeferry.domain.hollow_traffic import Served
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import SmokeRequest, Verdict
from edgeferry.errors import DesiredError, HubError, UsageError
from edgeferry.wire.edge import parse_desired
from edgeferry.wire.edge_report import diff_reported, render_reported
from edgeferry.wire.evidence_report import METHOD, EvidenceReport, render_evidence
from edgeferry.wire.sas import render_sas
from edgeferry.wire.topics import API_VERSION, resource
from edgeferry.wire.verdict import (
    METHOD_EVIDENCE_BYTES,
    parse_smoke_request,
    render_verdict,
    render_verdicts,
    share_room,
)

Json = dict[str, Any]

AGENT = "$edgeAgent"
AT_ONCE = 25
"""So many devices connect at the same time."""
AGAIN_S = 1.0
"""When a lost connection, or a report that was not taken, is tried again."""
_TOKEN_S = 3600
_CLOSING_S = 0.1
"""Sockets are closed in the loop's next turns, and it may have none after this."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """The simulation's time: Unix seconds that pass `speed` times as fast since `began_at`."""

    began_at: float
    speed: float = 1.0

    def now(self) -> float:
        """The simulated time."""
        return self.began_at + (time.time() - self.began_at) * self.speed

    def world_s(self, simulated_s: float) -> float:
        """How long that many simulated seconds take."""
        return simulated_s / self.speed


@dataclass
class HollowFleet:
    """Hollow devices of one hub; `keys` are the devices' own, by device."""

    place: HubPlace
    clock: Clock
    cases_of: CasesOf
    hollows: Sequence[Hollow]
    keys: Mapping[str, str]
    on_event: Callable[[str, str], None] = lambda device, what: None
    """Told of what a device does: `connected`, `desired 7`, `verdict nyc_taxi Passed`."""
    devices: dict[str, HollowDevice] = field(default_factory=dict)

    async def live(self) -> None:
        """All devices live, until cancelled; then every socket is closed."""
        try:
            await self._live()
        finally:
            await asyncio.sleep(_CLOSING_S)

    async def _live(self) -> None:
        turn = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(
            base_url=f"https://{self.place.host_name}",
            verify=self.place.context,
            trust_env=False,
            timeout=60,
            limits=limits,
            params={"api-version": API_VERSION},
        ) as http:
            for hollow in self.hollows:
                self.devices[hollow.device] = HollowDevice(self, hollow, http, turn)
            async with asyncio.TaskGroup() as group:
                for device in self.devices.values():
                    group.create_task(device.live())


class HollowDevice:
    """One device: its state, and the two connections that tell of it."""

    def __init__(
        self, fleet: HollowFleet, hollow: Hollow, http: httpx.AsyncClient, turn: asyncio.Semaphore
    ) -> None:
        self.hollow = hollow
        self._fleet = fleet
        self._http = http
        self._turn = turn
        self._sessions: dict[str, Session] = {}
        self._woken = asyncio.Event()
        self._caught_up_at = hollow.born_at

    async def live(self) -> None:
        """Connects, does what is desired and reports, until cancelled; a device that the hub no longer knows
        has ended."""
        try:
            while True:
                try:
                    await self._turn_once()
                    wait_s = self._fleet.clock.world_s(self.due_at() - self._fleet.clock.now())
                except HubError as error:
                    if error.status in (401, 404):
                        self._fleet.on_event(self.hollow.device, "gone from the hub")
                        return
                    _log.info("device=%s: %s", self.hollow.device, error.problem)
                    wait_s = AGAIN_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(wait_s, 0.01)):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            for session in self._sessions.values():
                session.close()

    async def _turn_once(self) -> None:
        """Connected as the faults let it, caught up, and everything told."""
        now = self._fleet.clock.now()
        offline = is_on(self.hollow, "offline", now)
        await self._hold(AGENT, not offline)
        self.catch_up()
        companion = is_up(self.hollow, COMPANION, now) and not is_on(self.hollow, "no_companion", now)
        await self._hold(COMPANION, companion and not offline)
        self.catch_up()
        if not is_on(self.hollow, "stale_twin", now):
            for module, said in self._render().items():
                await self._tell(module, said)

    async def _hold(self, module: str, wanted: bool) -> None:
        """The module's connection is there, or not, as wanted."""
        session = self._sessions.get(module)
        if not wanted:
            if session is not None:
                self._sessions.pop(module).close()
            return
        if session is not None and session.connected:
            return
        async with self._turn:
            session = Session(
                self._fleet.place,
                self.hollow.device,
                module,
                await self._fetch_key(module),
                on_desired=lambda desired, version: self._take(module, desired, version),
                on_method=lambda name, payload: self._answer(module, name, payload),
                on_lost=self._woken.set,
            )
            self._sessions[module] = session
            await session.connect()
        self._fleet.on_event(self.hollow.device, f"{module} connected")

    async def _tell(self, module: str, said: Json) -> None:
        session = self._sessions.get(module)
        if session is None or not session.connected:
            return
        patch = diff_reported(session.reported, said)
        if patch:
            await session.report(patch)

    def _take(self, module: str, desired: Json, version: int) -> None:
        """New desired properties of the agent or the companion."""
        now = self._fleet.clock.now()
        self.catch_up()
        if module == COMPANION:
            self.hollow = ask(self.hollow, _read_requests(desired), now)
        else:
            try:
                self.hollow = want(self.hollow, parse_desired(desired), version, now)
            except DesiredError as error:
                _log.info("device=%s desired %d: %s", self.hollow.device, version, error)
        self._fleet.on_event(self.hollow.device, f"{module} desired {version}")
        self._woken.set()

    def catch_up(self) -> None:
        """What was to happen until now has happened, each thing at its own time."""
        now, cases_of = self._fleet.clock.now(), self._fleet.cases_of
        before = self.hollow.verdicts
        at = next_at(self.hollow, self._caught_up_at)
        while at < now:
            self.hollow = advance(self.hollow, cases_of, at)
            at = next_at(self.hollow, at)
        self.hollow = advance(self.hollow, cases_of, now)
        self._caught_up_at = now
        for model, verdict in self.hollow.verdicts.items():
            if before.get(model) != verdict:
                self._fleet.on_event(self.hollow.device, f"verdict {model} {verdict.state}")

    def due_at(self) -> float:
        """When there is something to do or to tell next: what has come due since it last caught up, while the
        hub was slow to take a report, is due now."""
        since, pace = self._caught_up_at, self.hollow.pace
        times = [next_at(self.hollow, since)]
        for runs in self.hollow.running.values():
            turns = int(max(0.0, since - runs.started_at) / pace.report_s) + 1
            times.append(runs.started_at + turns * pace.report_s)
        return min(times)

    def _render(self) -> dict[str, Json]:
        """What agent and companion report now. What was served is told as of the last full minute (or what
        `report_s` is) since its model was started."""
        now, hollow = self._fleet.clock.now(), self.hollow
        agent = render_reported(report_agent(hollow, now))
        room = share_room(len(hollow.verdicts))
        verdicts = {model: render_verdict(one, room) for model, one in hollow.verdicts.items()}
        companion: Json = {"verdicts": verdicts, "evidence": self._tell_served()}
        if nonce := nonce_of(hollow):
            companion[COMPANION] = nonce
        if is_on(hollow, "lying_hand", now):
            agent["verdicts"], companion["verdicts"] = verdicts, {}
        return {AGENT: agent, COMPANION: companion}

    def _tell_served(self) -> Json:
        now, pace = self._fleet.clock.now(), self.hollow.pace
        said: Json = {}
        for model, (request, _) in self.hollow.requests.items():
            runs = self.hollow.running.get(model)
            if runs is None:
                continue
            turns = int(max(0.0, now - runs.started_at) / pace.report_s)
            at = runs.started_at + turns * pace.report_s
            served = serve_until(self.hollow, model, at)
            if served is None:
                continue
            self.hollow = replace(self.hollow, served={**self.hollow.served, model: served})
            said[model] = render_evidence(
                _report_of(replace(served, version=request.version), at), len(self.hollow.requests)
            )
        return said

    def _answer(self, module: str, name: str, payload: Any) -> tuple[int, Any]:
        """The answer to a direct method."""
        if module == AGENT and name.lower() == "ping":
            return 200, None
        if module == COMPANION and name == "smokeTest" and isinstance(payload, Mapping):
            return self._answer_smoke(str(payload.get("nonce", "")), payload.get("model"))
        if module == COMPANION and name == METHOD:
            self.hollow = note_traffic(self.hollow, self._fleet.clock.now())
            return 200, {"evidence": self._tell_served()}
        return 404, {"message": f"a hollow device has no method {name!r}"}

    def _answer_smoke(self, nonce: str, model: object) -> tuple[int, Any]:
        now = self._fleet.clock.now()
        verdicts: list[Verdict] = []
        for name, (request, _) in self.hollow.requests.items():
            if model in (None, name):
                fresh = replace(
                    self.hollow, verdicts={}, requests={name: (replace(request, nonce=nonce), 0.0)}
                )
                verdicts += advance(fresh, self._fleet.cases_of, now).verdicts.values()
        return 200, render_verdicts(verdicts, METHOD_EVIDENCE_BYTES)

    async def _fetch_key(self, module: str) -> str:
        """The module's key at the hub, got with the device's own; its identity is made where there is
        none."""
        device, host = self.hollow.device, self._fleet.place.host_name
        path = identity_path(device, module)
        token = render_sas(resource(host, device), self._fleet.keys[device], int(time.time()) + _TOKEN_S)
        try:
            response = await self._http.get(path, headers={"Authorization": token})
            if response.status_code == 404 and module != AGENT:
                wanted = new_identity(device, module)
                response = await self._http.put(path, json=wanted, headers={"Authorization": token})
        except httpx.HTTPError as error:
            raise HubError(
                f"the hub at {host} does not answer: {error}", fix="it is tried again", retryable=True
            ) from error
        if response.is_error:
            raise HubError(
                f"the hub answered {response.status_code} for the identity of {device}/{module}",
                fix="look at the device's identity at the hub",
                status=response.status_code,
            )
        return str(response.json()["authentication"]["symmetricKey"]["primaryKey"])


def _read_requests(desired: Mapping[str, Any]) -> dict[str, SmokeRequest]:
    requests = {}
    models = desired.get("models")
    for model, said in (models if isinstance(models, Mapping) else {}).items():
        with suppress(UsageError):
            requests[model] = parse_smoke_request(model, said)
    return requests


def _report_of(served: Served, at_s: float) -> EvidenceReport:
    traffic = served.traffic
    return EvidenceReport(
        digest=served.digest,
        version=served.version,
        since=text_of(served.since),
        at=text_of(at_s),
        requests=traffic.requests,
        errors=traffic.errors,
        latency=traffic.latency,
        outputs=traffic.outputs,
    )
