import math

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    Answer,
    CaseSet,
    EqualCase,
    IncreasingCase,
    RefusedCase,
    SmokeRequest,
    decide,
    unjudged,
)
from edgeferry.domain.smoke_checks import choose_cases, parse_checks
from edgeferry.domain.smoke_judging import judge
from edgeferry.errors import DefinitionError

TIGHT = Tolerance(rtol=1e-9, atol=0.0)
EQUAL = EqualCase("e", ((1.0, 2.0), (3.0, 4.0)), (10.0, 20.0))
REFUSED = RefusedCase("r", {"data": [[1]]})
RISING = IncreasingCase("i", ((1.0,), (2.0,), (3.0,)))
REQUEST = SmokeRequest("taxi", "http://taxi:8080", "sha256:aa", "3", "bb", "n1")


@pytest.mark.parametrize(
    ("case", "answer", "passed", "reason"),
    [
        pytest.param(
            EQUAL, Answer(200, (10.0, 20.0), 5), True, "right after 5.0 ms", id="equal answers hold"
        ),
        pytest.param(
            EQUAL,
            Answer(200, (10.0, 20.0 + 1e-9), 5),
            True,
            "right",
            id="a difference within tolerance holds",
        ),
        pytest.param(
            EQUAL,
            Answer(200, (10.0, 20.1), 5),
            False,
            "row 2: answered 20.1, expected 20.0",
            id="a wrong answer does not hold and names its row",
        ),
        pytest.param(EQUAL, Answer(200, (10.0,), 5), False, "1 answers to 2 rows", id="a missing answer"),
        pytest.param(EQUAL, Answer(200, None, 5), False, "not a list of numbers", id="not numbers"),
        pytest.param(EQUAL, Answer(200, (math.nan, 20.0), 5), False, "row 1", id="NaN never counts"),
        pytest.param(EQUAL, Answer(500, None, 5), False, "answered 500", id="a server's error"),
        pytest.param(EQUAL, Answer(400, None, 5), False, "answered 400", id="a refusal of a good question"),
        pytest.param(
            EQUAL,
            Answer(200, (10.0, 20.0), 101),
            False,
            "right, but after 101.0 ms; allowed are 100 ms",
            id="a slow answer does not hold",
        ),
        pytest.param(REFUSED, Answer(400, None, 5), True, "refused with 400", id="bad input is refused"),
        pytest.param(REFUSED, Answer(200, (1.0,), 5), False, "answered 200", id="bad input is answered"),
        pytest.param(REFUSED, Answer(500, None, 5), False, "answered 500", id="bad input breaks the server"),
        pytest.param(RISING, Answer(200, (1.0, 1.0, 2.0), 5), True, "right", id="level answers do not fall"),
        pytest.param(
            RISING,
            Answer(200, (1.0, 2.0, 1.5), 5),
            False,
            "falls from 2.0 to 1.5 at row 3",
            id="a falling answer is named",
        ),
        pytest.param(RISING, Answer(200, (1.0, math.nan, 2.0), 5), False, "finite", id="NaN does not rise"),
    ],
)
def test_judgement_of_one_case(case, answer, passed, reason):
    judgement = judge(case, [answer], TIGHT, latency_ms=100)
    assert judgement.passed is passed
    assert reason in judgement.reason


def test_only_a_right_but_late_answer_is_called_slow():
    assert judge(EQUAL, [Answer(200, (10.0, 20.0), 101)], TIGHT, 100).again
    assert not judge(EQUAL, [Answer(200, (10.0, 21.0), 101)], TIGHT, 100).again


def case_set(*cases):
    return CaseSet("taxi", "3", TIGHT, 100, cases)


def verdict(cases, *passed):
    answers = {True: Answer(200, (10.0, 20.0), 4), False: Answer(500, None, 8)}
    judgements = [judge(EQUAL, [answers[ok]], TIGHT, 100) for ok in passed]
    return decide(REQUEST, cases, judgements, [4.0, 8.0][: len(passed)], "2026-01-01T00:00:00Z")


def test_verdict_passes_only_when_every_case_was_asked_and_holds():
    passed = verdict(case_set(EQUAL, EQUAL), True, True)
    assert (passed.state, passed.asked, passed.failed) == ("Passed", 2, 0)
    assert (passed.latency_ms, passed.slowest_ms) == (6.0, 8.0)
    assert (passed.digest, passed.version, passed.cases_sha256, passed.nonce) == (
        "sha256:aa",
        "3",
        "bb",
        "n1",
    )
    assert verdict(case_set(EQUAL, EQUAL), True).state == "Inconclusive"


def test_verdict_fails_with_one_failed_case_and_says_which():
    failed = verdict(case_set(EQUAL, EQUAL), True, False)
    assert (failed.state, failed.failed) == ("Failed", 1)
    assert failed.reason == "1 of 2 cases do not hold; e: answered 500"


def test_verdict_without_an_equal_case_is_inconclusive():
    only_refused = decide(
        REQUEST, case_set(REFUSED), [judge(REFUSED, [Answer(400, None, 1)], TIGHT, 100)], [1.0], "t"
    )
    assert only_refused.state == "Inconclusive"
    assert decide(REQUEST, case_set(), [], [], "t").state == "Inconclusive"


def test_unjudged_verdict_names_the_request_and_counts_nothing():
    nothing = unjudged(REQUEST, "Inconclusive", "no answer", "t")
    assert (nothing.nonce, nothing.asked, nothing.reason) == ("n1", 0, "no answer")


def test_chosen_cases_spread_over_the_range_of_predictions_and_include_both_ends():
    rows = [[float(number)] for number in range(101)]
    predictions = [float(100 - number) for number in range(101)]
    chosen = choose_cases(rows, predictions, 5)
    assert sorted(case.expected[0] for case in chosen) == [0.0, 25.0, 50.0, 75.0, 100.0]
    assert chosen == choose_cases(rows, predictions, 5)
    assert chosen[0].id == "held-out-0"
    assert chosen[0].rows == ((0.0,),)


@pytest.mark.parametrize(
    ("count", "found"),
    [
        pytest.param(0, 0, id="none asked for"),
        pytest.param(1, 1, id="one"),
        pytest.param(9, 3, id="more than there are"),
    ],
)
def test_number_of_chosen_cases(count, found):
    assert len(choose_cases([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0], count)) == found


def test_rows_that_json_cannot_carry_are_passed_over():
    chosen = choose_cases([[math.nan], [1.0], [2.0]], [1.0, math.inf, 3.0], 3)
    assert [case.id for case in chosen] == ["held-out-2"]


COLUMNS = ("distance", "hour")


def test_checks_become_cases():
    checks = [
        {"increasing": {"id": "farther-costs-more", "column": "distance", "values": [1, 2.5]}},
        {"refused": {"id": "short", "data": [[1]]}},
        {"refused": {"id": "odd", "body": "hello"}},
    ]
    assert parse_checks(checks, COLUMNS, (9.0, 7.0)) == (
        IncreasingCase("farther-costs-more", ((1.0, 7.0), (2.5, 7.0))),
        RefusedCase("short", {"data": [[1]]}),
        RefusedCase("odd", "hello"),
    )


@pytest.mark.parametrize(
    ("check", "problem", "key"),
    [
        pytest.param({"falling": {"id": "x"}}, "'falling' is not a kind", (0,), id="unknown kind"),
        pytest.param("text", "not one mapping", (0,), id="not a mapping"),
        pytest.param(
            {"increasing": {"id": "x", "column": "distanse", "values": [1, 2]}},
            "no column 'distanse'",
            (0, "increasing", "column"),
            id="unknown column",
        ),
        pytest.param(
            {"increasing": {"id": "x", "column": "hour", "values": [2, 1]}},
            "not rising",
            (0, "increasing", "values"),
            id="values fall",
        ),
        pytest.param(
            {"increasing": {"id": "x", "column": "hour", "values": [1, True]}},
            "not rising",
            (0, "increasing", "values"),
            id="values are not numbers",
        ),
        pytest.param({"refused": {"id": "x"}}, "either `data` or `body`", (0, "refused"), id="no request"),
        pytest.param({"refused": {"data": [[1]]}}, "has no id", (0, "refused", "id"), id="no id"),
        pytest.param(
            {"refused": {"id": "x", "dta": 1}}, "'dta' is not a key", (0, "refused", "dta"), id="unknown key"
        ),
    ],
)
def test_a_wrong_check_is_refused_with_its_place(check, problem, key):
    with pytest.raises(DefinitionError) as caught:
        parse_checks([check], COLUMNS, (9.0, 7.0))
    assert problem in caught.value.problem
    assert "check 1" in caught.value.problem
    assert caught.value.key == key
    assert caught.value.fix


def test_two_checks_may_not_share_an_id():
    with pytest.raises(DefinitionError, match="used twice"):
        parse_checks([{"refused": {"id": "x", "data": 1}}] * 2, COLUMNS, (9.0, 7.0))
