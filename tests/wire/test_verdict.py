import pytest

from edgeferry.domain.smoke import SmokeRequest, Verdict
from edgeferry.errors import UsageError
from edgeferry.wire.verdict import (
    parse_smoke_request,
    parse_verdict,
    parse_verdicts,
    render_smoke_request,
    render_verdict,
    render_verdicts,
)

REQUEST = SmokeRequest("taxi", "http://taxi:8080", "sha256:aa", "3", "bb", "n1")
REQUEST_JSON = {
    "url": "http://taxi:8080",
    "digest": "sha256:aa",
    "version": "3",
    "cases_sha256": "bb",
    "nonce": "n1",
}
VERDICT = Verdict(
    model="taxi",
    state="Passed",
    digest="sha256:aa",
    version="3",
    cases_sha256="bb",
    nonce="n1",
    reason="12 of 12 cases hold",
    asked=12,
    failed=0,
    latency_ms=1.5,
    slowest_ms=3.25,
    at="2026-11-24T02:00:00.000Z",
)
VERDICT_JSON = {
    "state": "Passed",
    "digest": "sha256:aa",
    "version": "3",
    "cases_sha256": "bb",
    "nonce": "n1",
    "reason": "12 of 12 cases hold",
    "asked": 12,
    "failed": 0,
    "latency_ms": 1.5,
    "slowest_ms": 3.25,
    "at": "2026-11-24T02:00:00.000Z",
}


def test_smoke_request_both_ways():
    assert render_smoke_request(REQUEST) == REQUEST_JSON
    assert parse_smoke_request("taxi", REQUEST_JSON) == REQUEST


def test_verdict_both_ways():
    assert render_verdict(VERDICT) == VERDICT_JSON
    assert parse_verdict("taxi", VERDICT_JSON) == VERDICT


def test_verdicts_of_a_method_answer_both_ways():
    assert render_verdicts([VERDICT]) == {"verdicts": {"taxi": VERDICT_JSON}}
    assert parse_verdicts({"verdicts": {"taxi": VERDICT_JSON}}) == {"taxi": VERDICT}
    assert parse_verdicts({}) == {}


def test_a_long_reason_is_cut_to_what_a_twin_can_hold():
    long = Verdict(**{**vars(VERDICT), "reason": "x" * 5000})
    assert len(render_verdict(long)["reason"]) == 1000


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {**VERDICT_JSON, "state": "Great"},
        {**VERDICT_JSON, "asked": None},
        {**VERDICT_JSON, "nonce": 7},
        {key: value for key, value in VERDICT_JSON.items() if key != "slowest_ms"},
    ],
)
def test_what_is_no_verdict_is_refused(said):
    with pytest.raises(UsageError, match=r"verdicts\.taxi"):
        parse_verdict("taxi", said)


@pytest.mark.parametrize("said", [None, "x", {**REQUEST_JSON, "url": 1}, {}])
def test_what_is_no_request_is_refused(said):
    with pytest.raises(UsageError, match=r"models\.taxi"):
        parse_smoke_request("taxi", said)
