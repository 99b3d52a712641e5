"""The job of a pipeline function, as pipeline.yml."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.accelerator import Origin
from edgeferry.domain.accelerator_pipeline import (
    FILL_IN,
    Carried,
    Job,
    find_predictions,
    make_pipeline,
    model_name_of,
    parse_job,
)
from edgeferry.errors import DefinitionError

ORIGIN = Origin("/p/mlops/m/src/mlops_pipeline.py", 20)


def step(**inputs: Any) -> dict[str, Any]:
    return {"component": "mlops/m/components/x.yml", "inputs": inputs, "outputs": {}}


def facts(**changes: Any) -> dict[str, Any]:
    steps = {
        "prep": step(raw="${{parent.inputs.raw}}"),
        "predict": step(rows="${{parent.jobs.prep.outputs.rows}}"),
        "register": step(model_name="${{parent.inputs.name}}", rows="${{parent.jobs.predict.outputs.p}}"),
    }
    inputs = {"raw": {"type": "uri_folder", "path": "mlops/m/data/"}, "name": "fare"}
    settings = {"default_compute": "azureml:cpu", "force_rerun": True, "continue_on_step_failure": None}
    return {"steps": steps, "inputs": inputs, "outputs": {}, "settings": settings, **changes}


def carried(registering: str = "register", predictions: tuple[str, str] = ("predict", "p")) -> Carried:
    places = {"mlops/m/data/": "./data"}
    return Carried("m", registering, predictions, lambda component: "./components/x.yml", places.get)


def test_steps_keep_their_names_and_bindings_and_the_registering_one_gets_what_it_records() -> None:
    document, _, edits = make_pipeline(parse_job(facts(), ORIGIN), carried())
    assert edits == []
    assert list(document["jobs"]) == ["prep", "predict", "register"]
    assert document["jobs"]["prep"]["inputs"] == {"raw": "${{parent.inputs.raw}}"}
    register = document["jobs"]["register"]
    assert register["inputs"]["held_out_predictions"] == "${{parent.jobs.predict.outputs.p}}"
    assert register["outputs"] == {"registered": "${{parent.outputs.registered}}"}
    assert document["outputs"] == {"registered": {"type": "uri_file"}}
    assert document["inputs"]["raw"] == {"type": "uri_folder", "path": "./data"}


def test_settings_for_azure_ml_are_kept_and_reuse_is_back() -> None:
    document, placed, _ = make_pipeline(parse_job(facts(tags={"a": 1}), ORIGIN), carried())
    assert document["settings"] == {"default_compute": "azureml:cpu"}
    assert document["tags"] == {"a": "1"}
    assert [each.place for each in placed if each.what == "force_rerun"] == [""]


@pytest.mark.parametrize(
    ("inputs", "problem", "fix"),
    [
        ({"raw": {"type": "uri_folder", "path": "azureml:trips:3"}}, "azureml:trips:3", "--input raw=FOLDER"),
        ({"raw": {"type": "uri_file"}}, "is nothing", "--input raw=FOLDER"),
        (
            {"raw": f"{FILL_IN}line_speed"},
            "comes from --line_speed",
            "models/m/pipeline.yml: write its value",
        ),
    ],
)
def test_an_input_that_nobody_gave_is_an_edit(inputs: dict[str, Any], problem: str, fix: str) -> None:
    _, _, (edit,) = make_pipeline(parse_job(facts(inputs=inputs), ORIGIN), carried())
    assert problem in edit.problem
    assert fix in edit.fix


def test_steps_that_wait_for_each_other_are_refused_where_the_function_stands() -> None:
    steps = {
        "a": step(x="${{parent.jobs.b.outputs.y}}"),
        "b": step(x="${{parent.jobs.a.outputs.y}}"),
    }
    with pytest.raises(DefinitionError, match=r"mlops_pipeline.py:20: the steps wait for each other"):
        parse_job(facts(steps=steps), ORIGIN)


def test_a_step_without_a_component_file_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"mlops_pipeline.py:20: step `a` is made in Python"):
        parse_job(facts(steps={"a": {**step(), "component": ""}}), ORIGIN)


@pytest.mark.parametrize(
    ("value", "found"),
    [("${{parent.inputs.name}}", ("model_name", "fare")), ("plain", ("model_name", "plain"))],
)
def test_the_models_name_is_what_the_registering_step_is_given(value: str, found: tuple[str, str]) -> None:
    steps = {"register": step(model_name=value)}
    assert model_name_of(parse_job(facts(steps=steps), ORIGIN), "register") == found


def test_without_such_an_input_nobody_knows_the_models_name() -> None:
    assert model_name_of(parse_job(facts(steps={"r": step(a="b")}), ORIGIN), "r") == ("", "")


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        ({"train": ["model", "test"], "predict": ["p"]}, ("predict", "p")),
        ({"train": ["model", "test"], "predict": []}, ("", "")),
    ],
)
def test_predictions_are_the_one_folder_of_a_step_that_predicts(
    folders: dict[str, list[str]], found: tuple[str, str]
) -> None:
    job: Job = parse_job(facts(), ORIGIN)
    assert find_predictions(job, list(folders), lambda name: folders[name]) == found
