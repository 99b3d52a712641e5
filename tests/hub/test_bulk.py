"""Many identities in one request."""

import pytest

from tests.hub.clients import MqttClient, key_of


def keys_of(service, device, module=None):
    path = f"/devices/{device}/modules/{module}" if module else f"/devices/{device}"
    symmetric = service.done("GET", path)["authentication"]["symmetricKey"]
    return symmetric["primaryKey"], symmetric["secondaryKey"]


def test_a_hundred_devices_are_created_and_deleted_at_once(service):
    names = [f"hundred-{number}" for number in range(100)]
    made = service.done("POST", "/devices", [{"id": name, "importMode": "create"} for name in names])
    assert made == {"isSuccessful": True, "errors": [], "warnings": []}
    assert {one["deviceId"] for one in service.done("GET", "/devices")} >= set(names)
    service.done("POST", "/devices", [{"id": name, "importMode": "delete"} for name in names])
    assert not {one["deviceId"] for one in service.done("GET", "/devices")} & set(names)


def test_a_device_that_is_there_twice_is_taken_once(service):
    name = service.new_device()["deviceId"]
    entries = [
        {"id": name, "importMode": "update", "status": "disabled"},
        {"id": name, "importMode": "update", "status": "enabled"},
        {"id": name, "moduleId": "m", "importMode": "create"},
    ]
    response = service.ask("POST", "/devices", entries)
    assert response.status_code == 400
    assert [error["errorCode"] for error in response.json()["errors"]] == [400011]
    assert service.done("GET", f"/devices/{name}")["status"] == "disabled"
    assert service.done("GET", f"/devices/{name}/modules/m")["moduleId"] == "m"


def test_null_members_are_absent(service):
    name = service.new_device(edge=False, tags={"a": 1})["deviceId"]
    before = keys_of(service, name)
    entry = dict.fromkeys(
        ("moduleId", "importMode", "eTag", "status", "authentication", "tags", "properties", "parentScopes")
    )
    service.done("POST", "/devices", [{"id": name, **entry}])
    assert keys_of(service, name) == before
    assert service.done("GET", f"/twins/{name}")["tags"] == {"a": 1}


def test_an_edge_device_in_bulk_gets_its_system_modules_and_its_deployment(service):
    content = {"$edgeAgent": {"properties.desired": {"modules": {"m": {}}}}}
    service.deploy("for-bulk", "tags.bulk = 'yes'", content)
    entry = {"id": "bulk-edge", "capabilities": {"iotEdge": True}, "tags": {"bulk": "yes"}}
    service.done("POST", "/devices", [entry])
    names = [one["moduleId"] for one in service.done("GET", "/devices/bulk-edge/modules")]
    assert names == ["$edgeAgent", "$edgeHub", "m"]


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        pytest.param("text", "id is missing", id="no object"),
        pytest.param({"id": 5}, "id is missing", id="an id that is no text"),
        pytest.param({"id": "x", "moduleId": 5}, "moduleId", id="a module id that is no text"),
        pytest.param({"id": "x", "importMode": ["create"]}, "importMode", id="a mode that is no text"),
        pytest.param({"id": "a/b"}, "cannot be a device id", id="an id with a slash"),
        pytest.param({"id": "x", "importMode": "updateTwinIfMatchETag"}, "twinETag", id="no etag"),
        pytest.param({"id": "x", "status": "asleep"}, "asleep", id="a status that is none"),
    ],
)
def test_an_entry_that_cannot_be_is_an_error_of_that_entry(service, entry, part):
    response = service.ask("POST", "/devices", [entry])
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["errorCode"] == 400004
    assert part in error["errorStatus"]


@pytest.mark.parametrize(
    ("policy_key", "changed"),
    [("primaryKey", (True, False)), ("SecondaryKey", (False, True)), ("both", (True, True))],
)
def test_only_the_named_keys_are_renewed(service, policy_key, changed):
    name = service.new_device()["deviceId"]
    service.new_module(name)
    before = {module: keys_of(service, name, module) for module in (None, "m", "$edgeAgent")}
    body = {"policyKey": policy_key, "devices": [{"id": name}, {"id": name, "moduleId": "m"}]}
    said = service.done("POST", "/devices/keys/regenerate", body)
    for module, rotated in zip((None, "m"), said["rotatedKeys"], strict=True):
        after = keys_of(service, name, module)
        assert (rotated["primaryKey"], rotated["secondaryKey"]) == after
        assert tuple(new != old for new, old in zip(after, before[module], strict=True)) == changed
    assert keys_of(service, name, "$edgeAgent") == before["$edgeAgent"]


def test_who_is_connected_by_a_renewed_key_is_disconnected(hub, service):
    device = service.new_device(edge=False)
    name = device["deviceId"]
    with MqttClient(hub, name, None, key_of(device)) as client:
        service.done("POST", "/devices/keys/regenerate", {"policyKey": "both", "devices": [{"id": name}]})
        client.wait_for("disconnect")
