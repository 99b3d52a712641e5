from dataclasses import replace

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    BetweenCase,
    CaseSet,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    IncreasingCase,
    MemoryCase,
    RefusedCase,
    SameCase,
)
from edgeferry.errors import UsageError
from edgeferry.wire.cases import describe_case, parse_cases, render_cases

CASES = CaseSet(
    model="taxi",
    version="3",
    tolerance=Tolerance(1e-9, 0.0),
    latency_ms=250.0,
    cases=(
        EqualCase("held-out-7", ((0.1, 2.0),), (12.3,)),
        RefusedCase("short", {"data": [[1]]}),
        IncreasingCase("rises", ((1.0, 2.0), (2.0, 2.0))),
    ),
)
BYTES = (
    b'{"cases":[{"expected":[12.3],"id":"held-out-7","kind":"equal","rows":[[0.1,2.0]]},'
    b'{"body":{"data":[[1]]},"id":"short","kind":"refused"},'
    b'{"id":"rises","kind":"increasing","rows":[[1.0,2.0],[2.0,2.0]]}],'
    b'"format":"edgeferry.cases/2","latency_ms":250.0,"model":"taxi",'
    b'"tolerance":{"atol":0.0,"rtol":1e-09},"version":"3"}'
)


def test_cases_have_one_byte_form_and_come_back_from_it():
    assert render_cases(CASES) == BYTES
    assert parse_cases(BYTES) == CASES


EVERY_KIND = (
    EqualCase("a", ((1.0, None),), (3.0,), ("hour", "distance"), repeats=3, latency_ms=7.5),
    RefusedCase("b", None, repeats=2),
    IncreasingCase("c", ((1.0,), (2.0,))),
    DecreasingCase("d", ((1.0,), (2.0,))),
    BetweenCase("e", ((1.0,),), -1.0, 1.0),
    ChangesCase("f", ((1.0,), (2.0,))),
    SameCase("g", (({"data": [[1.0]]},), ({"data": [{"x": 1.0}]}, "y"))),
    MemoryCase("h", ((1.0,),), 16_000_000, 70_000_000, True, repeats=1),
)


def test_every_kind_comes_back_as_it_was_and_can_be_described():
    every = replace(CASES, cases=EVERY_KIND, model_sha256="cc")
    assert parse_cases(render_cases(every)) == every
    told = [describe_case(case) for case in EVERY_KIND]
    kinds = ["equal", "refused", "increasing", "decreasing", "between", "changes", "same", "memory"]
    assert [kind for kind, _, _ in told] == kinds
    assert [requests for _, requests, _ in told] == [3, 2, 1, 1, 1, 1, 3, 1]


def test_the_first_format_is_read_too():
    assert parse_cases(BYTES.replace(b"cases/2", b"cases/1")) == CASES


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(BYTES.replace(b"cases/2", b"cases/9"), id="another format"),
        pytest.param(BYTES.replace(b'"equal"', b'"equals"'), id="unknown kind"),
        pytest.param(BYTES.replace(b"[12.3]", b"[12.3,1.0]"), id="more answers than rows"),
        pytest.param(BYTES.replace(b"[[0.1,2.0]]", b"7"), id="rows are no list"),
        pytest.param(BYTES.replace(b"[[1.0,2.0],[2.0,2.0]]", b"[]"), id="no rows"),
        pytest.param(BYTES.replace(b'"id":"rises"', b'"id":"short"'), id="two of one id"),
        pytest.param(BYTES.replace(b'"id":"rises"', b'"id":"rises","repeats":0'), id="asked never"),
    ],
)
def test_other_bytes_are_refused(body):
    with pytest.raises(UsageError) as caught:
        parse_cases(body)
    assert caught.value.fix


def test_a_number_that_is_not_finite_has_no_bytes():
    broken = CaseSet("taxi", "3", Tolerance(0, 0), 1.0, (EqualCase("x", ((float("nan"),),), (1.0,)),))
    with pytest.raises(ValueError, match="JSON compliant"):
        render_cases(broken)
