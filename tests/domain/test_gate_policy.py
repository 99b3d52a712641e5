"""A gate's policy as it is written, and what metrics are worth by it."""

from __future__ import annotations

import math

import pytest

from edgeferry.domain.gate_evidence import LiveVersion, Weight, judge_metrics
from edgeferry.domain.gate_policy import GatePolicy, parse_gate_policy, parse_metric_rules
from edgeferry.errors import UsageError

TEXTS = {
    "gate.approvers": "",
    "gate.approvals": "1",
    "gate.self_approval": "no",
    "gate.max_age_h": "72",
    "gate.evidence": "verification",
    "gate.metrics": "",
}


def test_the_defaults_are_the_policy_of_an_environment() -> None:
    assert parse_gate_policy(TEXTS) == GatePolicy()


def test_a_policy_is_read_from_its_settings() -> None:
    texts = {
        "gate.approvers": " ann, bob@contoso.com ,cleo",
        "gate.approvals": "2",
        "gate.self_approval": "yes",
        "gate.max_age_h": "0.5",
        "gate.evidence": "verification, metrics",
        "gate.metrics": "r2 >= 0.7",
    }
    policy = parse_gate_policy(texts)
    assert policy.approvers == {"ann", "bob@contoso.com", "cleo"}
    assert (policy.approvals, policy.self_approval, policy.max_age_s) == (2, True, 1800)
    assert policy.evidence == ("verification", "metrics")
    assert [rule.text for rule in policy.metrics] == ["r2 >= 0.7"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("gate.approvals", "0", "from 1 on", id="nobody has to approve"),
        pytest.param("gate.approvals", "-1", "from 1 on", id="less than nobody"),
        pytest.param("gate.approvals", "two", "from 1 on", id="a word"),
        pytest.param("gate.self_approval", "sometimes", "yes or no", id="neither yes nor no"),
        pytest.param("gate.max_age_h", "0", "hours", id="expired at once"),
        pytest.param("gate.max_age_h", "nan", "hours", id="no time"),
        pytest.param("gate.max_age_h", "inf", "hours", id="never"),
        pytest.param("gate.evidence", "verification, luck", "sbom", id="unknown evidence"),
        pytest.param("gate.metrics", "r2 >= lve", "r2 >= live", id="a misspelt word"),
        pytest.param("gate.metrics", "r2 => 0.7", "r2 >= live", id="a misspelt sign"),
        pytest.param("gate.metrics", "r2 >= 0.7.1", "at most one point", id="no number"),
        pytest.param("gate.metrics", "r2 >= live * 0", "other than 0", id="a factor of nothing"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gate_policy(TEXTS | {name: text})
    assert name in caught.value.problem
    assert says in caught.value.fix


def test_a_gate_that_nobody_could_open_is_refused() -> None:
    with pytest.raises(UsageError, match="asks for 2 people"):
        parse_gate_policy(TEXTS | {"gate.approvers": "ann", "gate.approvals": "2"})


LIVE = LiveVersion("nyc_taxi-v1-aaaa", {"r2": 0.80, "rmse": 10.0, "bias": -2.0})


@pytest.mark.parametrize(
    ("rule", "metrics", "live", "weight", "says"),
    [
        pytest.param("r2 >= 0.7", {"r2": 0.7}, None, "held", "it is 0.7", id="at the number"),
        pytest.param("r2 > 0.7", {"r2": 0.7}, None, "failed", "it is 0.7", id="not beyond it"),
        pytest.param("mae < 4e1", {"mae": 39.0}, None, "held", "39", id="below, with an exponent"),
        pytest.param("bias>=-2.5", {"bias": -2.0}, None, "held", "-2", id="a negative number, no spaces"),
        pytest.param("r2 >= live - 0.02", {"r2": 0.79}, LIVE, "held", "0.78 is the limit", id="near enough"),
        pytest.param("r2 >= live - 0.02", {"r2": 0.77}, LIVE, "failed", "0.8 in nyc_taxi-v1", id="too far"),
        pytest.param("r2 >= live", {"r2": 0.80}, LIVE, "held", "0.8 is the limit", id="as good as it"),
        pytest.param("rmse <= live * 1.05", {"rmse": 10.5}, LIVE, "held", "10.5", id="a factor"),
        pytest.param("rmse <= live*1.05", {"rmse": 10.6}, LIVE, "failed", "10.5 is", id="beyond the factor"),
        pytest.param(
            "rmse <= live * 1.05 + 1", {"rmse": 11.5}, LIVE, "held", "11.5", id="a factor and a step"
        ),
        pytest.param("r2 >= live", {"r2": 0.1}, None, "held", "no version is live", id="nothing is live"),
        pytest.param("r2 >= live", {"mae": 1.0}, LIVE, "failed", "no metric r2", id="not measured"),
        pytest.param("mae <= live", {"mae": 1.0}, LIVE, "failed", "nyc_taxi-v1", id="not measured then"),
        pytest.param("r2 >= 0.1", {"r2": math.nan}, None, "failed", "nan", id="not a number"),
        pytest.param(
            "r2 >= live",
            {"r2": 0.9},
            LiveVersion("nyc_taxi-v1-aaaa", {"r2": 0.1}, "the signature does not fit"),
            "failed",
            "cannot be trusted",
            id="a live release that was tampered with",
        ),
    ],
)
def test_metrics(
    rule: str, metrics: dict[str, float], live: LiveVersion | None, weight: str, says: str
) -> None:
    (fact,) = judge_metrics(parse_metric_rules(rule), metrics, live)
    assert (fact.kind, fact.weight) == ("metrics", weight)
    assert says in fact.detail


def test_without_rules_the_metrics_are_shown() -> None:
    (fact,) = judge_metrics((), {"r2": 0.8, "mae": 3.0}, LIVE)
    assert (fact.weight, fact.detail) == (Weight.HELD, "mae 3, r2 0.8")
    (none,) = judge_metrics((), {}, LIVE)
    assert none.weight is Weight.NOT_AVAILABLE
