from dataclasses import replace

import pytest

from edgeferry.domain.smoke import Answer, Evidence, SmokeRequest, Verdict
from edgeferry.errors import UsageError
from edgeferry.wire.verdict import (
    parse_schedule,
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
    companion="n9",
)
VERDICT_JSON = {
    "state": "Passed",
    "digest": "sha256:aa",
    "version": "3",
    "cases_sha256": "bb",
    "nonce": "n1",
    "companion": "n9",
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


EVIDENCE = (
    Evidence("one", (Answer(200, (5.0, 0.1), 1.25), Answer(400, None, 2.0))),
    Evidence("page", (Answer(200, None, 1.0, "text/html"),)),
    Evidence("memory", (Answer(200, (1.0,), 1.0, memory_bytes=50_000_000),) * 2),
)


def test_evidence_both_ways_and_what_there_is_no_room_for_is_counted():
    full = replace(VERDICT, evidence=EVIDENCE)
    assert parse_verdict("taxi", render_verdict(full)) == full
    said = render_verdict(full, room=120)
    kept = parse_verdict("taxi", said)
    assert [one.case for one in kept.evidence] == ["one", "page"]
    assert (kept.left_out, len(said["evidence"]) <= 120) == (1, True)
    assert render_verdict(kept, room=120) == said
    assert parse_verdict("taxi", render_verdict(full, room=0)) == replace(VERDICT, left_out=3)


def test_many_models_share_the_room_of_one_twin():
    many = Evidence("many", (Answer(200, tuple(float(n) for n in range(200)), 1.0),))
    verdicts = [replace(VERDICT, model=f"m{n}", evidence=(many,) * 4) for n in range(12)]
    said = render_verdicts(verdicts)["verdicts"].values()
    assert sum(len(one.get("evidence", "")) for one in said) <= 12_000
    assert all(one["left_out"] == 4 for one in said)
    assert "evidence" in render_verdicts(verdicts[:1])["verdicts"]["m0"]


def test_texts_that_a_model_answered_come_home_as_they_were():
    shown = (Evidence("a", (Answer(200, ("Süd", "1"), 1.0),)),)
    assert parse_verdict("taxi", render_verdict(replace(VERDICT, evidence=shown))).evidence == shown


@pytest.mark.parametrize("text", ["", "[1]", '[["a",[[200]]]]', '[["a",[[200,[["x"]],1]]]]', "[" * 9999, 7])
def test_evidence_that_cannot_be_read_is_no_verdict(text):
    with pytest.raises(UsageError, match=r"verdicts\.taxi"):
        parse_verdict("taxi", {**VERDICT_JSON, "evidence": text})


@pytest.mark.parametrize(
    ("desired", "seconds"),
    [
        ({}, 3600.0),
        ({"smoke": {"schedule_s": 60}}, 60.0),
        ({"smoke": {"schedule_s": 0}}, 0.0),
        ({"smoke": {"schedule_s": -1}}, 3600.0),
        ({"smoke": {"schedule_s": "soon"}}, 3600.0),
        ({"smoke": 7}, 3600.0),
    ],
)
def test_the_schedule_in_the_companions_twin(desired, seconds):
    assert parse_schedule(desired) == seconds
