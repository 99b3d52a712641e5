"""Whether a release's answers are worse than those of the version it replaces, as devices counted them. Pure.

The exposed devices run the release, the control still runs its predecessor. Three shares of requests are
compared, per stratum and in all: outputs outside the band that held the central 98 % of the predecessor's,
answers that took more than twice as long as its slowest hundredth, and errors. Looking often makes nobody
surer than they may be (`domain/rate.py`).

One device proves nothing of a stratum: the worst exposed ones, as many as the policy lets fail and one at
least, make no release fail. And where the predecessor's own devices differ more than chance lets them, the
many requests of one device count for less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from edgeferry.domain.rate import least_rate, most_rate
from edgeferry.domain.rollout_policy import Guard, Limit
from edgeferry.domain.sketch import band, gather, outside

Judgement = Literal["pass", "fail", "inconclusive"]
Measure = Literal["outputs", "latency", "errors"]

MEASURES: tuple[Measure, ...] = ("outputs", "latency", "errors")
_SAY: Mapping[Measure, str] = {
    "outputs": "outputs outside the predecessor's band",
    "latency": "answers slower than twice the predecessor's slowest hundredth",
    "errors": "errors",
}
_TWICE = 8
"""Bins to a power of two (`domain.sketch`)."""
_LEAST = 1000
"""So many of the predecessor's requests make a band, or its share of today."""
_LEAST_HITS = 10
_LEAST_DEVICES = 5
"""Fewer devices, or requests that were hit, do not tell how much devices differ."""
_WITHOUT_A_TWENTIETH = 0.72
"""The mean of a square of normal numbers that is left without its greatest twentieth."""
_GOOD_ENOUGH = 3
"""Times the margin."""
_PASS_ALPHA = 0.05


@dataclass(frozen=True)
class DeviceEvidence:
    """What one device's server counted of its users' requests since it was started."""

    device: str
    digest: str
    requests: int
    errors: int
    latency: Mapping[int, int]
    """Milliseconds by bin (`domain.sketch`)."""
    outputs: Mapping[int, int]
    """Numbers in answers by bin."""


@dataclass(frozen=True)
class Tally:
    """How many of how many requests; no whole numbers where an answer holds several numbers."""

    hits: float = 0.0
    trials: float = 0.0


Tallies = Mapping[Measure, Tally]
_TOO_LITTLE = Tally(0.0, 0.1)
"""A control that nothing can be compared with, and that should be there."""


@dataclass(frozen=True)
class Baseline:
    """The predecessor in one stratum, before the first wave: kept in the ledger, since devices forget it."""

    devices: int = 0
    band: tuple[int, int] | None = None
    """Bins of outputs; None where it has answered too little, or with no numbers."""
    slow: int | None = None
    """Answers in bins above this one are slow."""
    tallies: Tallies = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What there is to compare in one stratum."""

    exposed: Sequence[DeviceEvidence] = ()
    control: Sequence[DeviceEvidence] = ()
    baseline: Baseline = Baseline()
    since: Tallies = field(default_factory=dict)
    """The control's tallies when the wave was started: from then on it served beside the exposed."""


@dataclass(frozen=True)
class EvidenceVerdict:
    """What a comparison shows, and in which numbers."""

    state: Judgement
    reason: str
    requests: int = 0
    """Of the exposed devices."""


@dataclass(frozen=True)
class _Weighed:
    """One stratum's part in a comparison of one measure."""

    exposed: tuple[Tally, ...]
    control: Tally | None
    """None: nothing to compare with."""
    likeness: float
    """Of the requests of one device, beyond those of any two: 0 where devices are alike."""


def take_baseline(predecessor: Sequence[DeviceEvidence]) -> Baseline:
    """What one stratum's devices counted of the predecessor."""
    rough = Baseline(
        len(predecessor),
        _find_band(gather(each.outputs for each in predecessor)),
        _find_slow(gather(each.latency for each in predecessor)),
    )
    return Baseline(rough.devices, rough.band, rough.slow, tally(predecessor, rough))


def tally(evidence: Sequence[DeviceEvidence], baseline: Baseline) -> Tallies:
    """What was hit, of each measure, on all these devices together."""
    return {measure: _add(_tally(each, measure, baseline) for each in evidence) for measure in MEASURES}


def judge_comparisons(
    strata: Mapping[str, Comparison], guard: Guard, spare: Limit = Limit()
) -> tuple[Mapping[str, EvidenceVerdict], EvidenceVerdict]:
    """The verdict on each stratum with exposed devices, and on all of them together, each weighing as much as
    it is exposed. `spare`: how many devices may fail anyway."""
    weighed = {
        name: {measure: _weigh(each, measure) for measure in MEASURES}
        for name, each in strata.items()
        if each.exposed
    }
    tests = len(MEASURES) * (len(weighed) + 1 if len(weighed) > 1 else 1)
    alpha = (1 - guard.confidence) / 2 / tests

    def judge(names: Iterable[str]) -> EvidenceVerdict:
        chosen = [weighed[name] for name in names]
        requests = sum(each.requests for name in names for each in strata[name].exposed)
        return _judge(chosen, requests, guard, spare, alpha)

    verdicts = {name: judge([name]) for name in weighed}
    if len(weighed) == 1:
        return verdicts, next(iter(verdicts.values()))
    if not weighed:
        return {}, EvidenceVerdict("inconclusive", "no exposed device has told what it answered")
    return verdicts, judge(list(weighed))


def _judge(
    strata: Sequence[Mapping[Measure, _Weighed]], requests: int, guard: Guard, spare: Limit, alpha: float
) -> EvidenceVerdict:
    """The worst of the measures."""
    verdicts = [_judge_measure(measure, strata, guard, spare, alpha) for measure in MEASURES]
    state: Judgement
    for state in ("fail", "inconclusive", "pass"):
        if reasons := [reason for word, reason in verdicts if word == state and reason]:
            return EvidenceVerdict(state, "; ".join(reasons), requests)
    raise AssertionError("errors are always judged")


def _judge_measure(
    measure: Measure, strata: Sequence[Mapping[Measure, _Weighed]], guard: Guard, spare: Limit, alpha: float
) -> tuple[Judgement, str]:
    """The verdict and the reason; "" where there is nothing to compare with."""
    compared = [each[measure] for each in strata if each[measure].control is not None]
    if not compared:
        return "pass", ""
    devices = sum(len(each.exposed) for each in compared)
    allowed = spare.allowed(devices)
    worse, control = _pool(compared, max(allowed, 1))
    limit = most_rate(control.hits, control.trials, alpha) + guard.margin if control.trials else guard.margin
    least = least_rate(worse.hits, worse.trials, alpha)
    if least > limit:
        return "fail", f"{_SAY[measure]}: {_share(worse)}, at least {least:.1%}{_say_before(control)}"
    verdict: tuple[Judgement, str] = ("inconclusive", "")
    for left_out in dict.fromkeys((0, min(allowed, devices - 1))):
        verdict = _accept(measure, *_pool(compared, left_out), guard)
        if verdict[0] == "pass":
            break
    return verdict


def _accept(measure: Measure, seen: Tally, control: Tally, guard: Guard) -> tuple[Judgement, str]:
    """Whether what was seen is surely good enough."""
    if 0 < control.trials < guard.requests:
        few = f"its predecessor has answered {control.trials:.0f} requests, too few to compare with"
        return "inconclusive", f"{_SAY[measure]}: {few}"
    if seen.trials < guard.requests:
        few = f"{seen.trials:.0f} requests tell too little, {guard.requests} are needed"
        return "inconclusive", f"{_SAY[measure]}: {few}"
    limit = (control.hits / control.trials if control.trials else 0.0) + _GOOD_ENOUGH * guard.margin
    most = most_rate(seen.hits, seen.trials, _PASS_ALPHA)
    said = f"{_SAY[measure]}: {_share(seen)}, at most {most:.1%}{_say_before(control)}"
    return ("pass", said) if most < limit else ("inconclusive", f"{said}: {limit:.1%} would be too many")


def _say_before(control: Tally) -> str:
    return f", its predecessor {_share(control)}" if control.trials else ""


def _share(tally: Tally) -> str:
    return f"{tally.hits / tally.trials if tally.trials else 0:.1%} of {tally.trials:.0f}"


def _pool(strata: Sequence[_Weighed], left_out: int) -> tuple[Tally, Tally]:
    """The exposed without their worst `left_out` devices, and a control of the same mix of strata; as many
    trials each as they are worth."""
    rows = []
    for place, each in enumerate(strata):
        rate = _rate(each.control)
        rows += [(one.hits - rate * one.trials, one, place) for one in each.exposed]
    rows.sort(key=lambda row: -row[0])
    kept = rows[left_out:]
    trials = [0.0] * len(strata)
    hits = [0.0] * len(strata)
    counts = [0] * len(strata)
    for _, one, place in kept:
        trials[place] += one.trials
        hits[place] += one.hits
        counts[place] += 1
    whole = sum(trials)
    if not whole:
        return Tally(), _add(each.control or Tally() for each in strata)
    shares = [each / whole for each in trials]
    worth = sum(
        share * _inflation(each.likeness, trials[place] / counts[place])
        for place, (each, share) in enumerate(zip(strata, shares, strict=True))
        if counts[place]
    )
    rate = 0.0
    variance = 0.0
    for each, share in zip(strata, shares, strict=True):
        rate += share * _rate(each.control)
        if each.control is not None and each.control.trials and share:
            variance += share * share / each.control.trials
    control = Tally(rate / variance, 1 / variance) if variance else Tally()
    return Tally(sum(hits) / worth, whole / worth), control


def _inflation(likeness: float, trials: float) -> float:
    """How many requests of one device tell as much as one would by chance alone."""
    return 1 + max(trials - 1, 0) * likeness


def _rate(tally: Tally | None) -> float:
    return tally.hits / tally.trials if tally is not None and tally.trials else 0.0


def _weigh(stratum: Comparison, measure: Measure) -> _Weighed:
    baseline = stratum.baseline
    if measure == "outputs" and baseline.band is None:
        found = _find_band(gather(each.outputs for each in stratum.control))
        baseline = Baseline(baseline.devices, found, baseline.slow)
    elif measure == "latency" and baseline.slow is None:
        slow = _find_slow(gather(each.latency for each in stratum.control))
        baseline = Baseline(baseline.devices, baseline.band, slow)
    exposed = tuple(_tally(each, measure, baseline) for each in stratum.exposed)
    control = [_tally(each, measure, baseline) for each in stratum.control]
    likeness = _find_likeness(control)
    chosen = _choose_control(stratum, measure, control, baseline)
    if chosen is not None and chosen.trials and control:
        worth = _inflation(likeness, chosen.trials / len(control))
        chosen = Tally(chosen.hits / worth, chosen.trials / worth)
    return _Weighed(exposed, chosen, likeness)


def _choose_control(
    stratum: Comparison, measure: Measure, control: Sequence[Tally], baseline: Baseline
) -> Tally | None:
    """What the predecessor did since the wave was started, beside the exposed; else in all its time on the
    devices that still run it; else before the first wave."""
    lacking = {"outputs": baseline.band is None, "latency": baseline.slow is None, "errors": False}
    if lacking[measure]:
        return None if _is_mute(stratum, measure) else _TOO_LITTLE
    whole = _add(control)
    since = stratum.since.get(measure, Tally())
    now = Tally(whole.hits - since.hits, whole.trials - since.trials)
    if since.trials and now.trials >= _LEAST and 0 <= now.hits <= now.trials:
        return now
    if whole.trials >= _LEAST:
        return whole
    before = baseline.tallies.get(measure, Tally())
    return max(before, whole, key=lambda each: each.trials)


def _is_mute(stratum: Comparison, measure: Measure) -> bool:
    """Whether there is no predecessor, or one that has answered much without such numbers."""
    asked = sum(each.requests for each in stratum.control)
    before = stratum.baseline.tallies.get("errors", Tally()).trials
    if not stratum.control and not stratum.baseline.devices:
        return True
    numbers = sum(
        sum((each.outputs if measure == "outputs" else each.latency).values()) for each in stratum.control
    )
    return max(asked, before) >= _LEAST and not numbers


def _find_likeness(devices: Sequence[Tally]) -> float:
    """How alike the requests of one device are, beyond chance: the intraclass correlation by Pearson's
    statistic, 0 where it is within what chance does to it. The twentieth of the devices that is the most
    unusual is left out: a few that are not well do not tell how the others differ."""
    seen = [each for each in devices if each.trials > 0]
    if len(seen) < _LEAST_DEVICES:
        return 0.0
    usual = median(each.hits / each.trials for each in seen)
    seen.sort(key=lambda each: abs(each.hits - each.trials * usual) / each.trials**0.5)
    left_out = -(-len(seen) // 20) if len(seen) >= 2 * _LEAST_DEVICES else 0
    kept = seen[: len(seen) - left_out]
    whole = _add(kept)
    if min(whole.hits, whole.trials - whole.hits) < _LEAST_HITS:
        return 0.0
    rate = whole.hits / whole.trials
    freedom = len(kept) - 1
    parts = ((each.hits - each.trials * rate) ** 2 / (each.trials * rate * (1 - rate)) for each in kept)
    spread = sum(parts) / freedom / (_WITHOUT_A_TWENTIETH if left_out else 1)
    mean = whole.trials / len(kept)
    chance = 1 + 2 * (2 / freedom) ** 0.5
    return min(1.0, (spread - 1) / (mean - 1)) if spread > chance and mean > 1 else 0.0


def _tally(evidence: DeviceEvidence, measure: Measure, baseline: Baseline) -> Tally:
    if measure == "errors":
        return Tally(evidence.errors, evidence.requests)
    if measure == "latency":
        if baseline.slow is None:
            return Tally()
        hits = sum(count for each, count in evidence.latency.items() if each > baseline.slow)
        return Tally(hits, sum(evidence.latency.values()))
    if baseline.band is None:
        return Tally()
    numbers = sum(evidence.outputs.values())
    # the numbers of one answer are no independent witnesses
    worth = min(1.0, evidence.requests / numbers) if numbers else 0.0
    return Tally(worth * outside(evidence.outputs, baseline.band), worth * numbers)


def _find_band(outputs: Mapping[int, int]) -> tuple[int, int] | None:
    return band(outputs) if sum(outputs.values()) >= _LEAST else None


def _find_slow(latency: Mapping[int, int]) -> int | None:
    return band(latency)[1] + _TWICE if sum(latency.values()) >= _LEAST else None


def _add(tallies: Iterable[Tally]) -> Tally:
    hits = trials = 0.0
    for each in tallies:
        hits += each.hits
        trials += each.trials
    return Tally(hits, trials)
