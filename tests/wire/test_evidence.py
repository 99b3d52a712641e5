"""A verification's bytes: stable, and read back to the same value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.verification import Verification
from edgeferry.errors import UsageError
from edgeferry.wire.evidence import parse_verification, render_verification

VERIFICATION = Verification(
    model="nyc_taxi",
    version="3",
    digest="sha256:" + "a" * 64,
    config_digest="sha256:" + "b" * 64,
    image_id="sha256:" + "b" * 64,
    device_class="small",
    memory_bytes=536870912,
    tolerance=Tolerance(1e-9, 0.0),
    passed=False,
    problems=("row 8: expected 4.0, answered 4.5, difference 0.5 (in a batch)",),
    rows=2929,
    single_rows=100,
    worst_relative=0.125,
    worst_absolute=0.5,
    ready_s=1.25,
    latency_ms=1.5,
)


def test_a_verification_is_read_back_as_it_was() -> None:
    assert parse_verification(render_verification(VERIFICATION)) == VERIFICATION


def test_the_bytes_are_canonical_json() -> None:
    body = render_verification(VERIFICATION)
    assert body.startswith(b'{"config_digest":"sha256:bbb')
    assert b'"format":"edgeferry.verification/1"' in body
    assert b'"tolerance":{"atol":0.0,"rtol":1e-09}' in body


def test_a_number_that_is_not_finite_has_no_bytes() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render_verification(replace(VERIFICATION, worst_relative=float("nan")))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"format":"edgeferry.verification/2"}', id="another format"),
        pytest.param(b'{"format":"edgeferry.verification/1"}', id="no members"),
        pytest.param(render_verification(VERIFICATION)[:-1] + b',"more":1}', id="an unknown member"),
    ],
)
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"edgeferry\.verification/1"):
        parse_verification(body)
