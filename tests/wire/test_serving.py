import contextlib
import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.capture_policy import CapturePolicy
from edgeferry.domain.model import Column, ImageInput, Tolerance
from edgeferry.errors import UsageError
from edgeferry.wire.serving import (
    Health,
    ModelCard,
    parse_health,
    parse_model_card,
    parse_score_request,
    parse_score_response,
    render_model_card,
    render_refusal,
    render_score_request,
    render_score_response,
)

COLUMNS = (Column("distance", "double"), Column("hour", "double"))
CARD = ModelCard(
    model="taxi",
    version="3",
    columns=(Column("distance", "double"), Column("hour", "long")),
    tolerance=Tolerance(1e-9, 0.0),
    output="fareAmount",
)
CARD_BYTES = (
    b'{"artifact":"model.onnx","columns":[{"name":"distance","type":"double"},{"name":"hour","type":"long"}],'
    b'"format":"edgeferry.model/1","model":"taxi","output":"fareAmount","runtime":"onnx",'
    b'"tolerance":{"atol":0.0,"rtol":1e-09},"trusted_types":[],"version":"3"}'
)


def test_model_card_has_one_byte_form_and_comes_back_from_it():
    assert render_model_card(CARD) == CARD_BYTES
    assert parse_model_card(CARD_BYTES) == CARD


def test_a_card_names_images_only_when_the_model_takes_them():
    card = replace(CARD, image=ImageInput(8, 4, 16.0))
    body = render_model_card(card)
    assert b'"image":{"height":4,"scale":16.0,"width":8}' in body
    assert parse_model_card(body) == card
    assert b"image" not in CARD_BYTES


def test_a_card_says_of_captures_what_differs_from_the_default():
    card = replace(CARD, capture=CapturePolicy(rate=0.1, redact=("hour",)))
    body = render_model_card(card)
    assert b'"capture":{"rate":0.1,"redact":["hour"]},' in body
    assert parse_model_card(body) == card
    assert b"capture" not in CARD_BYTES


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", CARD_BYTES.replace(b"model/1", b"model/2")),
        CARD_BYTES.replace(b'"columns"', b'"capture":{"redakt":["hour"]},"columns"'),
    ],
)
def test_what_is_no_model_card_is_refused(body):
    with pytest.raises(UsageError, match="no model card"):
        parse_model_card(body)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        pytest.param(b'{"data": [[1.5, 2]]}', [[1.5, 2.0]], id="a row as a list"),
        pytest.param(b'{"data": [[1, 2], [3, 4]]}', [[1.0, 2.0], [3.0, 4.0]], id="two rows"),
        pytest.param(b'{"data": [{"hour": 2, "distance": 1}]}', [[1.0, 2.0]], id="a row by names, any order"),
        pytest.param(b'{"data": [[1, 2]], "extra": 1}', [[1.0, 2.0]], id="other members are passed over"),
    ],
)
def test_rows_of_a_request(body, rows):
    found = parse_score_request(body, COLUMNS)
    assert found == rows
    assert all(type(value) is float for row in found for value in row)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"\xff\xfe\xfd", "not JSON", id="not text"),
        pytest.param(b'{"data": [[1, 2]', "not JSON", id="torn"),
        pytest.param(b'{"data":' + b"[" * 100_000, "nested too deeply", id="nested too deeply"),
        pytest.param(b"[[1, 2]]", "no rows", id="no object"),
        pytest.param(b'{"rows": []}', "no rows", id="no data"),
        pytest.param(b'{"data": []}', "no rows", id="no row"),
        pytest.param(b'{"data": {"distance": 1}}', "no rows", id="data is an object"),
        pytest.param(b'{"data": [7]}', "row 1 is neither", id="a row is a number"),
        pytest.param(b'{"data": [[1, 2], [1]]}', "row 2 has 1 values, the model has 2", id="a short row"),
        pytest.param(b'{"data": [[1, 2, 3]]}', "row 1 has 3 values", id="a long row"),
        pytest.param(b'{"data": [[1, "2"]]}', 'row 1, column 2 (hour): "2" is not', id="a text"),
        pytest.param(b'{"data": [[null, 2]]}', "row 1, column 1 (distance): null", id="a null"),
        pytest.param(b'{"data": [[true, 2]]}', "row 1, column 1 (distance): true", id="a bool"),
        pytest.param(b'{"data": [[[1], 2]]}', "column 1 (distance): a list", id="a list"),
        pytest.param(b'{"data": [[NaN, 2]]}', "NaN is not a JSON number", id="NaN"),
        pytest.param(b'{"data": [[1, -Infinity]]}', "-Infinity is not a JSON number", id="infinity"),
        pytest.param(b'{"data": [[1e999, 2]]}', "row 1, column 1 (distance)", id="too large for a double"),
        pytest.param(b'{"data": [[1' + b"0" * 400 + b", 2]]}", "row 1, column 1", id="a huge whole number"),
        pytest.param(
            b'{"data": [[1' + b"0" * 5000 + b", 2]]}", "not JSON", id="more digits than Python reads"
        ),
        pytest.param(
            b'{"data": [{"distance": 1}]}', "row 1, column 2 (hour) is missing", id="a name missing"
        ),
        pytest.param(
            b'{"data": [{"distance": 1, "hour": 2, "\\ud800": 3}]}',
            'row 1: the model has no column "\\ud800"',
            id="a name too many, even one that is no text",
        ),
    ],
)
def test_a_bad_request_is_refused_with_row_column_and_fix(body, problem):
    with pytest.raises(UsageError) as caught:
        parse_score_request(body, COLUMNS)
    assert problem in caught.value.problem
    assert caught.value.fix
    assert json.loads(render_refusal(caught.value.problem, caught.value.fix))["error"]["message"]


COLUMNS_OF_TYPES = (
    Column("hour", "long"),
    Column("fare", "double", missing=True),
    Column("night", "boolean"),
    Column("zone", "string"),
)


def test_rows_have_the_types_of_the_signature():
    body = b'{"data": [[7.0, null, true, "A"], {"zone": "B", "night": 0, "fare": 2, "hour": 8}]}'
    first, second = parse_score_request(body, COLUMNS_OF_TYPES)
    assert math.isnan(first[1])
    assert [first[0], *first[2:]] == [7.0, 1.0, "A"]
    assert second == [8.0, 2.0, 0.0, "B"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param("[[7.5, 1, true, 'A']]", "row 1, column 1 (hour): 7.5 is not a whole number", id="long"),
        pytest.param("[[null, 1, true, 'A']]", "column 1 (hour): null is not a finite number", id="null"),
        pytest.param("[[7, NaN, true, 'A']]", "NaN is not a JSON number", id="NaN is spelt null"),
        pytest.param("[[7, 1, 2, 'A']]", "column 3 (night): 2 is not true or false", id="boolean"),
        pytest.param("[[7, 1, true, 5]]", "column 4 (zone): 5 is not a text", id="text"),
        pytest.param(
            "[{'hour': 7, 'fare': 1, 'night': true, 'hour': 8, 'zone': 'A'}]",
            "row 1, column 1 (hour) is there twice",
            id="a column twice",
        ),
        pytest.param(
            "[{'hour': 7, 'fare': 1, 'night': true, 'zone': 'A', 'x': 1, 'x': 1}]",
            'row 1: the model has no column "x"',
            id="an unknown column twice",
        ),
        pytest.param("[], 'data': [[7, 1, true, 'A']]", "`data` twice", id="all rows twice"),
    ],
)
def test_what_is_not_of_the_signatures_types_is_refused(data, problem):
    with pytest.raises(UsageError) as caught:
        parse_score_request(f'{{"data": {data}}}'.replace("'", '"').encode(), COLUMNS_OF_TYPES)
    assert problem in caught.value.problem
    assert caught.value.fix


def test_a_missing_value_is_asked_as_null():
    assert render_score_request([(1.5, math.nan)]) == b'{"data": [[1.5,null]]}'


def test_a_card_says_what_is_known_of_its_columns():
    card = replace(CARD, columns=(Column("a", "long", 1.0, 9.0), Column("b", "double", missing=True)))
    body = render_model_card(card)
    assert (
        b'{"high":9.0,"low":1.0,"name":"a","type":"long"},{"missing":true,"name":"b","type":"double"}' in body
    )
    assert parse_model_card(body) == card


@given(
    st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1)
)
def test_rows_arrive_bit_by_bit(rows):
    assert parse_score_request(render_score_request(rows), COLUMNS) == rows


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_either_rows_or_a_refusal(body):
    with contextlib.suppress(UsageError):
        parse_score_request(json.dumps({"data": body}).encode(), COLUMNS)


def test_answers_both_ways():
    assert render_score_response([12.5, 3.0]) == b"[12.5, 3.0]"
    assert parse_score_response(b"[12.5, 3]") == (12.5, 3.0)


def test_texts_are_answers_and_stay_texts():
    assert render_score_response(["fine", "1"]) == b'["fine", "1"]'
    assert parse_score_response(b'{"result": ["fine", "1"]}') == ("fine", "1")


def test_an_answer_that_is_not_finite_is_an_error_naming_its_row():
    with pytest.raises(UsageError, match="row 2"):
        render_score_response([1.0, float("nan")])


@pytest.mark.parametrize("body", [b"", b"{}", b"[NaN]", b'["1", 2]', b"[true]", b"[[1]]", b"[" * 100_000])
def test_what_are_no_answers_is_none(body):
    assert parse_score_response(body) is None


def test_health_is_read_as_it_was_said():
    health = Health(ready=True, model="taxi", version="3", digest="sha256:aa", model_sha256="cc")
    assert parse_health(json.dumps(asdict(health)).encode()) == health


LATE = b'{"ready": true, "model": "a", "version": "1", "digest": "", "model_sha256": "", "started_at": 1%b}'


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"ready": true}', b"<html>", b"[" * 100_000, LATE % (b"0" * 400)],
    ids=["empty", "list", "half", "page", "deep", "large"],
)
def test_what_is_no_health_is_refused(body):
    with pytest.raises(UsageError, match="no health"):
        parse_health(body)


def test_health_that_only_looks_ready_is_not_ready():
    body = b'{"ready": "yes", "model": "a", "version": "1", "digest": "", "model_sha256": ""}'
    assert parse_health(body).ready is False
