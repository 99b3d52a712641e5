"""Deployments for IoT Edge at the hub: ours, and the reference accelerator's template as it is."""

import json
import re

import pytest

from edgeferry.wire.edge import parse_desired
from tests.hub.clients import MqttClient, key_of
from tests.iot_edge import IOT_EDGE, RUNTIMES, content, documents, fill_template


@pytest.fixture
def device(service):
    """A device of its own, and the condition that picks it alone."""
    name = service.new_device()["deviceId"]
    yield name, f"deviceId = '{name}'"
    for one in service.done("GET", "/configurations"):
        service.done("DELETE", f"/configurations/{one['id']}", headers={"If-Match": "*"})


def put(service, document):
    return service.done("PUT", f"/configurations/{document['id']}", document)


def plain(desired):
    """Desired properties without what the hub adds."""
    text = json.dumps({key: value for key, value in desired.items() if not key.startswith("$")})
    return json.loads(re.sub(r', "configuration": \{"id": "[^"]*"\}', "", text))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_everything_we_render_is_taken_and_merged(service, device, runtime):
    name, condition = device
    rendered = documents(runtime, condition)
    for document in rendered.values():
        made = put(service, document)
        assert made["systemMetrics"]["results"]["appliedCount"] == 1, document["id"]
        assert made["content"]["modulesContent"] == content(document)
    desired = service.desired(name, "$edgeAgent")
    base = content(rendered["base"])["$edgeAgent"]["properties.desired"]
    modules = {
        kind: content(rendered[document])["$edgeAgent"][f"properties.desired.modules.{kind}"]
        for kind, document in (("companion", "companion"), ("nyc_taxi", "layer"))
    }
    runtime_part = base["runtime"]
    if runtime is IOT_EDGE:
        [login] = content(rendered["pull"])["$edgeAgent"].values()
        credentials = {"registryCredentials": {"taxi_azurecr_io": login}}
        runtime_part = {**base["runtime"], "settings": {**base["runtime"]["settings"], **credentials}}
    assert plain(desired) == {**base, "runtime": runtime_part, "modules": modules}
    assert (
        plain(service.desired(name, "$edgeHub"))
        == content(rendered["base"])["$edgeHub"]["properties.desired"]
    )
    assert set(service.desired(name, "companion")["models"]) == {"nyc_taxi"}


def test_the_metric_of_a_models_layer_counts_devices_that_have_proven_it(service, hub, device):
    name, condition = device
    rendered = documents(IOT_EDGE, condition)
    for document in rendered.values():
        made = put(service, document)
    assert made["metrics"]["results"] == {"proven": 0}
    key = key_of(service.done("GET", f"/devices/{name}/modules/companion"))
    with MqttClient(hub, name, "companion", key) as companion:
        companion.subscribe("$iothub/twin/res/#")
        for nonce, count in (("another", 0), ("n1", 1)):
            verdict = {"state": "Passed", "nonce": nonce}
            assert companion.report({"verdicts": {"nyc_taxi": verdict}}).status == 204
            shown = service.done("GET", f"/configurations/{rendered['layer']['id']}")
            assert shown["metrics"]["results"] == {"proven": count}


def test_the_references_template_goes_over_a_base_unchanged(service, device):
    name, condition = device
    template = fill_template()
    put(service, documents(IOT_EDGE, condition)["base"])
    body = {"id": "nyc", "content": template, "targetCondition": condition, "priority": 10}
    made = put(service, body)
    assert made["systemMetrics"]["results"]["appliedCount"] == 1
    desired = service.desired(name, "$edgeAgent")
    given = template["modulesContent"]["$edgeAgent"]
    credentials = "properties.desired.runtime.settings.registryCredentials"
    assert desired["runtime"]["settings"]["registryCredentials"] == {
        "researchmlops": given[f"{credentials}.researchmlops"]
    }
    for module in ("nyc_taxi", "testmodule"):
        entry = given[f"properties.desired.modules.{module}"]
        assert desired["modules"][module] == {**entry, "configuration": {"id": "nyc"}}
    manifest = parse_desired(desired)
    assert manifest.registries[0].address == "researchmlops.azurecr.io"
    host = manifest.modules["nyc_taxi"].create_options["HostConfig"]
    assert host["PortBindings"]["5001/tcp"] == [{"HostPort": "5001"}]
    assert manifest.modules["testmodule"].create_options["HostConfig"] == {"NetworkMode": "host"}


def test_a_login_named_with_dots_is_split_at_them_as_every_key_is(service, device):
    name, condition = device
    put(service, documents(IOT_EDGE, condition)["base"])
    template = fill_template(CONTAINER_REGISTRY_NAME="researchmlops.azurecr.io")
    put(service, {"id": "dotted", "content": template, "targetCondition": condition, "priority": 10})
    settings = service.desired(name, "$edgeAgent")["runtime"]["settings"]
    assert list(settings["registryCredentials"]["researchmlops"]["azurecr"]) == ["io"]
