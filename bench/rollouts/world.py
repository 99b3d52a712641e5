"""A fleet of hollow devices in this process, under a clock that jumps: what a rollout would see of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.rollouts.traffic import Streams
from edgeferry.domain.enrolment import new_tags
from edgeferry.domain.hollow import advance, ask, manner, next_at, serve_until, traffic_key, want
from edgeferry.domain.hollow_device import Hollow, Pace, Running
from edgeferry.domain.hollow_faults import Fault, choose_faults
from edgeferry.domain.hollow_report import tell_facts
from edgeferry.domain.hollow_traffic import Traffic
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.domain.model import Tolerance
from edgeferry.domain.rollout import Outcome, State, Wanted, judge_at_deadline, judge_device
from edgeferry.domain.rollout_decision import Look
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.domain.smoke import CaseSet, EqualCase, SmokeRequest

T0 = 1_700_000_000.0
"""When a simulation begins, Unix seconds."""
MODEL = "taxi"
OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
COMPANION = ModuleSpec("companion", "r/companion@sha256:" + "c" * 64, layer="companion")
CASES = CaseSet(MODEL, "2", Tolerance(1e-6, 1e-6), 100.0, (EqualCase("equal", ((1.0,),), (2.0,)),))
WANTED = Wanted(MODEL, NEW, frozenset({NEW}), "cases", "nonce", CASES)
RARE = 10
"""One device in so many is of the rare kind."""
PROVEN_S = 300.0
"""By then each device has proven the predecessor, or has failed to."""
_SLOW = frozenset({"dead", "flapping", "slow_start", "image_404", "registry_down", "http_500"})
"""Faults with which what a device serves does not just follow from the time."""


def spec(digest: str) -> ModuleSpec:
    """The model's module of that image."""
    return ModuleSpec(MODEL, f"r/{MODEL}@{digest}", layer=f"layer-{digest[7]}")


def _manifest(digest: str) -> DeviceManifest:
    return DeviceManifest({COMPANION.name: COMPANION, MODEL: spec(digest)})


_MANIFESTS = {digest: _manifest(digest) for digest in (OLD, NEW)}


def twin_of(seed: int, number: int) -> dict:
    """The twin of device `number` of a simulation; its buckets follow from its name, its kind is dealt."""
    name = f"s{seed}-{number:04}"
    kind = "rare" if number % RARE == 3 else "common"
    return {"deviceId": name, "tags": new_tags(name, "small", {"kind": kind})}


def request(digest: str) -> SmokeRequest:
    return SmokeRequest(MODEL, f"http://{MODEL}:8080", digest, "2", "cases", "nonce")


@dataclass
class World:
    """The fleet, which runs the predecessor since `T0`; what of it a look shows."""

    seed: int
    twins: Sequence[Mapping]
    faults: Sequence[Fault]
    pace: Pace
    condition: str | None = None
    """The new layer's; None: it is not on the hub."""

    def __post_init__(self) -> None:
        self._rows = {twin["deviceId"]: row for row, twin in enumerate(self.twins)}
        sound = self._begin({"deviceId": f"s{self.seed}", "tags": {}}, None)
        self._hollows = [self._begin(twin, sound) for twin in self.twins]
        self._due = np.full(len(self.twins), T0 + PROVEN_S)
        self._slow = {row for row, each in enumerate(self._hollows) if {f.kind for f in each.faults} & _SLOW}
        self._old_since = np.array([each.images[spec(OLD).image] for each in self._hollows])
        self._new_since = np.full(len(self.twins), np.inf)
        self._rates = {
            digest: np.array([self._rate(each, digest) for each in self._hollows]) for digest in (OLD, NEW)
        }
        self._streams = {digest: self._open_streams(digest) for digest in (OLD, NEW)}
        self._outcomes: dict[str, Outcome] = {}
        self._evidence: dict[str, tuple[Traffic, DeviceEvidence]] = {}

    def expose(self, devices: Collection[str], now_s: float) -> None:
        """These devices have the new layer from now on."""
        for device in devices:
            row = self._rows[device]
            hollow = want(self._live(row, now_s), _MANIFESTS[NEW], 2, now_s)
            self._hollows[row] = ask(hollow, {MODEL: request(NEW)}, now_s)
            self._due[row] = now_s
            self._outcomes.pop(device, None)

    def look(
        self,
        exposed: Collection[str],
        others: Collection[str],
        now_s: float,
        deadline_s: float,
        *,
        compares: bool,
    ) -> Look:
        """What the hub would show now; what was answered only for who `compares`."""
        outcomes = {device: self._judge(device, now_s, now_s >= deadline_s) for device in exposed}
        evidence = {}
        if compares:
            self._serve(now_s)
            evidence = {device: self._tell(device) for device in (*exposed, *others)}
        return Look(outcomes, evidence, frozenset(exposed), self.condition)

    def _begin(self, twin: Mapping, sound: Hollow | None) -> Hollow:
        """The device when it has proven the predecessor; most do so as the `sound` one did, at their time."""
        name = twin["deviceId"]
        faults = choose_faults(self.faults, name, twin, self.seed)
        counts_itself = {fault.kind for fault in faults} & _SLOW
        pace = self.pace if counts_itself else replace(self.pace, requests_per_s=0.0)
        new = Hollow(name, self.seed, T0, faults, pace)
        wanted = ask(want(new, _MANIFESTS[OLD], 1, T0), {MODEL: request(OLD)}, T0)
        if counts_itself or sound is None:
            return _live(wanted, T0, T0 + PROVEN_S)[0]
        running = {
            module: Running(each.spec, wanted.images[each.spec.image])
            for module, each in sound.running.items()
        }
        return replace(
            wanted, running=running, good=sound.good, verdicts=sound.verdicts, done_version=sound.done_version
        )

    def _open_streams(self, digest: str) -> Streams:
        module = spec(digest)
        return Streams(
            [traffic_key(each, module) for each in self._hollows],
            [manner(each, module, T0) for each in self._hollows],
        )

    def _rate(self, hollow: Hollow, digest: str) -> float:
        quiet = [f.rate for f in hollow.faults if f.kind == "quiet" and f.hits(MODEL, spec(digest).image)]
        return self.pace.requests_per_s * (quiet[0] if quiet else 1.0)

    def _live(self, row: int, now_s: float) -> Hollow:
        """The device as of now."""
        if now_s < self._due[row]:
            return self._hollows[row]
        if row in self._slow:
            hollow, due_s = _live(self._hollows[row], self._due[row], now_s)
        else:  # what happens to it happens at the same time, however late it is looked at
            hollow = advance(self._hollows[row], lambda _: CASES, now_s)
            due_s = next_at(hollow, now_s)
        self._hollows[row], self._due[row] = hollow, due_s
        runs = hollow.running.get(MODEL)
        if runs is not None and runs.spec.image.endswith(NEW):
            self._new_since[row] = runs.started_at
        return hollow

    def _judge(self, device: str, now_s: float, late: bool) -> Outcome:
        row, known = self._rows[device], self._outcomes.get(device)
        if known is not None and now_s < self._due[row] and not (late and known.state is State.PENDING):
            return known
        facts = tell_facts(self._live(row, now_s), MODEL, 2, now_s)
        outcome = judge_at_deadline(WANTED, facts) if late else judge_device(WANTED, facts)
        self._outcomes[device] = outcome
        return outcome

    def _serve(self, now_s: float) -> None:
        """Everybody has answered what was asked until the last report."""
        gone_at = np.minimum(self._new_since, now_s)
        for digest, since, until in (
            (OLD, self._old_since, gone_at),
            (NEW, self._new_since, np.full(len(self.twins), now_s)),
        ):
            lasted = np.where(np.isfinite(since), until - since, 0.0)
            turns = np.floor(np.maximum(lasted, 0.0) / self.pace.report_s + 1e-9)
            requests = (turns * self.pace.report_s * self._rates[digest] + 1e-6).astype(np.int64)
            self._streams[digest].serve(requests)
        for row in self._slow:
            hollow = self._live(row, now_s)
            served = serve_until(hollow, MODEL, now_s)
            if served is not None:
                self._hollows[row] = replace(hollow, served={MODEL: served})

    def _tell(self, device: str) -> DeviceEvidence:
        row = self._rows[device]
        runs = self._hollows[row].running.get(MODEL)
        digest = NEW if runs is not None and runs.spec.image.endswith(NEW) else OLD
        if row in self._slow:
            served = self._hollows[row].served.get(MODEL)
            traffic = served.traffic if served else self._streams[OLD].tell(row)
        else:
            traffic = self._streams[digest].tell(row)
        known = self._evidence.get(device)
        if known is None or known[0] is not traffic:
            told = DeviceEvidence(
                device, digest, traffic.requests, traffic.errors, traffic.latency, traffic.outputs
            )
            self._evidence[device] = known = (traffic, told)
        return known[1]


def _live(hollow: Hollow, since_s: float, now_s: float) -> tuple[Hollow, float]:
    """The device as of now, everything at its own time; and when something happens next."""
    at = since_s
    while at <= now_s:
        hollow = advance(hollow, lambda _: CASES, at)
        at = next_at(hollow, at)
    return advance(hollow, lambda _: CASES, now_s), at
