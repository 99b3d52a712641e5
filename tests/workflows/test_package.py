"""Packaging the trained example: graph, card and cases of this very version."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from edgeferry.domain.capture_policy import CapturePolicy
from edgeferry.domain.smoke import EqualCase
from edgeferry.errors import DefinitionError, TrackingError
from edgeferry.wire.cases import parse_cases
from edgeferry.wire.serving import parse_model_card
from edgeferry.workflows.package import load_held_out, package

from .conftest import Packaged, model_files


def test_the_image_carries_graph_card_and_cases_of_the_version(packaged: Packaged) -> None:
    files = model_files(packaged.image)
    card = parse_model_card(files["model.json"])
    assert (card.model, card.version) == ("nyc_taxi", packaged.version.version)
    assert [(each.name, each.type) for each in card.columns] == [
        (each.name, each.type) for each in packaged.version.columns
    ]
    held_out = load_held_out(packaged.services, packaged.definition, packaged.version)
    distances = [row[0] for row in held_out.rows]
    assert (card.columns[0].low, card.columns[0].high) == (min(distances), max(distances))
    assert card.tolerance == packaged.definition.tolerance
    labels = packaged.image.labels
    assert labels["io.edgeferry.cases-sha256"] == hashlib.sha256(files["cases.json"]).hexdigest()
    assert labels["io.edgeferry.model-sha256"] == hashlib.sha256(files["model.onnx"]).hexdigest()
    assert (labels["edgeferry.handover"], labels["edgeferry.health-port"]) == ("/health", "8080")
    assert labels["io.edgeferry.run-id"] == packaged.version.run_id


def test_the_graph_answers_the_held_out_rows_as_the_pipeline_did(packaged: Packaged) -> None:
    held_out = load_held_out(packaged.services, packaged.definition, packaged.version)
    session = onnxruntime.InferenceSession(model_files(packaged.image)["model.onnx"])
    found = session.run(None, {session.get_inputs()[0].name: np.array(held_out.rows)})[0]
    np.testing.assert_allclose(found[:, 0], held_out.predictions, rtol=1e-9)


def test_smoke_cases_come_from_held_out_rows_and_from_the_models_own_checks(packaged: Packaged) -> None:
    cases = parse_cases(model_files(packaged.image)["cases.json"]).cases
    held_out = load_held_out(packaged.services, packaged.definition, packaged.version)
    equal = [case for case in cases if isinstance(case, EqualCase)]
    assert len(equal) == packaged.definition.smoke_cases
    predictions = dict(zip(held_out.rows, held_out.predictions, strict=True))
    assert all(case.expected == (predictions[case.rows[0]],) for case in equal)
    assert {case.id for case in cases} >= {"fare-grows-with-distance", "too-few-columns"}


def test_packaging_again_gives_the_same_digest(packaged: Packaged) -> None:
    again = package(packaged.services, packaged.definition, packaged.version)
    assert again == packaged.packed


def test_a_capture_policy_goes_into_the_card(packaged: Packaged) -> None:
    policy = CapturePolicy(rate=0.1, redact=("distance",))
    again = package(packaged.services, replace(packaged.definition, capture=policy), packaged.version)
    assert parse_model_card(model_files(again.image)["model.json"]).capture == policy
    assert again.image.digest != packaged.image.digest


def test_a_first_pull_of_the_example_is_below_seventy_megabytes(packaged: Packaged) -> None:
    assert packaged.image.size_bytes < 70_000_000


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        pytest.param({"prediction_column": "fare"}, DefinitionError, "no column fare", id="column"),
        pytest.param({"held_out": "predictions/x.csv"}, TrackingError, "no artifact", id="no held-out file"),
        pytest.param({"held_out": "predictions"}, DefinitionError, "no text file", id="held-out folder"),
        pytest.param({"model_artifact": "m"}, TrackingError, "no artifact m", id="no model"),
        pytest.param(
            {"checks": ({"increasing": {"id": "a", "column": "b", "values": [1, 2]}},)},
            DefinitionError,
            "no column 'b'",
            id="check of an unknown column",
        ),
        pytest.param(
            {"capture": CapturePolicy(redact=("distnace",))},
            DefinitionError,
            "model.yaml: `redact` names `distnace`",
            id="redaction of an unknown column",
        ),
    ],
)
def test_what_model_yaml_says_wrongly_is_named(
    packaged: Packaged, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        package(packaged.services, replace(packaged.definition, **changes), packaged.version)  # type: ignore[arg-type]
