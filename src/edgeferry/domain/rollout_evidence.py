"""Whether a release's answers are worse than those of the version it replaces, as devices counted them. Pure.

The exposed devices run the release, the control still runs its predecessor. Three shares of requests are
compared, per stratum and in all: outputs outside the band that held the central 98 % of the predecessor's,
answers that took more than twice as long as its slowest hundredth, and errors. Looking often makes nobody
surer than they may be (`domain/rate.py`).

Of a version that answers texts, each group of texts (`domain/sketch.py`) takes the place of the first: its
share of the answers.

One device proves nothing of a stratum: the worst exposed ones, as many as the policy lets fail and one at
least, make no release fail. And where the predecessor's own devices differ more than chance lets them, the
many requests of one device count for less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from edgeferry.domain.evidence_pool import Tally, Weighed, add, find_likeness, find_rate, inflate, pool
from edgeferry.domain.rate import EVEN, SMALL, least_rate, most_rate
from edgeferry.domain.rollout_policy import Guard, Limit
from edgeferry.domain.sketch import NOT_A_NUMBER, TEXT_BINS, band, gather, outside

Judgement = Literal["pass", "fail", "inconclusive"]
Kind = Literal["numbers", "texts"]
Measure = str

MEASURES: tuple[Measure, ...] = ("outputs", "latency", "errors")
_NO_TEXT = "no text"
_TEXT_BIN: Mapping[Measure, int] = {f"text {group}": each for group, each in enumerate(TEXT_BINS)}
TEXT_MEASURES: tuple[Measure, ...] = (*_TEXT_BIN, _NO_TEXT)
"""In place of `outputs`, where the predecessor answers texts."""
_TEXTS = frozenset(TEXT_BINS)
_SAY: Mapping[Measure, str] = {
    "outputs": "outputs outside the predecessor's band",
    "latency": "answers slower than twice the predecessor's slowest hundredth",
    "errors": "errors",
    **{measure: f"answers of the texts' group {group}" for group, measure in enumerate(_TEXT_BIN)},
    _NO_TEXT: "answers that are no text",
}
_TWICE = 8
"""Bins to a power of two (`domain.sketch`)."""
_LEAST = 1000
"""So many of the predecessor's requests make a band, or its share of today."""
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
    """Numbers and texts in answers by bin."""


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
    texts: bool = False
    """Whether it has answered enough, and with texts."""


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
class _Compared:
    """One stratum, by each measure that counts there."""

    measures: Mapping[Measure, Weighed]
    doubt: str
    """Why its answers cannot be compared; "" where they can, or need not be."""


def take_baseline(predecessor: Sequence[DeviceEvidence]) -> Baseline:
    """What one stratum's devices counted of the predecessor."""
    rough = _complete(Baseline(len(predecessor)), predecessor)
    return replace(rough, tallies=tally(predecessor, rough))


def tally(evidence: Sequence[DeviceEvidence], baseline: Baseline) -> Tallies:
    """What was hit, of each measure, on all these devices together."""
    measures = (*MEASURES, *(TEXT_MEASURES if baseline.texts else ()))
    return {measure: add(_tally(each, measure, baseline) for each in evidence) for measure in measures}


def judge_comparisons(
    strata: Mapping[str, Comparison], guard: Guard, spare: Limit = Limit()
) -> tuple[Mapping[str, EvidenceVerdict], EvidenceVerdict]:
    """The verdict on each stratum with exposed devices, and on all of them together, each weighing as much as
    it is exposed. `spare`: how many devices may fail anyway."""
    weighed = {name: _compare(each, guard) for name, each in strata.items() if each.exposed}
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
    strata: Sequence[_Compared], requests: int, guard: Guard, spare: Limit, alpha: float
) -> EvidenceVerdict:
    """The worst of the measures."""
    verdicts: list[tuple[Judgement, str]] = [("inconclusive", each.doubt) for each in strata if each.doubt]
    if any(_NO_TEXT in each.measures for each in strata):
        verdicts.append(_judge_texts(strata, guard, spare, alpha))
    verdicts += [_judge_measure(measure, strata, guard, spare, alpha) for measure in MEASURES]
    state: Judgement
    for state in ("fail", "inconclusive", "pass"):
        if reasons := [reason for word, reason in verdicts if word == state and reason]:
            return EvidenceVerdict(state, "; ".join(dict.fromkeys(reasons)), requests)
    raise AssertionError("errors are always judged")


def _judge_texts(
    strata: Sequence[_Compared], guard: Guard, spare: Limit, alpha: float
) -> tuple[Judgement, str]:
    """The worst of the groups of texts, and of those that are as bad the one that has grown most. That no
    share grows is enough: they add up to one."""
    alpha /= len(TEXT_MEASURES)
    grown = sorted(TEXT_MEASURES, key=lambda measure: -_find_growth(_choose(strata, measure)))
    verdicts = [_judge_measure(measure, strata, guard, spare, alpha) for measure in grown]
    state: Judgement
    for state in ("fail", "inconclusive"):
        for verdict in verdicts:
            if verdict[0] == state:
                return verdict
    return verdicts[0]


def _find_growth(compared: Sequence[Weighed]) -> float:
    """By how much its share is more than the control's."""
    seen, control = pool(compared, 0)
    return find_rate(seen) - find_rate(control)


def _choose(strata: Sequence[_Compared], measure: Measure) -> list[Weighed]:
    """The strata where there is something to compare with."""
    weighed = [each.measures[measure] for each in strata if measure in each.measures]
    return [each for each in weighed if each.control is not None]


def _judge_measure(
    measure: Measure, strata: Sequence[_Compared], guard: Guard, spare: Limit, alpha: float
) -> tuple[Judgement, str]:
    """The verdict and the reason; "" where there is nothing to compare with."""
    compared = _choose(strata, measure)
    if not compared:
        return "pass", ""
    devices = sum(len(each.exposed) for each in compared)
    allowed = spare.allowed(devices)
    worse, control = pool(compared, max(allowed, 1))
    mixture = EVEN if measure in TEXT_MEASURES else SMALL
    most = most_rate(control.hits, control.trials, alpha, mixture) if control.trials else 0.0
    limit = most + guard.margin
    least = least_rate(worse.hits, worse.trials, alpha, mixture)
    if least > limit:
        return "fail", f"{_SAY[measure]}: {_share(worse)}, at least {least:.1%}{_say_before(control)}"
    verdict: tuple[Judgement, str] = ("inconclusive", "")
    for left_out in dict.fromkeys((0, min(allowed, devices - 1))):
        verdict = _accept(measure, *pool(compared, left_out), guard)
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
    mixture = EVEN if measure in TEXT_MEASURES else SMALL
    most = most_rate(seen.hits, seen.trials, _PASS_ALPHA, mixture)
    said = f"{_SAY[measure]}: {_share(seen)}, at most {most:.1%}{_say_before(control)}"
    return ("pass", said) if most < limit else ("inconclusive", f"{said}: {limit:.1%} would be too many")


def _say_before(control: Tally) -> str:
    return f", its predecessor {_share(control)}" if control.trials else ""


def _share(tally: Tally) -> str:
    return f"{tally.hits / tally.trials if tally.trials else 0:.1%} of {tally.trials:.0f}"


def _compare(stratum: Comparison, guard: Guard) -> _Compared:
    baseline = _complete(stratum.baseline, stratum.control)
    told = gather(each.outputs for each in stratum.exposed)
    doubt = _find_doubt(stratum, baseline, told, guard)
    measures = MEASURES[1:] if doubt else MEASURES
    if not doubt and (baseline.texts or (baseline.band is None and _find_kind(told) == "texts")):
        measures = (*TEXT_MEASURES, *MEASURES[1:])
    return _Compared({measure: _weigh(stratum, measure, baseline) for measure in measures}, doubt)


def _complete(baseline: Baseline, predecessor: Sequence[DeviceEvidence]) -> Baseline:
    """With what was not known yet, as far as these devices tell it."""
    if baseline.band is None and not baseline.texts:
        outputs = gather(each.outputs for each in predecessor)
        if sum(outputs.values()) >= _LEAST:
            kind = _find_kind(outputs)
            within = band(_without_texts(outputs)) if kind == "numbers" else None
            baseline = replace(baseline, band=within, texts=kind == "texts")
    if baseline.slow is None:
        slow = _find_slow(gather(each.latency for each in predecessor))
        baseline = replace(baseline, slow=slow)
    return baseline


def _find_kind(outputs: Mapping[int, int]) -> Kind | None:
    """What most answers are, those aside that are no finite number; None where there is none."""
    texts = sum(outputs.get(each, 0) for each in TEXT_BINS)
    numbers = sum(outputs.values()) - texts - outputs.get(NOT_A_NUMBER, 0)
    if texts > numbers:
        return "texts"
    return "numbers" if numbers else None


def _find_doubt(stratum: Comparison, baseline: Baseline, told: Mapping[int, int], guard: Guard) -> str:
    """Why these answers cannot be compared with the predecessor's, however many there will be; "" where they
    can, or where there is no predecessor to compare with."""
    kind = _find_kind(told)
    before: Kind | None = "texts" if baseline.texts else "numbers" if baseline.band is not None else None
    if before and kind and kind != before:
        return f"answers are of another kind: {kind}, its predecessor's are {before}"
    answered = sum(each.requests - each.errors for each in stratum.exposed) - told.get(NOT_A_NUMBER, 0)
    if before and kind is None and answered >= guard.requests:
        return f"answers are of another kind: {answered} are no {before}, which its predecessor's are"
    is_there = bool(stratum.control) or stratum.baseline.devices > 0
    if kind == "texts" and before is None and is_there and _is_mute(stratum, "outputs"):
        return "answers are of another kind: texts, and of its predecessor's none is known"
    return ""


def _weigh(stratum: Comparison, measure: Measure, baseline: Baseline) -> Weighed:
    exposed = tuple(_tally(each, measure, baseline) for each in stratum.exposed)
    control = [_tally(each, measure, baseline) for each in stratum.control]
    likeness = find_likeness(control)
    chosen = _choose_control(stratum, measure, control, baseline)
    if chosen is not None and chosen.trials and control:
        worth = inflate(likeness, chosen.trials / len(control))
        chosen = Tally(chosen.hits / worth, chosen.trials / worth)
    return Weighed(exposed, chosen, likeness)


def _choose_control(
    stratum: Comparison, measure: Measure, control: Sequence[Tally], baseline: Baseline
) -> Tally | None:
    """What the predecessor did since the wave was started, beside the exposed; else in all its time on the
    devices that still run it; else before the first wave."""
    lacking = {"outputs": baseline.band is None, "latency": baseline.slow is None, "errors": False}
    if lacking.get(measure, not baseline.texts):
        return None if _is_mute(stratum, measure) else _TOO_LITTLE
    whole = add(control)
    since = stratum.since.get(measure, Tally())
    now = Tally(whole.hits - since.hits, whole.trials - since.trials)
    if since.trials and now.trials >= _LEAST and 0 <= now.hits <= now.trials:
        return now
    if whole.trials >= _LEAST:
        return whole
    before = baseline.tallies.get(measure, Tally())
    return max(before, whole, key=lambda each: each.trials)


def _is_mute(stratum: Comparison, measure: Measure) -> bool:
    """Whether there is no predecessor, or one that has answered much without anything of the kind. What it
    refused is no answer."""
    asked = sum(each.requests for each in stratum.control)
    before = stratum.baseline.tallies.get("errors", Tally()).trials
    if not stratum.control and not stratum.baseline.devices:
        return True
    if measure == "latency":
        told = any(sum(each.latency.values()) for each in stratum.control)
    else:
        told = _find_kind(gather(each.outputs for each in stratum.control)) is not None
    return max(asked, before) >= _LEAST and not told


def _tally(evidence: DeviceEvidence, measure: Measure, baseline: Baseline) -> Tally:
    if measure == "errors":
        return Tally(evidence.errors, evidence.requests)
    if measure == "latency":
        if baseline.slow is None:
            return Tally()
        hits = sum(count for each, count in evidence.latency.items() if each > baseline.slow)
        return Tally(hits, sum(evidence.latency.values()))
    if measure == "outputs" and baseline.band is None:
        return Tally()
    numbers = sum(evidence.outputs.values())
    # the numbers of one answer are no independent witnesses
    worth = min(1.0, evidence.requests / numbers) if numbers else 0.0
    if measure == "outputs" and baseline.band is not None:
        hits = outside(_without_texts(evidence.outputs), baseline.band)
    elif measure == _NO_TEXT:
        hits = numbers - sum(evidence.outputs.get(each, 0) for each in TEXT_BINS)
    else:
        hits = evidence.outputs.get(_TEXT_BIN[measure], 0)
    return Tally(worth * hits, worth * numbers)


def _without_texts(outputs: Mapping[int, int]) -> Mapping[int, int]:
    """With texts, which are in no band of numbers, as NaN."""
    if _TEXTS.isdisjoint(outputs):
        return outputs
    return gather({NOT_A_NUMBER if each in _TEXTS else each: count} for each, count in outputs.items())


def _find_slow(latency: Mapping[int, int]) -> int | None:
    return band(latency)[1] + _TWICE if sum(latency.values()) >= _LEAST else None
