"""What a hollow device's agent reports, in our agent's words; and the same as facts for the judge. Pure."""

from __future__ import annotations

import hashlib

from edgeferry.domain.hollow import aims_of, find_missing
from edgeferry.domain.hollow_agent import NAME, report_own, report_own_layer, why_not
from edgeferry.domain.hollow_device import (
    CasesOf,
    Hollow,
    Running,
    find_fault,
    is_on,
    is_up,
    nonce_of,
    status_of,
    text_of,
)
from edgeferry.domain.manifest import DeviceReport, LayerState, ModuleState
from edgeferry.domain.model import COMPANION
from edgeferry.domain.rollout import Asked, DeviceFacts


def report_agent(hollow: Hollow, now_s: float) -> DeviceReport:
    """What the agent says of itself and its modules."""
    problems = _problems(hollow, now_s)
    wanted = hollow.wanted
    return DeviceReport(
        last_desired_version=hollow.done_version,
        status_code=500 if problems else 200 if wanted else 0,
        status_description="; ".join(problems),
        agent_version="edgeferry hollow",
        architecture="amd64",
        engine_version="hollow",
        modules={name: report_module(hollow, runs, now_s) for name, runs in hollow.running.items()},
        system_modules={
            name: report_own(hollow, spec, now_s) if name == NAME else ModuleState(spec, "stopped")
            for name, spec in (wanted.system_modules if wanted else {}).items()
        },
        runtime_settings=wanted.runtime_settings if wanted else {},
        layers=report_layers(hollow, now_s) | report_own_layer(hollow, now_s),
    )


def report_module(hollow: Hollow, runs: Running, now_s: float) -> ModuleState:
    """What the agent says of one module."""
    status, reason, restarts = status_of(hollow, runs, now_s)
    digest = runs.spec.image.partition("@")[2]
    other = find_fault(hollow, "wrong_digest", runs.spec, now_s)
    return ModuleState(
        spec=runs.spec,
        runtime_status=status,
        exit_code=0 if status == "running" else 1,
        description=reason,
        image_hash="sha256:" + hashlib.sha256(digest.encode()).hexdigest() if other else digest,
        started_at=text_of(runs.started_at),
        restart_count=restarts,
    )


def report_layers(hollow: Hollow, now_s: float) -> dict[str, LayerState]:
    """How each layer stands."""
    said: dict[str, LayerState] = {}
    for aim in aims_of(hollow):
        unit = aim.unit
        if not unit.desired:
            continue
        missing = find_missing(hollow, aim, now_s)
        since = hollow.trials.get(unit.hash)
        if aim.kind == "rolled back":
            state = LayerState("RolledBack", hollow.failed[unit.hash], unit.hash, hollow.wanted_version)
        elif missing:
            state = LayerState("Pulling", "; ".join(missing.values()), unit.hash, hollow.wanted_version)
        elif unit.hash in hollow.failed:
            state = LayerState("Failed", hollow.failed[unit.hash], unit.hash, hollow.wanted_version)
        elif unit.is_proven:
            state = LayerState("Proven", "", unit.hash, hollow.wanted_version)
        else:
            at = text_of(since) if since is not None else ""
            state = LayerState("Trial", "", unit.hash, hollow.wanted_version, at)
        said |= dict.fromkeys(unit.layers, state)
    return said


def tell_facts(
    hollow: Hollow, module: str, brought_by: int, now_s: float, cases_of: CasesOf = lambda _: None
) -> DeviceFacts:
    """What the hub would know of one module that a desired version brought: what the twins say, unwritten."""
    is_heard = is_up(hollow, COMPANION, now_s) and not is_on(hollow, "no_companion", now_s)
    asked = [
        Asked(one, hollow.verdicts.get(model), cases_of(one)) for model, (one, _) in hollow.requests.items()
    ]
    wanted = hollow.wanted.modules.get(module) if hollow.wanted else None
    runs = hollow.running.get(module)
    state = report_module(hollow, runs, now_s) if runs else None
    problems = _problems(hollow, now_s)
    layer = report_layers(hollow, now_s).get(wanted.layer) if wanted else None
    return DeviceFacts(
        device=hollow.device,
        connected=not is_on(hollow, "offline", now_s),
        has_base=hollow.wanted is not None,
        desired_image=wanted.image if wanted else "",
        brought_by=brought_by,
        reported_version=hollow.done_version,
        status_code=500 if problems else 200 if hollow.wanted else 0,
        status_reason="; ".join(problems),
        image=state.spec.image if state else "",
        image_hash=state.image_hash if state else "",
        runtime_status=state.runtime_status if state else "unknown",
        runtime_reason=state.description if state else "",
        verdict=hollow.verdicts.get(module),
        since=state.started_at if state else "",
        layer_outcome=layer.outcome if layer else "",
        layer_reason=layer.reason if layer else "",
        companion=nonce_of(hollow) if is_heard else "",
        asked=tuple(asked) if module == COMPANION else (),
    )


def _problems(hollow: Hollow, now_s: float) -> list[str]:
    told = []
    for aim in aims_of(hollow):
        told += [reason for reason in find_missing(hollow, aim, now_s).values() if "not pulled" in reason]
        if aim.reason:
            told.append(aim.reason)
        elif aim.unit.hash in hollow.failed and not aim.unit.good:
            reason = hollow.failed[aim.unit.hash]
            told.append(f"layer {aim.unit.name} failed, and nothing was proven before: {reason}")
    for name, runs in hollow.running.items():
        status, reason, _ = status_of(hollow, runs, now_s)
        if status != "running":
            told.append(f"module {name} is {status}: {reason}")
    return [*told, *filter(None, [why_not(hollow, now_s)])]
