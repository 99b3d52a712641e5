"""model.yaml: its defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.capture_policy import CapturePolicy
from edgeferry.domain.model import ImageInput, Tolerance, parse_model
from edgeferry.errors import DefinitionError

LEAST = {"prediction_column": "fare"}


def test_only_the_prediction_column_must_be_said() -> None:
    model = parse_model(LEAST, "taxi", "/models/taxi")
    assert model.pipeline == "/models/taxi/pipeline.yml"
    assert model.registered_model == "taxi"
    assert model.model_artifact == "model"
    assert model.held_out == "predictions/predictions.csv"
    assert model.tolerance == Tolerance(1e-9, 0.0)
    assert model.latency_ms == 250
    assert model.smoke_cases == 10
    assert model.target_condition == "tags.models.taxi = true"


@pytest.mark.parametrize("name", ["3d_scan", "group"])
def test_a_name_that_no_condition_can_say_plainly_is_put_in_brackets(name: str) -> None:
    assert parse_model(LEAST, name, "/m").target_condition == f"tags.models.[[{name}]] = true"


@pytest.mark.parametrize("name", ["companion", "agent"])
def test_a_model_may_not_have_the_name_of_a_program_of_ours(name: str) -> None:
    with pytest.raises(DefinitionError, match="name of a program"):
        parse_model(LEAST, name, "/m")


def test_a_number_with_an_exponent_but_no_dot_is_read_though_yaml_calls_it_text() -> None:
    model = parse_model({**LEAST, "tolerance": {"rtol": "1e-6", "atol": 2}}, "taxi", "/m")
    assert model.tolerance == Tolerance(1e-6, 2.0)


def test_a_model_may_take_images_whose_white_stands_for_a_number() -> None:
    assert parse_model(LEAST, "taxi", "/m").image is None
    image = parse_model({**LEAST, "image": {"width": 8, "height": 4, "scale": 16}}, "taxi", "/m").image
    assert image == ImageInput(8, 4, 16.0)
    assert [image.value(gray) for gray in (0, 51, 255)] == [0.0, 3.2, 16.0]
    assert [image.gray(value) for value in (-1.0, 0.0, 3.2, 16.0, 99.0)] == [0, 0, 51, 255, 255]
    assert all(image.gray(image.value(gray)) == gray for gray in range(256))


def test_missing_values_are_refused_unless_the_model_takes_them() -> None:
    assert not parse_model(LEAST, "taxi", "/m").missing
    assert parse_model({**LEAST, "missing": "allow"}, "taxi", "/m").missing


def test_a_model_may_say_what_is_captured() -> None:
    assert parse_model(LEAST, "taxi", "/m").capture == CapturePolicy()
    said = parse_model({**LEAST, "capture": {"rate": 0.1, "redact": ["name"]}}, "taxi", "/m").capture
    assert said == CapturePolicy(rate=0.1, redact=("name",))
    own = parse_model({**LEAST, "runtime": "own", "capture": False}, "taxi", "/m").capture
    assert not own.enabled


@pytest.mark.parametrize(
    ("name", "document", "key", "says"),
    [
        pytest.param(
            "taxi", {**LEAST, "missing": "alow"}, ("missing",), "says nothing about", id="missing misspelt"
        ),
        pytest.param(
            "taxi",
            {**LEAST, "image": {"width": 8}},
            ("image", "height"),
            "no number of pixels",
            id="image without height",
        ),
        pytest.param(
            "taxi",
            {**LEAST, "image": {"width": 8.5, "height": 8}},
            ("image", "width"),
            "no number of pixels",
            id="half a pixel",
        ),
        pytest.param(
            "taxi",
            {**LEAST, "image": {"width": 8, "height": 99999}},
            ("image", "height"),
            "no number of pixels",
            id="enormous image",
        ),
        pytest.param(
            "taxi",
            {**LEAST, "image": {"width": 8, "height": 8, "scale": 0}},
            ("image", "scale"),
            "`scale` is 0",
            id="white is nothing",
        ),
        pytest.param(
            "taxi",
            {**LEAST, "image": {"widht": 8, "height": 8}},
            ("image", "widht"),
            "unknown key `widht`",
            id="near miss in an image",
        ),
        pytest.param(
            "taxi", {**LEAST, "image": "8x8"}, ("image",), "not a mapping", id="image is no mapping"
        ),
        pytest.param(
            "taxi",
            {**LEAST, "capture": {"redact": ["a", 1]}},
            ("capture", "redact", 1),
            "no name",
            id="inside capture",
        ),
        pytest.param(
            "taxi",
            {**LEAST, "runtime": "own", "capture": {"rate": 0.1}},
            ("capture",),
            "server of its own",
            id="captures of another's server",
        ),
        pytest.param("Taxi", LEAST, (), "no name for a model", id="capital letter in the name"),
        pytest.param("_taxi", LEAST, (), "no name for a model", id="leading underscore"),
        pytest.param(
            "taxi", {**LEAST, "runtime": "onx"}, ("runtime",), "`onx` is no runtime", id="unknown runtime"
        ),
        pytest.param("taxi", {**LEAST, "score": "/s.py"}, ("score",), "leads elsewhere", id="absolute score"),
        pytest.param("taxi", {}, ("prediction_column",), "missing", id="no prediction column"),
        pytest.param("taxi", {**LEAST, "latency": 5}, ("latency",), "unknown key `latency`", id="near miss"),
        pytest.param(
            "taxi", {**LEAST, "latency_ms": "fast"}, ("latency_ms",), "not a number", id="no number"
        ),
        pytest.param("taxi", {**LEAST, "latency_ms": True}, ("latency_ms",), "not a number", id="a boolean"),
        pytest.param(
            "taxi", {**LEAST, "smoke_cases": 0}, ("smoke_cases",), "not a count", id="no smoke cases"
        ),
        pytest.param(
            "taxi", {**LEAST, "smoke_cases": 1.5}, ("smoke_cases",), "not a count", id="half a case"
        ),
        pytest.param(
            "taxi", {**LEAST, "held_out": "../x.csv"}, ("held_out",), "leads elsewhere", id="path upwards"
        ),
        pytest.param(
            "taxi", {**LEAST, "pipeline": "/x.yml"}, ("pipeline",), "leads elsewhere", id="absolute path"
        ),
        pytest.param(
            "taxi",
            {**LEAST, "tolerance": {"rol": 1}},
            ("tolerance", "rol"),
            "unknown key `rol`",
            id="inside tolerance",
        ),
        pytest.param(
            "taxi", {**LEAST, "tolerance": 1}, ("tolerance",), "not a mapping", id="tolerance is a number"
        ),
        pytest.param(
            "taxi",
            {**LEAST, "target_condition": True},
            ("target_condition",),
            "not text",
            id="condition is no text",
        ),
    ],
)
def test_a_wrong_definition_is_refused_at_its_key(
    name: str, document: dict[str, Any], key: tuple[str, ...], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        parse_model(document, name, "/m")
    assert caught.value.key == key
    assert caught.value.fix
