"""The content of a deployment applied to one device."""

import json

import pytest

from tests.hub.clients import MqttClient, key_of

DESIRED = {"schemaVersion": "1.1", "modules": {"a": {"settings": {"image": "a:1"}}, "b": {}}}
CONTENT = {
    "$edgeAgent": {"properties.desired": DESIRED},
    "$edgeHub": {"properties.desired": {"routes": {}}},
    "a": {"properties.desired": {"fps": 30}},
}


def apply(service, device, modules):
    return service.ask("POST", f"/devices/{device}/applyConfigurationContent", {"modulesContent": modules})


def module_names(service, device):
    return [one["moduleId"] for one in service.done("GET", f"/devices/{device}/modules")]


def values_of(service, device, module):
    desired = service.desired(device, module)
    return {name: value for name, value in desired.items() if not name.startswith("$")}


def test_modules_have_just_the_contents_properties(service):
    name = service.new_device()["deviceId"]
    service.new_module(name, "a")
    service.done("PATCH", f"/twins/{name}/modules/a", {"properties": {"desired": {"old": 1}}})
    assert apply(service, name, CONTENT).status_code == 204
    assert module_names(service, name) == ["$edgeAgent", "$edgeHub", "a", "b"]
    assert values_of(service, name, "$edgeAgent") == DESIRED
    assert values_of(service, name, "a") == {"fps": 30}
    assert service.done("GET", f"/devices/{name}/modules/b")["managedBy"] == "IotEdge"


def test_modules_that_are_no_longer_listed_go_unless_somebody_made_them(service):
    name = service.new_device()["deviceId"]
    service.new_module(name, "mine")
    apply(service, name, CONTENT)
    apply(service, name, {"$edgeAgent": {"properties.desired": {"modules": {"b": {}}}}})
    assert module_names(service, name) == ["$edgeAgent", "$edgeHub", "b", "mine"]
    assert values_of(service, name, "$edgeHub") == {"routes": {}}, "what is not named stays"


def test_a_path_sets_only_what_is_there(service):
    name = service.new_device()["deviceId"]
    apply(service, name, CONTENT)
    assert apply(service, name, {"$edgeAgent": {"properties.desired.modules.c": {}}}).status_code == 204
    assert values_of(service, name, "$edgeAgent")["modules"] == {**DESIRED["modules"], "c": {}}
    assert module_names(service, name)[2:] == ["a", "b", "c"]


def test_the_same_content_again_is_no_new_version(service):
    name = service.new_device()["deviceId"]
    apply(service, name, CONTENT)
    version = service.desired(name, "$edgeAgent")["$version"]
    apply(service, name, CONTENT)
    assert service.desired(name, "$edgeAgent")["$version"] == version


def test_a_deployment_that_targets_the_device_has_the_last_word(service):
    name = service.new_device()["deviceId"]
    base = {"$edgeAgent": {"properties.desired": {"modules": {"deployed": {}}}}}
    service.deploy(f"base-{name}", f"deviceId = '{name}'", base)
    assert apply(service, name, CONTENT).status_code == 204
    assert module_names(service, name) == ["$edgeAgent", "$edgeHub", "deployed"]


def test_a_connected_module_is_told(hub, service):
    name = service.new_device()["deviceId"]
    agent = service.done("GET", f"/devices/{name}/modules/$edgeAgent")
    with MqttClient(hub, name, "$edgeAgent", key_of(agent)) as client:
        client.subscribe("$iothub/twin/PATCH/properties/desired/#")
        apply(service, name, CONTENT)
        assert json.loads(client.message()[1]) == {**DESIRED, "$version": 2}


@pytest.mark.parametrize(
    ("modules", "part"),
    [
        pytest.param({"a": {"properties.desired": {}}}, "$edgeAgent is missing", id="no agent anywhere"),
        pytest.param({}, "at least one module", id="nothing"),
        pytest.param(None, "must be an object", id="null"),
        pytest.param({"$edgeAgent": {"properties.tags": {}}}, "properties.tags", id="another key"),
        pytest.param({"$edgeAgent": {"properties.desired": {"a b": 1}}}, "a b", id="a name that cannot be"),
        pytest.param(
            {"$edgeAgent": {"properties.desired": {"modules": {f"m{n}": {} for n in range(49)}}}},
            "at most 48",
            id="too many modules",
        ),
    ],
)
def test_content_that_cannot_be_applied_changes_nothing(service, modules, part):
    name = service.new_device()["deviceId"]
    refused = apply(service, name, modules)
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (400, "InvalidConfigurationContent")
    assert part in refused.json()["Message"]
    assert service.desired(name, "$edgeAgent")["$version"] == 1
    assert module_names(service, name) == ["$edgeAgent", "$edgeHub"]
