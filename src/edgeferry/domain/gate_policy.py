"""An environment's rule for its gate: who may approve, how many, for how long, on what evidence. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeferry.errors import UsageError

EVIDENCE_KINDS = ("verification", "metrics", "sbom", "signature")
_RULE = re.compile(
    r"(?P<metric>[\w./-]+)\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?:(?P<number>[-+]?[\d.]+(?:e[-+]?\d+)?)|live(?:\s*\*\s*(?P<factor>[\d.]+))?"
    r"(?:\s*(?P<way>[-+])\s*(?P<step>[\d.]+(?:e[-+]?\d+)?))?)",
    re.IGNORECASE,
)
_HOUR_S = 3600.0
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True)
class MetricRule:
    """What one metric must be: beyond a number, or beyond what the version now live has."""

    text: str
    metric: str
    sign: str
    """`>=`, `<=`, `>` or `<`."""
    amount: float
    """In the metric's own unit."""
    factor: float = 0.0
    """How much of the live version's metric is added to `amount`; 0: none, the rule is absolute."""

    @property
    def against_live(self) -> bool:
        """Whether it compares with the version now live."""
        return self.factor != 0

    def holds(self, value: float, live: float = 0.0) -> bool:
        """Whether `value` is good enough where the version now live has `live`; a NaN never is."""
        limit = self.limit(live)
        return {
            ">=": value >= limit,
            "<=": value <= limit,
            ">": value > limit,
            "<": value < limit,
        }[self.sign]

    def limit(self, live: float = 0.0) -> float:
        """The number that the metric is compared with where the version now live has `live`."""
        return self.factor * live + self.amount


@dataclass(frozen=True)
class GatePolicy:
    """What must hold before a release may be rolled out in one environment."""

    approvers: frozenset[str] = frozenset()
    """Names that may approve; empty: everybody whose key is trusted."""
    approvals: int = 1
    """How many people must say yes."""
    self_approval: bool = False
    """Whether the release's own author counts among them."""
    max_age_s: float = 72 * _HOUR_S
    evidence: tuple[str, ...] = ("verification",)
    """Kinds of evidence (`EVIDENCE_KINDS`) that must be there and good."""
    metrics: tuple[MetricRule, ...] = ()


def parse_gate_policy(texts: Mapping[str, str]) -> GatePolicy:
    """The policy that the settings `gate.*` in `texts` mean; UsageError names the one that cannot be read."""
    approvers = frozenset(_split(texts["gate.approvers"], ","))
    approvals = texts["gate.approvals"].strip()
    if not approvals.isdecimal() or int(approvals) == 0:
        raise _wrong("gate.approvals", approvals, "a number of people from 1 on, e.g. 2")
    if approvers and len(approvers) < int(approvals):
        raise UsageError(
            f"gate.approvals asks for {approvals} people, and gate.approvers names {len(approvers)}",
            fix="name more people, or ask for fewer: nobody could open this gate",
        )
    own = texts["gate.self_approval"].strip().lower()
    if own not in _FLAGS:
        raise _wrong("gate.self_approval", own, "yes or no")
    evidence = tuple(_split(texts["gate.evidence"], ","))
    for kind in evidence:
        if kind not in EVIDENCE_KINDS:
            raise _wrong("gate.evidence", kind, f"some of {', '.join(EVIDENCE_KINDS)}, with commas")
    return GatePolicy(
        approvers,
        int(approvals),
        _FLAGS[own],
        _parse_hours(texts["gate.max_age_h"]),
        evidence,
        parse_metric_rules(texts["gate.metrics"]),
    )


def parse_metric_rules(text: str) -> tuple[MetricRule, ...]:
    """The rules in e.g. `r2 >= live - 0.02; rmse <= live * 1.05; mae < 4`; UsageError names one that is
    none."""
    return tuple(map(_parse_rule, _split(text, ";")))


def _parse_rule(text: str) -> MetricRule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise _wrong("gate.metrics", text, "rules like r2 >= live - 0.02; rmse <= live * 1.05; mae < 4")
    try:
        if match["number"] is not None:
            return MetricRule(text, match["metric"], match["sign"], float(match["number"]))
        factor = float(match["factor"] or 1)
        amount = float(f"{match['way'] or '+'}{match['step'] or 0}")
    except ValueError:
        raise _wrong("gate.metrics", text, "numbers with at most one point, e.g. 0.02") from None
    if factor == 0:
        raise _wrong("gate.metrics", text, "a factor other than 0, or a number alone")
    return MetricRule(text, match["metric"], match["sign"], amount, factor)


def _parse_hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours < float("inf"):
        raise _wrong("gate.max_age_h", text, "hours, e.g. 72")
    return hours * _HOUR_S


def _split(text: str, sign: str) -> list[str]:
    return [part.strip() for part in text.split(sign) if part.strip()]


def _wrong(name: str, text: str, wanted: str) -> UsageError:
    return UsageError(f"{name}: {text!r} cannot be read", fix=f"give {wanted}")
