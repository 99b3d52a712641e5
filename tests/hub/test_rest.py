import time

import pytest

from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, key_of

BASE = {"$edgeAgent": {"properties.desired": {"modules": {}, "systemModules": {}}}}


def test_health_needs_no_credential(hub, service):
    response = service.http.get(f"https://{hub.host_name}/health")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ok", "live": True, "ready": True},
    )


def test_who_asks_is_settled_before_what_is_asked(service):
    assert service.ask("GET", "/devices/none", token="", version=None).status_code == 401
    missing = service.ask("GET", "/devices/none", version=None)
    assert (missing.status_code, missing.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")


def test_an_edge_device_comes_with_its_system_modules_and_keys(service):
    device = service.new_device()
    name = device["deviceId"]
    assert device["deviceScope"].startswith(f"ms-azure-iot-edge://{name}-")
    modules = service.done("GET", f"/devices/{name}/modules")
    assert [module["moduleId"] for module in modules] == ["$edgeAgent", "$edgeHub"]
    assert len({key_of(device), *map(key_of, modules)}) == 3


def test_put_without_if_match_only_creates_and_with_it_only_updates(service):
    device = service.new_device()
    path, body = f"/devices/{device['deviceId']}", {"status": "disabled"}
    again = service.ask("PUT", path, body)
    assert (again.status_code, again.headers["iothub-errorcode"]) == (409, "DeviceAlreadyExists")
    assert service.ask("PUT", "/devices/absent", body, headers={"If-Match": '"*"'}).status_code == 404
    assert service.ask("PUT", path, body, headers={"If-Match": '"Nw=="'}).status_code == 412
    for header in ('"*"', "*", '"Mw=="'):
        updated = service.ask("PUT", path, body, headers={"If-Match": header})
        assert updated.status_code == 200, header
    assert key_of(updated.json()) == key_of(device), "an update without keys keeps them"
    assert updated.json()["etag"] == "NA=="
    assert updated.headers["etag"] == '"NA=="'


def test_a_deleted_device_is_gone_with_its_modules(service):
    name = service.new_device()["deviceId"]
    assert service.ask("DELETE", f"/devices/{name}", headers={"If-Match": '"*"'}).status_code == 204
    gone = service.ask("GET", f"/devices/{name}/modules/$edgeAgent")
    assert (gone.status_code, gone.headers["iothub-errorcode"]) == (404, "DeviceNotFound")
    assert gone.json()["Message"].startswith("ErrorCode:DeviceNotFound;")


def test_system_modules_cannot_be_deleted(service):
    name = service.new_device()["deviceId"]
    refused = service.ask("DELETE", f"/devices/{name}/modules/$edgeAgent")
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (
        401,
        "SystemModuleModifyUnauthorizedAccess",
    )


def test_a_device_reaches_its_own_identity_and_modules_and_nothing_else(hub, service):
    own, other = service.new_device(), service.new_device()
    name, foreign = own["deviceId"], other["deviceId"]
    token = render_sas(f"{hub.host_name}/devices/{name}", key_of(own), int(time.time()) + 60)

    def status(method, path, body=None):
        return service.ask(method, path, body, token=token).status_code

    assert status("GET", f"/devices/{name}") == 200
    assert status("GET", f"/devices/{name}/modules") == 200
    assert status("PUT", f"/devices/{name}/modules/m", {}) == 200
    assert status("GET", f"/devices/{name}/modules/m") == 200
    assert status("DELETE", f"/devices/{name}/modules/m") == 204
    for method, path, body in [
        ("PUT", f"/devices/{name}", {}),
        ("DELETE", f"/devices/{name}", None),
        ("GET", f"/twins/{name}", None),
        ("PATCH", f"/twins/{name}", {"tags": {"env": "prod"}}),
        ("GET", f"/devices/{foreign}", None),
        ("GET", f"/devices/{foreign}/modules", None),
        ("PUT", f"/devices/{foreign}/modules/m", {}),
        ("POST", f"/twins/{name}/methods", {"methodName": "x"}),
        ("POST", "/devices/query", {"query": "select * from devices"}),
        ("GET", "/devices", None),
        ("GET", "/configurations", None),
        ("PUT", "/configurations/x", {}),
        ("GET", "/statistics/devices", None),
    ]:
        assert status(method, path, body) == 401, (method, path)


def test_a_module_reaches_nothing_over_rest(hub, service):
    name = service.new_device()["deviceId"]
    module = service.new_module(name)
    token = render_sas(f"{hub.host_name}/devices/{name}/modules/m", key_of(module), int(time.time()) + 60)
    for path in (f"/devices/{name}", f"/devices/{name}/modules/m", f"/devices/{name}/modules"):
        assert service.ask("GET", path, token=token).status_code == 401, path


def test_signatures_that_do_not_count_are_refused(hub, service):
    device = service.new_device()
    name, soon = device["deviceId"], int(time.time()) + 60
    owner = service.policy_key()
    for why, token in {
        "expired": render_sas(hub.host_name, owner, int(time.time()) - 400, "iothubowner"),
        "another policy's key": render_sas(hub.host_name, service.policy_key("device"), soon, "iothubowner"),
        "unknown policy": render_sas(hub.host_name, owner, soon, "root"),
        "another resource": render_sas(f"{hub.host_name}/devices/x", owner, soon, "iothubowner"),
        "a device's key for the hub": render_sas(hub.host_name, key_of(device), soon),
        "an Azure AD token": "Bearer abc",
    }.items():
        refused = service.ask("GET", f"/devices/{name}", token=token)
        assert (refused.status_code, refused.headers["iothub-errorcode"]) == (
            401,
            "IotHubUnauthorizedAccess",
        ), why


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("registryRead", {"GET /devices"}),
        ("registryReadWrite", {"GET /devices", "PUT /devices"}),
        ("service", {"GET /twins"}),
        ("device", set()),
        ("iothubowner", {"GET /devices", "PUT /devices", "GET /twins"}),
    ],
)
def test_each_policy_has_its_rights_and_no_others(service, policy, allowed):
    device = service.new_device()["deviceId"]
    token = service.token(policy)
    statuses = {
        "GET /devices": service.ask("GET", f"/devices/{device}", token=token).status_code,
        "PUT /devices": service.ask(
            "PUT", f"/devices/{device}", {}, token=token, headers={"If-Match": "*"}
        ).status_code,
        "GET /twins": service.ask("GET", f"/twins/{device}", token=token).status_code,
    }
    assert {what for what, status in statuses.items() if status == 200} == allowed
    assert set(statuses.values()) <= {200, 401}


def test_a_twin_patch_merges_and_a_put_replaces(service):
    name = service.new_device(edge=False)["deviceId"]
    patch = {"tags": {"a": 1, "b": {"c": 2}}, "properties": {"desired": {"x": {"y": 1}, "z": [1]}}}
    service.done("PATCH", f"/twins/{name}", patch)
    twin = service.done(
        "PATCH",
        f"/twins/{name}",
        {
            "tags": {"a": None},
            "properties": {"desired": {"x": {"w": 2}, "$version": 99}, "reported": {"q": 1}},
        },
    )
    assert twin["tags"] == {"b": {"c": 2}}
    desired = twin["properties"]["desired"]
    assert (desired["x"], desired["z"], desired["$version"]) == ({"y": 1, "w": 2}, [1], 3)
    assert "q" not in twin["properties"]["reported"]
    meta = desired["$metadata"]
    assert (meta["z"]["$lastUpdatedVersion"], meta["x"]["$lastUpdatedVersion"]) == (2, 3)
    twin = service.done("PUT", f"/twins/{name}", {"tags": {}, "properties": {"desired": {"only": True}}})
    assert (twin["tags"], twin["properties"]["desired"]["only"]) == ({}, True)
    assert "x" not in twin["properties"]["desired"]
    stale = service.ask("PATCH", f"/twins/{name}", {"tags": {}}, headers={"If-Match": '"MQ=="'})
    assert stale.status_code == 412


@pytest.mark.parametrize(
    ("body", "part"),
    [
        pytest.param(b"{", "not JSON", id="half a document"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b'{"tags": {"a": NaN}}', "not JSON", id="NaN"),
        pytest.param(b'{"tags": {"a": "\\ud800"}}', "not JSON", id="broken text"),
        pytest.param(b'{"tags": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "", id="very deep"),
        pytest.param(b'{"tags": 5}', "tags is not an object", id="tags of another kind"),
        pytest.param(b'{"tags": {"a b": 1}}', "'a b'", id="a name with a space"),
        pytest.param(b'{"tags": {"a": "%s"}}' % (b"x" * 5000), "4096", id="a text too long"),
        pytest.param(b'{"tags": {"a": 99999999999999999}}', "beyond", id="an integer too large"),
    ],
)
def test_a_twin_the_hub_cannot_keep_is_refused_with_the_reason(hub, service, body, part):
    name = service.new_device(edge=False)["deviceId"]
    response = service.http.patch(
        f"https://{hub.host_name}/twins/{name}?api-version=2021-04-12",
        content=body,
        headers={"Authorization": service.token()},
    )
    assert response.status_code == 400
    assert part in response.json()["Message"]


def test_a_body_without_end_is_cut_off(hub, service):
    response = service.http.patch(
        f"https://{hub.host_name}/twins/x?api-version=2021-04-12",
        content=b" " * (1024 * 1024 + 1),
        headers={"Authorization": service.token()},
    )
    assert response.status_code == 413


def test_a_query_is_answered_in_pages_and_the_last_has_no_continuation(service):
    line = service.new_device()["deviceId"]
    names = sorted(service.new_device(tags={"line": line})["deviceId"] for _ in range(3))
    query = {"query": f"SELECT DeviceId, tags.line AS l FROM devices WHERE tags.line = '{line}'"}
    first = service.ask("POST", "/devices/query", query, headers={"x-ms-max-item-count": "2"})
    assert first.headers["x-ms-item-type"] == "Raw"
    more = {"x-ms-max-item-count": "2", "x-ms-continuation": first.headers["x-ms-continuation"]}
    second = service.ask("POST", "/devices/query", query, headers=more)
    assert "x-ms-continuation" not in second.headers
    rows = [*first.json(), *second.json()]
    assert rows == [{"deviceId": name, "l": line} for name in names]


def test_top_ends_a_query_whatever_the_pages(service):
    line = service.new_device()["deviceId"]
    names = sorted(service.new_device(tags={"line": line})["deviceId"] for _ in range(4))
    query = {"query": f"SELECT TOP 3 deviceId FROM devices WHERE tags.line = '{line}'"}
    first = service.ask("POST", "/devices/query", query, headers={"x-ms-max-item-count": "2"})
    more = {"x-ms-max-item-count": "2", "x-ms-continuation": first.headers["x-ms-continuation"]}
    second = service.ask("POST", "/devices/query", query, headers=more)
    assert "x-ms-continuation" not in second.headers
    assert [row["deviceId"] for row in first.json() + second.json()] == names[:3]


def test_an_aggregate_query_counts_by_groups(service):
    line = service.new_device()["deviceId"]
    for slot in (1, 1, 2):
        service.new_device(tags={"line": line, "slot": slot})
    text = f"SELECT tags.slot, COUNT() AS n FROM devices WHERE tags.line = '{line}' GROUP BY tags.slot"
    answer = service.ask("POST", "/devices/query", {"query": text})
    assert answer.headers["x-ms-item-type"] == "Raw"
    assert sorted(answer.json(), key=lambda row: row["slot"]) == [{"slot": 1, "n": 2}, {"slot": 2, "n": 1}]


def test_a_query_nobody_can_read_says_the_column(service):
    response = service.ask("POST", "/devices/query", {"query": "select * from devices where tags.a =="})
    assert response.status_code == 400
    assert "column 37" in response.json()["Message"]


def test_a_layered_deployment_arrives_in_the_twin_and_goes_when_the_tag_goes(service):
    line = service.new_device()["deviceId"]
    name = service.new_device(tags={"line": line})["deviceId"]
    condition = f"tags.line = '{line}'"
    service.deploy(f"base-{line}", f"deviceId = '{name}'", BASE)
    service.deploy(
        f"layer-{line}",
        condition,
        {
            "$edgeAgent": {"properties.desired.modules.m": {"settings": {"image": "i@sha256:1"}}},
            "m": {"properties.desired.models.taxi": {"nonce": "n1"}},
        },
        priority=10,
    )
    agent = service.desired(name, "$edgeAgent")
    assert agent["modules"]["m"] == {
        "settings": {"image": "i@sha256:1"},
        "configuration": {"id": f"layer-{line}"},
    }
    assert service.desired(name, "m")["models"] == {"taxi": {"nonce": "n1"}}
    twin = service.done("GET", f"/twins/{name}/modules/$edgeAgent")
    assert twin["configurations"] == {
        f"base-{line}": {"status": "Applied"},
        f"layer-{line}": {"status": "Applied"},
    }
    brought_by = agent["$metadata"]["modules"]["m"]["$lastUpdatedVersion"]
    service.deploy(
        f"other-{line}",
        condition,
        {"$edgeAgent": {"properties.desired.modules.n": {"settings": {"image": "j"}}}},
        priority=11,
    )
    agent = service.desired(name, "$edgeAgent")
    assert agent["$version"] == brought_by + 1
    assert agent["$metadata"]["modules"]["m"]["$lastUpdatedVersion"] == brought_by
    assert agent["$metadata"]["modules"]["n"]["$lastUpdatedVersion"] == brought_by + 1

    service.done("PATCH", f"/twins/{name}", {"tags": {"unrelated": 1}})
    assert service.desired(name, "$edgeAgent") == agent, "a pass that changes nothing bumps nothing"

    service.done("PATCH", f"/twins/{name}", {"tags": {"line": None}})
    assert service.desired(name, "$edgeAgent")["modules"] == {}
    assert service.ask("GET", f"/devices/{name}/modules/m").status_code == 404

    service.done("DELETE", f"/configurations/base-{line}")
    kept = service.done("GET", f"/twins/{name}/modules/$edgeAgent")
    assert (kept["properties"]["desired"]["modules"], kept["configurations"]) == ({}, {})


def test_a_layer_without_a_base_stays_targeted_and_changes_nothing(service):
    name = service.new_device()["deviceId"]
    layer = {"$edgeAgent": {"properties.desired.modules.m": {"settings": {"image": "i"}}}}
    shown = service.deploy(f"layer-{name}", f"deviceId = '{name}'", layer, priority=5)
    assert shown["systemMetrics"]["results"]["targetedCount"] == 1
    assert shown["systemMetrics"]["results"]["appliedCount"] == 0
    twin = service.done("GET", f"/twins/{name}/modules/$edgeAgent")
    assert twin["configurations"] == {f"layer-{name}": {"status": "Targeted"}}
    assert "modules" not in twin["properties"]["desired"]


def test_what_a_removed_layer_gave_a_staying_module_is_taken_back(service):
    name = service.new_device()["deviceId"]
    condition = f"deviceId = '{name}'"
    base = {"$edgeAgent": {"properties.desired": {"modules": {"companion": {"type": "docker"}}}}}
    service.deploy(f"base-{name}", condition, base)
    service.deploy(f"layer-{name}", condition, {"companion": {"properties.desired.models.taxi": 1}}, 5)
    assert service.desired(name, "companion")["models"] == {"taxi": 1}
    service.done("DELETE", f"/configurations/layer-{name}")
    assert "models" not in service.desired(name, "companion")


def test_deployments_that_together_ask_too_much_leave_the_device_as_it_was(hub, service):
    name = service.new_device()["deviceId"]
    condition = f"deviceId = '{name}'"
    base = {"$edgeAgent": {"properties.desired": {"modules": {"m": {"type": "docker"}}}}}
    half = {f"properties.desired.{{}}{number}": "x" * 4000 for number in range(5)}
    service.deploy(f"base-{name}", condition, base)
    for rank, letter in enumerate("ab"):
        content = {"m": {path.format(letter): text for path, text in half.items()}}
        service.deploy(f"{letter}-{name}", condition, content, priority=rank + 1)
    desired = service.desired(name, "m")
    assert ("a0" in desired, "b0" in desired) == (True, False)
    twin = service.done("GET", f"/twins/{name}/modules/$edgeAgent")
    assert {one["status"] for one in twin["configurations"].values()} == {"Targeted"}
    assert "desired properties of m" in (hub.state / "log").read_text()
    service.done("DELETE", f"/configurations/b-{name}")
    twin = service.done("GET", f"/twins/{name}/modules/$edgeAgent")
    assert {one["status"] for one in twin["configurations"].values()} == {"Applied"}


def test_metrics_of_a_deployment_are_counted_on_read(hub, service):
    name = service.new_device()["deviceId"]
    base = f"base-{name}"
    service.deploy(base, f"deviceId = '{name}'", BASE)
    agent = service.done("GET", f"/devices/{name}/modules/$edgeAgent")

    def results():
        return service.done("GET", f"/configurations/{base}")["systemMetrics"]["results"]

    expected = {
        "targetedCount": 1,
        "appliedCount": 1,
        "reportedSuccessfulCount": 0,
        "reportedFailedCount": 0,
    }
    assert results() == expected
    with MqttClient(hub, name, "$edgeAgent", key_of(agent)) as client:
        version = client.twin()["desired"]["$version"]
        client.report({"lastDesiredVersion": version, "lastDesiredStatus": {"code": 200}})
        assert results() == expected | {"reportedSuccessfulCount": 1}
        client.report({"lastDesiredStatus": {"code": 500}})
        assert results() == expected | {"reportedFailedCount": 1}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"targetCondition": "tags."}, "InvalidConfigurationTargetCondition", id="condition"),
        pytest.param({"content": {"deviceContent": {}}}, "InvalidConfigurationContent", id="ADM"),
        pytest.param(
            {"content": {"modulesContent": {"m": {"properties.tags": 1}}}},
            "InvalidConfigurationContent",
            id="a key outside desired",
        ),
        pytest.param({"priority": -1}, "ArgumentInvalid", id="priority"),
        pytest.param(
            {"metrics": {"queries": {"q": "select count( from devices"}}},
            "InvalidConfigurationCustomMetricsQuery",
            id="metric",
        ),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(service, change, error):
    body = {"targetCondition": "", "content": {"modulesContent": BASE}, **change}
    response = service.ask("PUT", "/configurations/never", body)
    assert (response.status_code, response.headers["iothub-errorcode"]) == (400, error)


def test_the_content_of_a_deployment_cannot_change_but_its_condition_can(service):
    name = service.new_device()["deviceId"]
    shown = service.deploy(f"c-{name}", "", BASE)
    path, match = f"/configurations/c-{name}", {"If-Match": f'"{shown["etag"]}"'}
    changed = {**shown, "content": {"modulesContent": {"$edgeAgent": {"properties.desired": {"x": 1}}}}}
    refused = service.ask("PUT", path, changed, headers=match)
    assert refused.headers["iothub-errorcode"] == "CannotModifyImmutableConfigurationContent"
    moved = service.done("PUT", path, {**shown, "targetCondition": f"deviceId='{name}'"}, headers=match)
    assert moved["systemMetrics"]["results"]["appliedCount"] == 1
    assert service.ask("PUT", path, shown, headers=match).status_code == 412


def test_a_method_nobody_listens_for_is_not_online(service):
    name = service.new_device()["deviceId"]
    response = service.ask("POST", f"/twins/{name}/modules/$edgeAgent/methods", {"methodName": "ping"})
    assert (response.status_code, response.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    assert '"errorCode": 404103' in response.json()["Message"]


def test_statistics_count_devices(service):
    before = service.done("GET", "/statistics/devices")
    service.new_device()
    after = service.done("GET", "/statistics/devices")
    assert after["totalDeviceCount"] == before["totalDeviceCount"] + 1
    assert service.done("GET", "/statistics/service") == {"connectedDeviceCount": 0}


def test_an_unknown_route_is_a_404_in_json(service):
    response = service.ask("GET", "/nothing/here")
    assert response.status_code == 404
    assert "this hub has no GET /nothing/here" in response.json()["Message"]
