"""Azure ML v2 pipeline files: what is read, what is refused and where, and how commands are filled in."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edgeferry.domain.component_file import parse_component, parse_conda
from edgeferry.domain.pipeline import (
    Input,
    ParentInput,
    Pipeline,
    Registration,
    StepOutput,
    bind_inputs,
    parse_registration,
    render_command,
)
from edgeferry.domain.pipeline_file import component_paths, parse_pipeline
from edgeferry.errors import DefinitionError, UsageError

FIT: dict[str, Any] = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
    "type": "command",
    "name": "fit",
    "version": "1",
    "inputs": {
        "rows": {"type": "uri_folder"},
        "rate": {"type": "number", "default": 0.1},
        "note": {"type": "string", "optional": True},
    },
    "outputs": {"model": {"type": "mlflow_model"}, "report": {"type": "uri_file"}},
    "code": "../src",
    "environment": {"image": "python:3.11", "conda_file": "../conda.yml"},
    "command": "python fit.py ${{inputs.rows}} --rate ${{inputs.rate}} $[[--note ${{inputs.note}}]] "
    "${{outputs.model}}",
}
JUDGE: dict[str, Any] = {
    "name": "judge",
    "inputs": {"model": {"type": "uri_folder"}},
    "outputs": {"version": {"type": "uri_file"}},
    "environment": {"image": "python:3.11", "conda_file": "../conda.yml"},
    "command": "python judge.py ${{inputs.model}} ${{outputs.version}}",
}
PIPELINE: dict[str, Any] = {
    "type": "pipeline",
    "display_name": "demo",
    "inputs": {"raw": {"type": "uri_folder", "path": "./data"}, "rate": 0.5, "title": "demo"},
    "outputs": {"registered": {"type": "uri_file"}},
    "jobs": {
        "judge": {
            "type": "command",
            "component": "./judge.yml",
            "inputs": {"model": "${{parent.jobs.fit.outputs.model}}"},
            "outputs": {"version": "${{parent.outputs.registered}}"},
        },
        "fit": {
            "type": "command",
            "component": "./fit.yml",
            "inputs": {"rows": "${{parent.inputs.raw}}", "rate": "${{parent.inputs.rate}}"},
        },
    },
}
DELETE = object()


def changed(document: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy of `document` with another value, or none (DELETE), at `path`."""
    copied = copy.deepcopy(document)
    inner = copied
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    if value is DELETE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


def parse(document: dict[str, Any]) -> Pipeline:
    known = {"fit": parse_component(FIT), "judge": parse_component(JUDGE)}
    return parse_pipeline(document, {name: known.get(name, known["fit"]) for name in document["jobs"]})


def test_steps_run_after_what_they_need_whatever_their_order_in_the_file() -> None:
    pipeline = parse(PIPELINE)
    assert [step.name for step in pipeline.steps] == ["fit", "judge"]
    assert pipeline.steps[0].inputs == {"rows": ParentInput("raw"), "rate": ParentInput("rate")}
    assert pipeline.steps[1].inputs == {"model": StepOutput("fit", "model")}
    assert pipeline.inputs == {
        "raw": Input("uri_folder", "./data"),
        "rate": Input("number", 0.5),
        "title": Input("string", "demo"),
    }


def test_the_registering_step_is_the_one_bound_to_the_output_registered() -> None:
    step = parse(PIPELINE).registering_step
    assert step is not None
    assert step.name == "judge"
    without = changed(PIPELINE, ("outputs",), {})
    without = changed(without, ("jobs", "judge", "outputs"), {})
    assert parse(without).registering_step is None


def test_force_rerun_turns_reuse_off() -> None:
    assert parse(PIPELINE).reuse
    assert not parse(changed(PIPELINE, ("settings", "force_rerun"), True)).reuse


@pytest.mark.parametrize(
    ("path", "value", "key", "says", "fix"),
    [
        pytest.param(
            ("tyype",), "x", ("tyype",), "unknown key `tyype`", "`type`", id="misspelt key of the pipeline"
        ),
        pytest.param(("type",), "command", ("type",), "not a pipeline", "", id="not a pipeline"),
        pytest.param(
            ("jobs", "fit", "inptus"),
            {},
            ("jobs", "fit", "inptus"),
            "inptus",
            "`inputs`",
            id="misspelt key of a step",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "row"),
            "x",
            ("jobs", "fit", "inputs", "row"),
            "row",
            "`rows`",
            id="undeclared input",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "rows"),
            "${{parent.inputs.rwa}}",
            ("jobs", "fit", "inputs", "rows"),
            "no input `rwa`",
            "`raw`",
            id="pipeline input that does not exist",
        ),
        pytest.param(
            ("jobs", "judge", "inputs", "model"),
            "${{parent.jobs.fti.outputs.model}}",
            ("jobs", "judge", "inputs", "model"),
            "no step `fti`",
            "`fit`",
            id="step that does not exist",
        ),
        pytest.param(
            ("jobs", "judge", "inputs", "model"),
            "${{parent.jobs.fit.outputs.modell}}",
            ("jobs", "judge", "inputs", "model"),
            "no output `modell`",
            "`model`",
            id="output that does not exist",
        ),
        pytest.param(
            ("jobs", "judge", "inputs", "model"),
            "${{parent.jobs.fit.outputs.report}}",
            ("jobs", "judge", "inputs", "model"),
            "uri_file is given where uri_folder is wanted",
            "",
            id="file given for a folder",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "rate"),
            "${{parent.inputs.title}}",
            ("jobs", "fit", "inputs", "rate"),
            "string is given where number",
            "",
            id="text given for a number",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "rate"),
            True,
            ("jobs", "fit", "inputs", "rate"),
            "no number",
            "",
            id="literal that does not fit",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "rows"),
            "./rows",
            ("jobs", "fit", "inputs", "rows"),
            "fixed path",
            "",
            id="path inside a step",
        ),
        pytest.param(
            ("jobs", "fit", "inputs", "rows"),
            "${{parent.rows}}",
            ("jobs", "fit", "inputs", "rows"),
            "cannot follow",
            "",
            id="reference of no known form",
        ),
        pytest.param(
            ("jobs", "judge", "inputs"),
            {},
            ("jobs", "judge", "inputs"),
            "gives no value to the input `model`",
            "",
            id="input left out",
        ),
        pytest.param(
            ("jobs", "judge", "outputs", "version"),
            "${{parent.outputs.regstered}}",
            ("jobs", "judge", "outputs", "version"),
            "no output of the pipeline",
            "`registered`",
            id="pipeline output that does not exist",
        ),
        pytest.param(
            ("outputs", "extra"),
            {"type": "uri_file"},
            ("outputs", "extra"),
            "by no step",
            "",
            id="output nobody provides",
        ),
        pytest.param(
            ("inputs", "raw"), None, ("inputs", "raw"), "no value", "", id="pipeline input without value"
        ),
        pytest.param(
            ("jobs", "fit", "type"), "sweep", ("jobs", "fit", "type"), "no command", "", id="sweep step"
        ),
    ],
)
def test_a_wrong_pipeline_is_refused_at_its_key(
    path: tuple[str, ...], value: object, key: tuple[str, ...], says: str, fix: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(changed(PIPELINE, path, value))
    assert caught.value.key == key
    assert says in caught.value.problem
    assert fix in caught.value.fix
    assert caught.value.fix


def test_steps_that_wait_for_each_other_are_named() -> None:
    circle = {
        "type": "pipeline",
        "jobs": {
            name: {"component": "./x.yml", "inputs": {"rows": f"${{{{parent.jobs.{other}.outputs.model}}}}"}}
            for name, other in (("a", "b"), ("b", "c"), ("c", "a"))
        },
    }
    with pytest.raises(DefinitionError) as caught:
        parse(circle)
    assert "wait for each other" in caught.value.problem
    assert all(name in caught.value.problem for name in "abc")


@pytest.mark.parametrize(
    ("path", "value", "key", "says"),
    [
        pytest.param(
            ("inputs", "rows", "type"),
            "uri_foldr",
            ("inputs", "rows", "type"),
            "uri_foldr",
            id="unknown type",
        ),
        pytest.param(
            ("inputs", "rows", "default"), "./x", ("inputs", "rows", "default"), "path", id="path default"
        ),
        pytest.param(
            ("inputs", "rate", "default"),
            "x",
            ("inputs", "rate", "default"),
            "no number",
            id="default of another type",
        ),
        pytest.param(("inputs", "a-b"), {"type": "string"}, ("inputs", "a-b"), "no name", id="illegal name"),
        pytest.param(
            ("outputs", "model", "type"),
            "string",
            ("outputs", "model", "type"),
            "string",
            id="literal output",
        ),
        pytest.param(
            ("command",),
            "python ${{inputs.rwos}}",
            ("command",),
            "inputs.rwos",
            id="undeclared input in the command",
        ),
        pytest.param(
            ("command",),
            "python ${{output.model}}",
            ("command",),
            "output.model",
            id="unknown root in the command",
        ),
        pytest.param(
            ("command",),
            "python ${{inputs.note}}",
            ("command",),
            "may be absent",
            id="optional input outside a group",
        ),
        pytest.param(("command",), "python 'x", ("command",), "quotation", id="open quotation mark"),
        pytest.param(("command",), " ", ("command",), "empty", id="empty command"),
        pytest.param(("command",), DELETE, ("command",), "missing", id="no command"),
        pytest.param(
            ("environment",),
            "azureml:sklearn@latest",
            ("environment",),
            "workspace only",
            id="registered environment",
        ),
        pytest.param(
            ("environment", "conda_file"),
            DELETE,
            ("environment", "conda_file"),
            "missing",
            id="no conda file",
        ),
        pytest.param(
            ("environment_variables", "N"),
            1,
            ("environment_variables", "N"),
            "not text",
            id="variable that is no text",
        ),
        pytest.param(("comand",), "x", ("comand",), "unknown key", id="misspelt key"),
        pytest.param(("type",), "pipeline", ("type",), "command", id="other kind of component"),
    ],
)
def test_a_wrong_component_is_refused_at_its_key(
    path: tuple[str, ...], value: object, key: tuple[str, ...], says: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_component(changed(FIT, path, value))
    assert caught.value.key == key
    assert says in caught.value.problem


def test_components_of_a_workspace_are_refused_because_nobody_else_has_them() -> None:
    with pytest.raises(DefinitionError, match="workspace only"):
        component_paths({"jobs": {"fit": {"component": "azureml:fit:1"}}})


@pytest.mark.parametrize(
    ("command", "values", "argv"),
    [
        pytest.param(
            FIT["command"],
            {"rows": "/a b", "rate": "0.1"},
            ("python", "fit.py", "/a b", "--rate", "0.1", "/out/model"),
            id="a path with a blank stays one argument, the optional group without value goes",
        ),
        pytest.param(
            FIT["command"],
            {"rows": "/r", "rate": "0.1", "note": "it's; $HOME"},
            ("python", "fit.py", "/r", "--rate", "0.1", "--note", "it's; $HOME", "/out/model"),
            id="the group with value stays, and the value means nothing to a shell",
        ),
        pytest.param(
            "python x --in=${{ inputs.rows }}",
            {"rows": "/r"},
            ("python", "x", "--in=/r"),
            id="blanks inside a reference do not matter",
        ),
        pytest.param(
            "ls ${{inputs.rows}} > ${{outputs.report}} && echo $HOME",
            {"rows": "/a b"},
            ("/bin/bash", "-c", "ls '/a b' > /out/report && echo $HOME"),
            id="signs of the shell bring the shell, with quoted values",
        ),
    ],
)
def test_a_command_is_filled_in(command: str, values: dict[str, str], argv: tuple[str, ...]) -> None:
    component = parse_component({**FIT, "command": command})
    assert render_command(component, values, {"model": "/out/model", "report": "/out/report"}) == argv


def test_overrides_are_read_by_the_type_of_their_input() -> None:
    values = bind_inputs(parse(PIPELINE), {"rate": "2", "raw": "/else"})
    assert values == {"raw": "/else", "rate": 2.0, "title": "demo"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        pytest.param({"rates": "1"}, "did you mean `rate`", id="unknown name"),
        pytest.param({"rate": "fast"}, "no number", id="other type"),
        pytest.param({"title": "AccountKey=c2VjcmV0c2VjcmV0"}, "`title` holds a secret", id="a secret"),
    ],
)
def test_a_wrong_override_is_refused(overrides: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bind_inputs(parse(PIPELINE), overrides)


def test_a_conda_file_gives_its_python_and_its_pip_requirements_in_one_order() -> None:
    document = {
        "name": "x",
        "channels": ["conda-forge"],
        "dependencies": ["python=3.11", "pip>=23", {"pip": ["pandas==3.1.1", "numpy"]}],
    }
    assert parse_conda(document) == ("3.11", ("numpy", "pandas==3.1.1"))


@pytest.mark.parametrize(
    ("dependencies", "key", "says"),
    [
        pytest.param(["numpy=2"], ("dependencies", 0), "not a pip package", id="conda package"),
        pytest.param(["python>=3.9"], ("dependencies", 0), "cannot read", id="open python version"),
        pytest.param(
            [{"pip": ["-r more.txt"]}], ("dependencies", 0, "pip", 0), "not a package", id="pip option"
        ),
        pytest.param("python", ("dependencies",), "not a list", id="no list"),
    ],
)
def test_a_conda_file_that_pip_cannot_satisfy_is_refused(
    dependencies: Any, key: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        parse_conda({"dependencies": dependencies})
    assert caught.value.key == key


def test_a_registration_names_model_version_and_run() -> None:
    document = {"name": "taxi", "version": 3, "run_id": "abc"}
    assert parse_registration(document) == Registration("taxi", "3", "abc")
    with pytest.raises(ValueError, match="run_id"):
        parse_registration({"name": "taxi", "version": "3"})
