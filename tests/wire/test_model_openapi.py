"""The description of a model server says what the server reads, no more and no less."""

import json
from dataclasses import replace

import jsonschema
import pytest
import schemathesis

from edgeferry.domain.model import Column, ImageInput, Tolerance
from edgeferry.errors import UsageError
from edgeferry.wire.model_openapi import render_openapi
from edgeferry.wire.serving import ModelCard, parse_score_request, render_refusal, render_score_response

COLUMNS = (
    Column("distance", "double", 0.2, 13.25),
    Column("hour", "long", missing=True),
    Column("night", "boolean"),
    Column("zone", "string"),
    Column("picture", "binary"),
    Column("small", "integer"),
    Column("short", "float"),
)
CARD = ModelCard("taxi", "3", COLUMNS, Tolerance(1e-9, 0.0), "fareAmount", runtime="pyfunc")
ROW = (1.5, None, True, "A", "AP8=", 3, 0.25)
IMAGES = replace(
    CARD, columns=tuple(Column(name, "double", 0.0, 16.0) for name in "abcd"), image=ImageInput(2, 2, 16)
)
PICTURE = replace(CARD, columns=(Column("picture", "binary"),))


def schema(document, name):
    """One schema of the document, able to resolve its references."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def fits(document, name, value):
    validator = jsonschema.Draft202012Validator(schema(document, name))
    return validator.is_valid(value)


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(CARD, id="columns of every type"),
        pytest.param(IMAGES, id="images"),
        pytest.param(PICTURE, id="bytes"),
        pytest.param(replace(CARD, runtime="score"), id="a score.py"),
        pytest.param(replace(CARD, answers="string"), id="texts as answers"),
    ],
)
def test_the_document_is_openapi_and_its_schemas_are_schemas(card):
    document = json.loads(render_openapi(card))
    schemathesis.openapi.from_dict(document).validate()
    for each in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(each)
    assert set(document["paths"]) == {"/score", "/health", "/cases", "/metrics", "/openapi.json"}
    assert set(document["paths"]["/score"]["post"]["responses"]) == {
        *("200", "400", "408", "413", "415", "431", "500", "503", "504")
    }


def test_each_body_the_model_takes_is_named():
    def kinds(card):
        return list(json.loads(render_openapi(card))["paths"]["/score"]["post"]["requestBody"]["content"])

    assert kinds(CARD) == ["application/json"]
    assert kinds(IMAGES) == ["application/json", "image/png"]
    assert kinds(PICTURE) == ["application/json", "application/octet-stream", "image/*", "audio/*", "video/*"]


def test_columns_are_described_with_their_ranges_and_an_example_is_within():
    schemas = json.loads(render_openapi(CARD))["components"]["schemas"]
    assert schemas["NamedRow"]["properties"]["distance"]["description"].endswith("from 0.2 to 13.25.")
    assert "description" not in schemas["NamedRow"]["properties"]["hour"]
    body = json.loads(render_openapi(IMAGES))["paths"]["/score"]["post"]["requestBody"]
    assert body["content"]["application/json"]["example"] == {"data": [[0.0] * 4]}


VALUES = (
    *(None, True, 0, 2, -1, 1.5, 2.0, 1e39, 1e308, 2**31, 2**31 - 1, -(2**31) - 1),
    *(2**63, 2**63 - 1, -(2**63), 10**309, "", "x", "AP8", "AP8=", [], {}),
)
CHANGED = [(*ROW[:place], value, *ROW[place + 1 :]) for place in range(len(ROW)) for value in VALUES]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_body_is_described_exactly_when_it_is_read(by_name):
    """A good row, one with each value in each column, one too short, one too long."""
    document = json.loads(render_openapi(CARD))
    names = [*(column.name for column in COLUMNS), "more"]
    found = set()
    for row in (ROW, ROW[:-1], (*ROW, 1.5), *CHANGED):
        body = {"data": [dict(zip(names, row, strict=False)) if by_name else list(row)]}
        try:
            parse_score_request(json.dumps(body).encode(), COLUMNS)
            read = True
        except UsageError:
            read = False
        assert fits(document, "ScoreRequest", body) == read, row
        found.add(read)
    assert found == {True, False}


def test_answers_and_refusals_are_as_described():
    document = json.loads(render_openapi(CARD))
    assert fits(document, "Answers", json.loads(render_score_response([1.5, -2.0])))
    assert not fits(document, "Answers", [None])
    assert fits(document, "Refusal", json.loads(render_refusal("no rows", "send rows")))
    assert not fits(document, "Refusal", {"error": "no rows"})
