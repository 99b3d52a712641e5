"""A rollout's entries in the ledger, both directions: what `decide` said, as a body, and read again. Pure.

`rollout`  {release, model, environment, plan, nonce, layer, digest, policy, …}: its start
`wave`     {wave, event: "started", condition, baseline?, control?}
           {wave, event: "soaking"}
           {wave, event: "judged", verdict: {state, reason, strata, devices, proven?: {NAME: generation}}}
`order`    {order, reason, wave?}: a person's, who saw that wave run
`end`      {state, reason, devices: {NAME: {state, reason, digest}}, serves?: {release, devices}}: after a
           rollout that had ended was ordered back another one, of how that ended
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.evidence_pool import Tally
from edgeferry.domain.fields import members
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_action import Soak, StartWave
from edgeferry.domain.rollout_evidence import MEASURES, TEXT_MEASURES, Baseline, Judgement, Tallies
from edgeferry.domain.wave_verdict import StratumVerdict, WaveVerdict

_JUDGEMENTS: Mapping[str, Judgement] = {"pass": "pass", "fail": "fail", "inconclusive": "inconclusive"}


@dataclass(frozen=True)
class Serving:
    """What serves on a rollout's devices after it was taken back, as measured there."""

    release: str
    outcomes: tuple[Outcome, ...]


def render_started(action: StartWave) -> dict[str, Any]:
    """The body of the entry that starts a wave."""
    body: dict[str, Any] = {"wave": action.wave, "event": "started", "condition": action.condition}
    if action.baseline:
        body["baseline"] = {
            name: {
                "devices": each.devices,
                "band": list(each.band) if each.band else None,
                "slow": each.slow,
                "tallies": _render_tallies(each.tallies),
                **({"texts": True} if each.texts else {}),
            }
            for name, each in action.baseline.items()
        }
    if action.control:
        body["control"] = {name: _render_tallies(each) for name, each in action.control.items()}
    return body


def render_soaking(action: Soak) -> dict[str, Any]:
    """The body of the entry with which a wave begins to soak."""
    return {"wave": action.wave, "event": "soaking"}


def render_judged(verdict: WaveVerdict) -> dict[str, Any]:
    """The body of the entry that judges a wave."""
    said: dict[str, Any] = {
        "state": verdict.state,
        "reason": verdict.reason,
        "strata": {name: dict(vars(each)) for name, each in verdict.strata.items()},
        "devices": {
            device: {"state": str(state), "reason": reason}
            for device, (state, reason) in verdict.devices.items()
        },
    }
    if verdict.proven:
        said["proven"] = dict(verdict.proven)
    return {"wave": verdict.wave, "event": "judged", "verdict": said}


def render_end(
    state: State, reason: str, outcomes: Iterable[Outcome], serving: Serving | None = None
) -> dict[str, Any]:
    """The body of the entry that ends a rollout, with how each device ended."""
    body: dict[str, Any] = {"state": str(state), "reason": reason, "devices": _render_outcomes(outcomes)}
    if serving:
        body["serves"] = {"release": serving.release, "devices": _render_outcomes(serving.outcomes)}
    return body


def parse_serving(body: Mapping[str, Any]) -> Serving | None:
    """What serves instead, as an `end` entry tells it; None where it tells nothing."""
    said = members(body.get("serves"))
    if not said.get("release"):
        return None
    return Serving(str(said["release"]), parse_outcomes(said.get("devices")))


def parse_outcomes(said: object) -> tuple[Outcome, ...]:
    """How devices ended, as an `end` entry tells it: without what was answered."""
    found = {device: members(each) for device, each in members(said).items()}
    return tuple(
        Outcome(device, parse_state(one.get("state")), str(one.get("reason", "")), str(one.get("digest", "")))
        for device, one in found.items()
    )


def parse_verdict(body: Mapping[str, Any], at_s: float) -> WaveVerdict:
    """The verdict of a `judged` entry; a word that is none is inconclusive, which starts nothing."""
    said = members(body.get("verdict"))
    return WaveVerdict(
        wave=_whole(body.get("wave")),
        state=_JUDGEMENTS.get(str(said.get("state")), "inconclusive"),
        reason=str(said.get("reason", "")),
        strata={name: _parse_stratum(members(each)) for name, each in members(said.get("strata")).items()},
        at_s=at_s,
        devices={
            device: (parse_state(members(each).get("state")), str(members(each).get("reason", "")))
            for device, each in members(said.get("devices")).items()
        },
        proven={device: str(each) for device, each in members(said.get("proven")).items()},
    )


def parse_baseline(body: Mapping[str, Any]) -> Mapping[str, Baseline]:
    """The predecessor, by stratum, as a `started` entry tells it."""
    return {
        name: Baseline(
            _whole(members(each).get("devices")),
            _parse_band(members(each).get("band")),
            _parse_bin(members(each).get("slow")),
            _parse_tallies(members(each).get("tallies")),
            members(each).get("texts") is True,
        )
        for name, each in members(body.get("baseline")).items()
    }


def parse_control(body: Mapping[str, Any]) -> Mapping[str, Tallies]:
    """What the control had counted, by stratum, when a wave was started."""
    return {name: _parse_tallies(each) for name, each in members(body.get("control")).items()}


def parse_state(said: object) -> State:
    """The word for how something ended; what is none is `Inconclusive`."""
    return next((state for state in State if state == said), State.INCONCLUSIVE)


def _render_outcomes(outcomes: Iterable[Outcome]) -> dict[str, dict[str, str]]:
    return {
        each.device: {"state": str(each.state), "reason": each.reason, "digest": each.digest}
        for each in outcomes
    }


def _render_tallies(tallies: Tallies) -> dict[str, list[float]]:
    return {measure: [round(each.hits, 3), round(each.trials, 3)] for measure, each in tallies.items()}


def _parse_tallies(said: object) -> Tallies:
    pairs = members(said)
    return {
        measure: Tally(*_pair(pairs[measure])) for measure in (*MEASURES, *TEXT_MEASURES) if measure in pairs
    }


def _pair(said: object) -> tuple[float, float]:
    match said:
        case [int() | float() as hits, int() | float() as trials]:
            return float(hits), float(trials)
    return 0.0, 0.0


def _parse_band(said: object) -> tuple[int, int] | None:
    match said:
        case [int() as low, int() as high]:
            return low, high
    return None


def _parse_bin(said: object) -> int | None:
    return said if isinstance(said, int) else None


def _parse_stratum(said: Mapping[str, Any]) -> StratumVerdict:
    return StratumVerdict(
        _JUDGEMENTS.get(str(said.get("state")), "inconclusive"),
        str(said.get("reason", "")),
        *(_whole(said.get(name)) for name in ("devices", "succeeded", "failed", "requests")),
    )


def _whole(said: object) -> int:
    return said if isinstance(said, int) else 0
