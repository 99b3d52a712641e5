"""What servers counted, as pages and twins tell it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgeferry.domain.sketch import MOST_BINS, NOT_A_NUMBER, TEXT_BINS
from edgeferry.errors import UsageError
from edgeferry.wire.evidence_report import (
    TWIN_BYTES,
    EvidenceReport,
    parse_evidence_report,
    parse_metrics,
    render_evidence,
)

AT = "2026-03-01T10:00:00.000Z"
REPORT = EvidenceReport(
    "sha256:" + "d" * 64, "3", AT, AT, 12, 1, {8184: 12}, {-8196: 1, 0: 2, NOT_A_NUMBER: 1}
)
WIDE = replace(
    REPORT,
    requests=10**9,
    errors=10**8,
    latency={8184 + each: 10**6 + each for each in range(200)},
    outputs={-10_000 + each: 10**6 + each for each in range(500)},
)
PAGE = """# TYPE edgeferry_model_info gauge
edgeferry_model_info{model="taxi",version="a \\"quoted\\\\ one",digest="sha256:dd",runtime="onnx"} 1
edgeferry_evidence_requests_total 7
edgeferry_evidence_errors_total 2
edgeferry_evidence_outputs_total{bin="8184",from="1"} 4
edgeferry_evidence_outputs_total{bin="-8196",from="-3"} 1
edgeferry_evidence_latency_ms_total{bin="8180",from="0.8"} 5
process_start_time_seconds 1772359200.25
"""


def test_what_is_reported_is_read_back() -> None:
    said = json.loads(json.dumps(render_evidence(REPORT)))
    assert parse_evidence_report("taxi", said) == REPORT


@pytest.mark.parametrize("models", [1, 2, 3, 5, 8, 10, 12, 20, 21, 22, 50])
def test_the_evidence_of_many_models_fits_the_twin(models: int) -> None:
    said = render_evidence(WIDE, models)
    assert len(json.dumps(said)) * models < TWIN_BYTES * 1.1
    assert bool(said["outputs"]) is (models <= 21)
    assert all(len(text) < 4096 for text in (said["latency"], said["outputs"]))
    read = parse_evidence_report("taxi", said)
    assert len(read.outputs) <= MOST_BINS
    if read.outputs:
        assert sum(read.outputs.values()) == sum(WIDE.outputs.values())
    assert (read.requests, read.errors) == (WIDE.requests, WIDE.errors)


def test_of_texts_none_is_joined_with_another() -> None:
    """However many models leave a histogram no more room than it needs."""
    outputs = dict.fromkeys((*TEXT_BINS, NOT_A_NUMBER), 5)
    read = parse_evidence_report("taxi", render_evidence(replace(WIDE, outputs=outputs), 21))
    assert len(read.latency) < MOST_BINS
    assert read.outputs == outputs


def wrong(**values: Any) -> dict[str, Any]:
    return {**render_evidence(REPORT), **values}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="nothing"),
        pytest.param("much", id="a text"),
        pytest.param({}, id="no members"),
        pytest.param(wrong(requests=True), id="a count that is true"),
        pytest.param(wrong(requests="12"), id="a count that is a text"),
        pytest.param(wrong(errors=-1), id="fewer than none"),
        pytest.param(wrong(digest=None), id="no digest"),
        pytest.param(wrong(at=3), id="a time that is a number"),
        pytest.param(wrong(outputs={"8184": 1}), id="a histogram that is an object"),
        pytest.param(wrong(outputs="8184"), id="a bin without a count"),
        pytest.param(wrong(outputs="8184:x"), id="a count in words"),
        pytest.param(wrong(outputs="8184:-3"), id="a bin with less than nothing"),
        pytest.param(wrong(outputs="99999:1"), id="no such bin"),
    ],
)
def test_what_is_no_evidence_is_refused_by_name(said: object) -> None:
    with pytest.raises(UsageError, match=r"evidence\.taxi cannot be read"):
        parse_evidence_report("taxi", said)


def test_a_page_is_read_whatever_else_it_has() -> None:
    assert parse_metrics(f"other 1\n{PAGE}# more", AT) == EvidenceReport(
        digest="sha256:dd",
        version='a "quoted\\ one',
        since="2026-03-01T10:00:00.250Z",
        at=AT,
        requests=7,
        errors=2,
        latency={8180: 5},
        outputs={8184: 4, -8196: 1},
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(PAGE, "", id="an empty page"),
        pytest.param("edgeferry_evidence_requests_total 7\n", "", id="no requests"),
        pytest.param("edgeferry_model_info", "edgeferry_other", id="no model"),
        pytest.param("process_start_time_seconds 1772359200.25", "", id="no start"),
        pytest.param("1772359200.25", "NaN", id="a start at no time"),
        pytest.param("1772359200.25", "1e300", id="a start at the end of times"),
        pytest.param('{bin="8184",', "{", id="a bin without its number"),
        pytest.param("total 7", "total soon", id="a count in words"),
        pytest.param("total 7", "total +Inf", id="a count without end"),
        pytest.param("total 7", "total -1", id="a count below zero"),
        pytest.param("total 7", "total 1e16", id="more than a twin can count"),
        pytest.param('bin="8184"', 'bin="99999"', id="no such bin"),
        pytest.param("sha256:dd", "d" * 300, id="a digest without end"),
    ],
)
def test_a_page_without_evidence_says_nothing(before: str, after: str) -> None:
    assert before in PAGE
    assert parse_metrics(PAGE.replace(before, after), AT) is None
