"""A hollow device: an agent and a companion without an engine, whose pulls and modules are pretended. Pure.

It does what our agent does with desired properties (pull all of a layer, start it, prove it or take it back,
each layer by itself) and reports what our agent and companion report. Everything happens at a time that
follows from what was desired, the faults and the seed, however often it is looked at: `advance` only catches
up with it. Times are Unix seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from edgeferry.domain.chance import draw, make_key
from edgeferry.domain.device_layers import Aim, choose, find_units
from edgeferry.domain.device_trial import Sight, judge
from edgeferry.domain.hollow_agent import NAME, change_agent
from edgeferry.domain.hollow_companion import answers_at, find_verdicts, gives_up_at, is_settled
from edgeferry.domain.hollow_device import (
    CasesOf,
    Hollow,
    Running,
    crash_period,
    find_fault,
    is_up,
    status_of,
)
from edgeferry.domain.hollow_traffic import Manner, Served, serve
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import SmokeRequest


def want(hollow: Hollow, manifest: DeviceManifest, version: int, now_s: float) -> Hollow:
    """The device, caught up with `now_s`, once its agent has these desired properties; pulls begin now."""
    images = dict(hollow.images)
    for spec in (*manifest.modules.values(), *_own(manifest)):
        if images.get(spec.image, math.inf) == math.inf:
            images[spec.image] = _pulled_at(hollow, spec, now_s)
    return replace(hollow, wanted=manifest, wanted_version=version, wanted_at=now_s, images=images)


def _own(manifest: DeviceManifest) -> list[ModuleSpec]:
    return [spec for name, spec in manifest.system_modules.items() if name == NAME]


def ask(hollow: Hollow, requests: Mapping[str, SmokeRequest], now_s: float) -> Hollow:
    """The device once its companion is asked this; verdicts on what is asked no more are gone."""
    asked = {}
    for model, request in requests.items():
        before = hollow.requests.get(model)
        asked[model] = before if before and before[0] == request else (request, now_s)
    kept = {
        model: verdict
        for model, verdict in hollow.verdicts.items()
        if model in asked and asked[model] == hollow.requests.get(model)
    }
    return replace(hollow, requests=asked, verdicts=kept)


def advance(hollow: Hollow, cases_of: CasesOf, now_s: float) -> Hollow:
    """The device as of now: what was to happen until then has happened."""
    while True:
        hollow = _reconcile(change_agent(hollow, now_s), now_s)
        verdicts = find_verdicts(hollow, cases_of, now_s)
        if verdicts == hollow.verdicts:
            return hollow
        hollow = replace(hollow, verdicts=verdicts)  # the agent looks at them, too


def serve_until(hollow: Hollow, model: str, now_s: float) -> Served | None:
    """What the model has answered by then since its image was started; it stands still while the model is
    not up. None when it does not run."""
    runs = hollow.running.get(model)
    if runs is None or model == COMPANION:
        return None
    served = hollow.served.get(model) or _serve_anew(hollow, runs)
    if not is_up(hollow, model, now_s):
        return served
    quiet = find_fault(hollow, "quiet", runs.spec, now_s)
    rate = hollow.pace.requests_per_s * (quiet.rate if quiet else 1.0)
    until = int((now_s - runs.started_at) * rate + 1e-6)
    key, how = traffic_key(hollow, runs.spec), manner(hollow, runs.spec, now_s)
    return replace(served, traffic=serve(served.traffic, key, until, how))


def note_traffic(hollow: Hollow, now_s: float) -> Hollow:
    """The device with what its models have answered by now."""
    served = {model: serve_until(hollow, model, now_s) for model in hollow.running}
    return replace(hollow, served={model: one for model, one in served.items() if one is not None})


def next_at(hollow: Hollow, now_s: float) -> float:
    """When (Unix seconds) something will happen by itself next, later than now; infinity for never."""
    trial = hollow.pace.trial
    times = [*hollow.images.values(), *(since + trial.window_s for since in hollow.trials.values())]
    for runs in hollow.running.values():
        period = crash_period(hollow, runs.spec, now_s)
        times += [runs.started_at, *([runs.started_at + trial.crashes * period] if period else [])]
    for model in hollow.requests:
        if not is_settled(hollow, hollow.verdicts.get(model)):
            times += [answers_at(hollow, model, now_s), gives_up_at(hollow, model)]
    for fault in hollow.faults:
        times += [hollow.born_at + fault.from_s, hollow.born_at + fault.until_s]
    return min((at for at in times if at > now_s), default=math.inf)


def manner(hollow: Hollow, spec: ModuleSpec, now_s: float) -> Manner:
    """How the module answers requests now."""
    if find_fault(hollow, "http_500", spec, now_s):
        return Manner(errors=1.0)
    errors, stray = find_fault(hollow, "errors", spec, now_s), find_fault(hollow, "leaves_band", spec, now_s)
    texts = find_fault(hollow, "answers_texts", spec, now_s) is not None
    return Manner(errors.rate if errors else 0.0, stray.rate if stray else 0.0, texts)


def traffic_key(hollow: Hollow, spec: ModuleSpec) -> int:
    """The stream of draws of all that this image answers on this device."""
    return _traffic_key(hollow.seed, hollow.device, spec.name, spec.image)


def _reconcile(hollow: Hollow, now_s: float) -> Hollow:
    """One turn of the agent: what is there is started, what is on trial is judged."""
    if hollow.wanted is None:
        return hollow
    running, trials, failed = dict(hollow.running), dict(hollow.trials), dict(hollow.failed)
    good, waits = dict(hollow.good), False
    aims = aims_of(hollow)
    for name in set(running) - {name for aim in aims for name in aim.modules}:
        del running[name]
    current = {aim.unit.hash for aim in aims if aim.kind == "desired"}
    trials = {key: since for key, since in trials.items() if key in current}
    for aim in aims:
        unit = aim.unit
        if not unit.desired:
            for name in unit.good:
                good.pop(name, None)
            continue
        if find_missing(hollow, aim, now_s):
            waits = waits or not _has_failed_pulls(hollow, aim, now_s)
            continue
        pulled = [hollow.images[spec.image] for spec in aim.modules.values()]
        start_at = now_s if aim.kind == "rolled back" else max(hollow.wanted_at, *pulled)
        for name, spec in aim.modules.items():
            if name not in running or not _is_same(running[name].spec, spec):
                running[name] = Running(spec, start_at)
            elif running[name].spec != spec:
                running[name] = replace(running[name], spec=spec)
        if aim.kind != "desired":
            continue
        if unit.is_proven:
            good |= unit.desired
            continue
        since = trials.setdefault(unit.hash, start_at)
        sights = [_sight(hollow, running[name], now_s) for name in unit.desired]
        judgement = judge(sights, now_s - since, hollow.pace.trial)
        if judgement.outcome == "Failed":
            failed.setdefault(unit.hash, judgement.reason)
        elif judgement.outcome == "Proven":
            good = {name: spec for name, spec in good.items() if name not in unit.good} | dict(unit.desired)
            trials.pop(unit.hash)
            failed.pop(unit.hash, None)
    done = hollow.done_version if waits else hollow.wanted_version
    began = {name: runs.started_at for name, runs in hollow.running.items()}
    same = {name for name, runs in running.items() if began.get(name) == runs.started_at}
    served = {name: each for name, each in hollow.served.items() if name in same}
    return replace(
        hollow,
        running=running,
        trials=trials,
        failed=failed,
        good=good,
        done_version=done,
        served=served,
    )


def _serve_anew(hollow: Hollow, runs: Running) -> Served:
    request = hollow.requests.get(runs.spec.name)
    digest = runs.spec.image.partition("@")[2]
    version = request[0].version if request and request[0].digest == digest else ""
    return Served(digest, version, runs.started_at)


def _sight(hollow: Hollow, runs: Running, now_s: float) -> Sight:
    status, _, restarts = status_of(hollow, runs, now_s)
    request = hollow.requests.get(runs.spec.name)
    verdict = hollow.verdicts.get(runs.spec.name)
    is_about_it = request is not None and runs.spec.image.endswith("@" + request[0].digest)
    smoke = verdict.reason if verdict and is_about_it and verdict.state == "Failed" else ""
    return Sight(
        spec=runs.spec,
        status="running" if status == "running" else "exited",
        exit_code=0 if status == "running" else 1,
        crashes=restarts,
        smoke=smoke,
    )


def _pulled_at(hollow: Hollow, spec: ModuleSpec, now_s: float) -> float:
    """When the image is there if its pull begins now; infinity when the registry never has it."""
    length_s = hollow.pace.pull_s * (0.5 + draw(make_key(hollow.seed, "pull", hollow.device, spec.image)))
    begin_s = now_s
    for fault in sorted(hollow.faults, key=lambda fault: fault.from_s):
        if fault.kind in ("image_404", "registry_down") and fault.hits(spec.name, spec.image):
            from_at, until_at = hollow.born_at + fault.from_s, hollow.born_at + fault.until_s
            if begin_s < until_at and begin_s + length_s > from_at:
                begin_s = until_at
    return begin_s + length_s


def find_missing(hollow: Hollow, aim: Aim, now_s: float) -> dict[str, str]:
    """Why images of the unit are not there, by reference."""
    missing = {}
    for spec in aim.modules.values():
        if hollow.images.get(spec.image, math.inf) > now_s:
            gone = find_fault(hollow, "image_404", spec, now_s)
            down = find_fault(hollow, "registry_down", spec, now_s)
            missing[spec.image] = (
                f"{spec.image} was not pulled: manifest unknown (404)"
                if gone
                else f"{spec.image} was not pulled: the registry does not answer"
                if down
                else f"{spec.image} is being pulled"
            )
    return missing


def _has_failed_pulls(hollow: Hollow, aim: Aim, now_s: float) -> bool:
    """Whether pulls of the unit failed, so that its version counts as carried out, badly."""
    return any(
        find_fault(hollow, kind, spec, now_s)
        for spec in aim.modules.values()
        for kind in ("image_404", "registry_down")
    )


def aims_of(hollow: Hollow) -> list[Aim]:
    """What each unit of its modules is to run: what is desired, unless that failed before."""
    wanted = hollow.wanted.modules if hollow.wanted else {}
    return [choose(unit, hollow.failed, {}, {}) for unit in find_units(wanted, hollow.good, _hash)]


def _is_same(one: ModuleSpec, other: ModuleSpec) -> bool:
    return one == other or replace(one, layer="") == replace(other, layer="")


def _hash(specs: Mapping[str, ModuleSpec]) -> str:
    said = [(name, {**vars(spec), "layer": ""}) for name, spec in sorted(specs.items())]
    return hashlib.sha256(repr(said).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _traffic_key(seed: int, device: str, module: str, image: str) -> int:
    return make_key(seed, "traffic", device, module, image)
