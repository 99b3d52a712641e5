"""Deployment template and Azure DevOps YAML of an accelerator project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeferry.domain.accelerator_devops import read_pipelines
from edgeferry.domain.accelerator_edge import Template, read_template

REFERENCE = (
    Path(__file__).parents[3] / "shared/reference/fixtures/reference-accelerator/deployment.template.json"
)
MODEL = "properties.desired.modules.${ML_MODEL_DOCKER_IMAGE_NAME}"


def read(agent: dict[str, Any], **others: Any) -> Template:
    document = {"modulesContent": {"$edgeAgent": agent, **others}}
    return read_template(document, "edge/deployment.template.json", lambda at: 9)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("properties.desired.runtime.settings.registryCredentials.acr", "registry.pull_username"),
        (MODEL, ""),
        ("properties.desired.modules.${SMOKE_TEST_DOCKER_NAME}", ""),
        ("properties.desired.modules.camera", "deployments/extra.json"),
    ],
)
def test_each_part_of_the_template_has_a_place_or_is_gone(path: str, place: str) -> None:
    made = read({path: {"settings": {"image": "x"}}})
    assert made.placed[0].place.startswith(place)
    assert bool(made.extra) == (place == "deployments/extra.json")


def test_modules_and_routes_of_the_teams_own_are_kept_with_what_is_to_be_filled_in() -> None:
    made = read(
        {"properties.desired.modules.camera": {"settings": {"image": "${CAMERA_IMAGE}"}}},
        **{"$edgeHub": {"properties.desired.routes.up": "FROM /messages/* INTO $upstream"}},
    )
    assert set(made.extra) == {"$edgeAgent", "$edgeHub"}
    (edit,) = made.edits
    assert "fill in CAMERA_IMAGE in deployments/extra.json" in edit.fix
    assert "edgeferry deployments create extra --modules deployments/extra.json --condition '*'" in edit.fix


def test_the_models_environment_is_kept_and_what_it_asks_of_the_device_is_told() -> None:
    options = {"HostConfig": {"Devices": [{"PathOnHost": "/dev/video0"}], "PortBindings": {}}}
    settings = {"image": "x", "createOptions": json.dumps(options)}
    made = read({MODEL: {"settings": settings, "env": {"A": {"value": "1"}, "B": {"value": "${B}"}}}})
    assert made.environment == {"A": "1"}
    assert ["Devices" in edit.problem for edit in made.edits] == [True]


@pytest.mark.parametrize("content", [None, [], {"$edgeAgent": None}, {"$edgeAgent": {MODEL: 7}}])
def test_a_template_of_another_shape_is_read_as_far_as_it_goes(content: Any) -> None:
    assert read_template({"modulesContent": content}, "t.json", lambda at: 1).extra == {}


def test_nothing_of_the_references_template_is_left_to_do() -> None:
    if not REFERENCE.is_file():
        pytest.skip("the reference's template is not here: ../shared/reference")
    made = read_template(json.loads(REFERENCE.read_text()), "edge/deployment.template.json", lambda at: 1)
    assert (made.extra, made.edits) == ({}, [])


YAML = """\
variables:
  - name: IOTHUB_NAME
  - name: LINE_SPEED
  - group: cabs
steps:
  - task: AzureCLI@2
    inputs:
      azureSubscription: cabs_connection  # ours
  - task: AzureCLI@2
    inputs:
      azureSubscription: $(AZURE_RM_SVC_CONNECTION)
      inlineScript: |
        docker build --build-arg model_file_name="fare.pkl" --build-arg score_file=$(SCORE_FILE_NAME) .
        az iot edge deployment create --priority 7
"""


def test_names_in_the_pipelines_are_carried_or_named() -> None:
    found = read_pipelines({"devops/pipeline/ci.yml": YAML})
    assert found.connections == ["cabs_connection"]
    assert found.arguments == {"model_file_name": "fare.pkl"}
    where = {each.what: (each.place, each.origin.line) for each in found.placed}
    assert where["variable IOTHUB_NAME"] == ("", 2)
    assert where["variable LINE_SPEED"] == (".azure-pipelines/", 3)
    assert where["azureSubscription"] == ("environments/ENV.toml: ci.service_connection", 8)
    assert where["deployment priority"] == ("", 14)
