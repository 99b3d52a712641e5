"""Evidence as the gate weighs it: each piece held, failed, or not available. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgeferry.domain.gate_policy import GatePolicy, MetricRule


class Weight(StrEnum):
    """What one piece of evidence is worth."""

    HELD = "held"
    FAILED = "failed"
    NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class EvidenceFact:
    """One piece of evidence about a release, looked at now."""

    kind: str
    """One of the policy's kinds, or `image`: that the registry still holds what was released."""
    weight: Weight
    detail: str


@dataclass(frozen=True)
class LiveVersion:
    """The release that runs now where another shall, and what its training measured."""

    release: str
    metrics: Mapping[str, float]
    distrust: str = ""
    """Why its entry in the ledger does not count; "" when it does."""


def judge_metrics(
    rules: Sequence[MetricRule], metrics: Mapping[str, float], live: LiveVersion | None
) -> tuple[EvidenceFact, ...]:
    """One fact for each rule; without rules one that tells the metrics. Where nothing is live only absolute
    rules are asked."""
    if rules:
        return tuple(_judge_rule(rule, metrics, live) for rule in rules)
    if not metrics:
        return (EvidenceFact("metrics", Weight.NOT_AVAILABLE, "the release names no metric"),)
    shown = ", ".join(f"{name} {value:.6g}" for name, value in sorted(metrics.items()))
    return (EvidenceFact("metrics", Weight.HELD, shown),)


def find_shutting(facts: Sequence[EvidenceFact], policy: GatePolicy) -> EvidenceFact | None:
    """The first piece that keeps the gate shut: what failed, or what the policy demands and is not there."""
    for fact in facts:
        if fact.weight is Weight.FAILED:
            return fact
    for kind in policy.evidence:
        of_kind = [fact for fact in facts if fact.kind == kind]
        for fact in of_kind:
            if fact.weight is not Weight.HELD:
                return fact
        if not of_kind:
            return EvidenceFact(kind, Weight.NOT_AVAILABLE, "nobody looked for it")
    return None


def render_fact(fact: EvidenceFact) -> str:
    """One line: `verification held: 436 rows equal`."""
    return f"{fact.kind} {fact.weight}: {fact.detail}"


def _judge_rule(rule: MetricRule, metrics: Mapping[str, float], live: LiveVersion | None) -> EvidenceFact:
    def say(weight: Weight, detail: str) -> EvidenceFact:
        return EvidenceFact("metrics", weight, f"{rule.text}: {detail}")

    value = metrics.get(rule.metric)
    if value is None:
        return say(Weight.FAILED, f"the release names no metric {rule.metric}")
    if not rule.against_live:
        return say(Weight.HELD if rule.holds(value) else Weight.FAILED, f"it is {value:.6g}")
    if live is None:
        return say(Weight.HELD, f"it is {value:.6g}, and no version is live to compare with")
    if live.distrust:
        return say(Weight.FAILED, f"the live release {live.release} cannot be trusted: {live.distrust}")
    before = live.metrics.get(rule.metric)
    if before is None:
        return say(Weight.FAILED, f"the live release {live.release} names no metric {rule.metric}")
    detail = (
        f"it is {value:.6g}, and {before:.6g} in {live.release}, so {rule.limit(before):.6g} is the limit"
    )
    return say(Weight.HELD if rule.holds(value, before) else Weight.FAILED, detail)
