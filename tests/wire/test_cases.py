import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import CaseSet, EqualCase, IncreasingCase, RefusedCase
from edgeferry.errors import UsageError
from edgeferry.wire.cases import parse_cases, render_cases

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
