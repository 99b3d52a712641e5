import math
from dataclasses import replace

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    Answer,
    BetweenCase,
    CaseSet,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    IncreasingCase,
    MemoryCase,
    RefusedCase,
    SameCase,
    SmokeRequest,
    decide,
    unjudged,
)
from edgeferry.domain.smoke_checks import choose_cases, make_cases, parse_checks
from edgeferry.domain.smoke_judging import judge, render_questions
from edgeferry.errors import DefinitionError

TIGHT = Tolerance(rtol=1e-9, atol=0.0)
EQUAL = EqualCase("e", ((1.0, 2.0), (3.0, 4.0)), (10.0, 20.0))
LABELS = EqualCase("l", ((1.0, 2.0), (3.0, 4.0)), ("fine", "worn"))
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
        pytest.param(LABELS, Answer(200, ("fine", "worn"), 5), True, "right", id="equal texts hold"),
        pytest.param(
            LABELS,
            Answer(200, ("fine", "Worn"), 5),
            False,
            "answered 'Worn', expected 'worn'",
            id="other texts",
        ),
        pytest.param(
            LABELS, Answer(200, (0.0, 1.0), 5), False, "answered 0.0, expected 'fine'", id="no texts"
        ),
        pytest.param(
            RISING, Answer(200, ("a", "b", "c"), 5), False, "'a', which is no number", id="texts rise"
        ),
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


FALLING = DecreasingCase("d", ((1.0,), (2.0,), (3.0,)))
BETWEEN = BetweenCase("b", ((1.0,), (2.0,)), 0.0, 9.0)
CHANGES = ChangesCase("c", ((1.0,), (2.0,)))
SAME = SameCase("s", (({"data": [[1], [2]]},), ({"data": [[1]]}, {"data": [[2]]})))
TWICE = EqualCase("t", ((1.0,),), (5.0,), repeats=2, latency_ms=50.0)
MEMORY = MemoryCase("m", ((1.0,),), 1_000_000, 90_000_000, repeats=3)


def said(*values, **more):
    return Answer(200, tuple(map(float, values)), 5, **more)


@pytest.mark.parametrize(
    ("case", "answers", "passed", "reason"),
    [
        pytest.param(FALLING, [said(3, 2, 2)], True, "right", id="level answers do not rise"),
        pytest.param(FALLING, [said(3, 2, 2.5)], False, "rises from 2.0 to 2.5 at row 3", id="rising"),
        pytest.param(BETWEEN, [said(0, 9)], True, "right", id="both ends are within"),
        pytest.param(BETWEEN, [said(0, 9.5)], False, "row 2: answered 9.5", id="beyond"),
        pytest.param(CHANGES, [said(1, 2)], True, "right", id="another answer"),
        pytest.param(CHANGES, [said(1, 1)], False, "to every row", id="always the same answer"),
        pytest.param(SAME, [said(1, 2), said(1), said(2)], True, "right", id="alone as together"),
        pytest.param(
            SAME,
            [said(1, 2), said(1), said(3)],
            False,
            "row 2: 2.0 when asked the first way, 3.0",
            id="other",
        ),
        pytest.param(SAME, [said(1, 2), said(1), said()], False, "gives 1 answers", id="one is missing"),
        pytest.param(
            SAME, [said(1, 2), Answer(400, None, 5), said(2)], False, "answered 400", id="one way is refused"
        ),
        pytest.param(SAME, [said(1, 2), said(1)], False, "2 answers to 3 requests", id="one was not asked"),
        pytest.param(TWICE, [said(5), said(5)], True, "right", id="right twice"),
        pytest.param(TWICE, [said(5), said(6)], False, "answered 6.0", id="right once"),
        pytest.param(
            TWICE,
            [said(5), Answer(200, (5.0,), 60)],
            False,
            "allowed are 50 ms",
            id="slower than its own limit",
        ),
        pytest.param(
            EQUAL,
            [said(10, 20, media_type="text/html")],
            False,
            "answered text/html",
            id="another content type",
        ),
        pytest.param(EQUAL, [said(10, 20, 30)], False, "3 answers to 2 rows", id="one answer too many"),
        pytest.param(REFUSED, [Answer(404, None, 5)], False, "answered 404", id="not found is no refusal"),
        pytest.param(REFUSED, [Answer(429, None, 5)], False, "answered 429", id="busy is no refusal"),
        pytest.param(
            MEMORY,
            [said(1, memory_bytes=50_000_000), said(1, memory_bytes=50_900_000)],
            True,
            "50.9 MB of memory",
            id="as large as before",
        ),
        pytest.param(
            MEMORY,
            [said(1, memory_bytes=50_000_000), said(1, memory_bytes=51_500_000)],
            False,
            "grew by 1.5 MB",
            id="it leaks",
        ),
        pytest.param(
            MEMORY,
            [said(1, memory_bytes=95_000_000), said(1, memory_bytes=95_000_000)],
            False,
            "uses 95.0 MB of memory; allowed are 90.0 MB",
            id="too large",
        ),
        pytest.param(MEMORY, [said(1), said(1)], True, "memory not measured", id="no metrics"),
        pytest.param(
            replace(MEMORY, measured=True),
            [said(1), said(1)],
            False,
            "could not be measured",
            id="no metrics of a server that has them",
        ),
        pytest.param(MEMORY, [said(1), said(2)], False, "after 3 repeats", id="another answer in the end"),
    ],
)
def test_judgement_of_a_case_with_more_to_it(case, answers, passed, reason):
    judgement = judge(case, answers, TIGHT, latency_ms=100)
    assert (judgement.passed, reason in judgement.reason) == (passed, True), judgement.reason


def test_growth_and_size_may_be_asked_again_and_a_wrong_answer_may_not():
    grown = [said(1, memory_bytes=0), said(1, memory_bytes=2_000_000)]
    assert judge(MEMORY, grown, TIGHT, 100).again
    assert not judge(MEMORY, [said(1), said(2)], TIGHT, 100).again


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
    chosen = choose_cases([[math.inf], [1.0], [2.0]], [1.0, math.inf, 3.0], 3)
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
        pytest.param(
            {"equal": {"id": "x", "data": [[1, 2]], "expected": [1, 2]}},
            "not one number or one text a row",
            (0, "equal", "expected"),
            id="expected of another length",
        ),
        pytest.param(
            {"equal": {"id": "x", "data": [[1]], "expected": [1]}},
            "row 1 is not a row of the model's 2 columns",
            (0, "equal", "data"),
            id="a short row",
        ),
        pytest.param(
            {"equal": {"id": "x", "data": [[1, None]], "expected": [1]}},
            "row 1 has a value that is neither number nor text",
            (0, "equal", "data"),
            id="nothing in a row",
        ),
        pytest.param(
            {"between": {"id": "x", "low": 2, "high": 1, "data": [[1, 2]]}},
            "high 1 is below low 2",
            (0, "between", "high"),
            id="no room between",
        ),
        pytest.param(
            {"between": {"id": "x", "low": 1, "high": 2}},
            "either `data`, or `column`",
            (0, "between"),
            id="between without rows",
        ),
        pytest.param(
            {"changes": {"id": "x", "column": "hour", "values": [1, 1]}},
            "not different",
            (0, "changes", "values"),
            id="changes along one value",
        ),
        pytest.param(
            {"same": {"id": "x", "requests": [{}]}}, "not two", (0, "same", "requests"), id="one request"
        ),
        pytest.param(
            {"memory": {"id": "x", "growth_mb": -1}},
            "below 0",
            (0, "memory", "growth_mb"),
            id="negative growth",
        ),
        pytest.param(
            {"refused": {"id": "x", "data": 1, "repeats": 0}},
            "not a count",
            (0, "refused", "repeats"),
            id="no repeats",
        ),
        pytest.param(
            {"refused": {"id": "x", "data": 1, "latency_ms": 0}},
            "no time",
            (0, "refused", "latency_ms"),
            id="no time",
        ),
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


def test_every_kind_of_check_becomes_its_case():
    checks = [
        {"equal": {"id": "a", "data": [[1, 2]], "expected": [5], "repeats": 2, "latency_ms": 9}},
        {"decreasing": {"id": "b", "column": "hour", "values": [1, 2]}},
        {"between": {"id": "c", "low": 0, "high": 9, "column": "hour", "values": [2, 1]}},
        {"changes": {"id": "d", "column": "distance", "values": [3, 1]}},
        {"same": {"id": "e", "data": [[1, 2], [3, 4]]}},
        {"same": {"id": "f", "requests": ["x", "y"]}},
        {"memory": {"id": "g", "growth_mb": 1.5, "most_mb": 80}},
    ]
    together = ({"data": [[1.0, 2.0], [3.0, 4.0]]},)
    alone = ({"data": [[1.0, 2.0]]}, {"data": [[3.0, 4.0]]})
    named = ({"data": [{"hour": 2.0, "distance": 1.0}, {"hour": 4.0, "distance": 3.0}]},)
    assert parse_checks(checks, COLUMNS, (9.0, 7.0)) == (
        EqualCase("a", ((1.0, 2.0),), (5.0,), repeats=2, latency_ms=9.0),
        DecreasingCase("b", ((9.0, 1.0), (9.0, 2.0))),
        BetweenCase("c", ((9.0, 2.0), (9.0, 1.0)), 0.0, 9.0),
        ChangesCase("d", ((3.0, 7.0), (1.0, 7.0))),
        SameCase("e", (together, alone, named, together)),
        SameCase("f", (("x",), ("y",))),
        MemoryCase("g", ((9.0, 7.0),), 1_500_000, 80_000_000, repeats=100),
    )


MADE = ([[1.0, 7.0], [2.0, 8.0]], [10.0, 20.0], COLUMNS, 5)


@pytest.mark.parametrize(
    ("runtime", "asked"),
    [
        pytest.param("onnx", {"by-name", "a-text", "one-value-too-many"}, id="a graph"),
        pytest.param("library", {"by-name", "a-text", "one-value-too-many"}, id="a library"),
        pytest.param("own", {"one-value-too-many"}, id="a server of one's own"),
        pytest.param("score", set(), id="a score.py"),
    ],
)
def test_what_nobody_has_to_write_is_asked_of_what_can_answer_it(runtime, asked):
    made = make_cases(*MADE, runtime, 100.0)
    ids = {case.id for case in made}
    assert ids >= {"held-out-0", "held-out-1", "held-out-together", "held-out-backwards", "held-out-memory"}
    found = {id_.removeprefix("held-out-").removeprefix("refused-") for id_ in ids}
    assert found & {"by-name", "a-text", "one-value-too-many"} == asked
    if "by-name" in asked:
        (named,) = [case for case in made if case.id == "held-out-by-name"]
        assert render_questions(named)[0]["data"][0] == {"hour": 7.0, "distance": 1.0}
        assert list(render_questions(named)[0]["data"][0]) == ["hour", "distance"]
        assert named.expected == (10.0, 20.0)


def test_a_text_is_put_where_a_number_belongs():
    made = make_cases([["paris", 7.0]], [10.0], ("city", "hour"), 5, "pyfunc", 100.0)
    (refused,) = [case for case in made if case.id == "refused-a-text"]
    assert refused.body == {"data": [["paris", "a text"]]}
    only = make_cases([["paris"]], [10.0], ("city",), 5, "pyfunc", 100.0)
    assert "refused-a-text" not in {case.id for case in only}


def test_many_rows_at_once_hold_both_ends_of_each_column_and_are_bounded():
    rows = [[float(number * 37 % 1000), float(number % 24)] for number in range(1000)]
    made = make_cases(rows, [sum(row) for row in rows], COLUMNS, 5, "onnx", 100.0)
    (many,) = [case for case in made if case.id == "held-out-many"]
    assert len(many.rows) == len(set(many.rows)) == 200
    assert many.expected == tuple(map(sum, many.rows))
    for column, most in enumerate((999.0, 23.0)):
        assert {0.0, most} <= {row[column] for row in many.rows}
    assert len({row[1] for row in many.rows}) == 24
    wide = make_cases(
        [[float(n)] * 800 for n in range(90)], [0.0] * 90, [*map(str, range(800))], 2, "own", 1.0
    )
    assert [len(case.rows) for case in wide if case.id == "held-out-many"] == [5]


def test_without_rows_that_can_be_asked_there_is_no_case():
    assert make_cases([[math.inf]], [1.0], ("x",), 5, "onnx", 100.0) == ()


def test_a_row_with_a_missing_value_is_asked_like_any_other_with_null_in_its_place():
    rows = [[math.nan, 7.0], [2.0, math.nan], [3.0, 9.0]]
    made = {case.id: case for case in make_cases(rows, [1.0, 2.0, 3.0], COLUMNS, 2, "onnx", 100.0)}
    assert made["held-out-0"].rows == ((None, 7.0),)
    assert made["held-out-many"].rows == ((None, 7.0), (2.0, None), (3.0, 9.0))
    assert render_questions(made["held-out-by-name"])[0]["data"][0] == {"hour": 7.0, "distance": None}
    assert made["refused-a-text"].body == {"data": [[None, "a text"]]}


def test_a_check_may_not_take_the_id_of_a_case_that_is_made():
    with pytest.raises(DefinitionError, match="used twice"):
        parse_checks([{"refused": {"id": "held-out-0", "data": 1}}], COLUMNS, (9.0, 7.0), ["held-out-0"])


def test_two_checks_may_not_share_an_id():
    with pytest.raises(DefinitionError, match="used twice"):
        parse_checks([{"refused": {"id": "x", "data": 1}}] * 2, COLUMNS, (9.0, 7.0))
