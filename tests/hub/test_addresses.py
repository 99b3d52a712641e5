"""What may stand in an address, and who may ask there."""

import time
from urllib.parse import quote

import pytest

from edgeferry.wire.sas import render_sas
from tests.hub.clients import key_of

ODD = "A-.%_*?!(),=@$'z%20%2Fy"


def test_an_id_of_every_allowed_letter_works_everywhere(hub, service):
    path = "/devices/" + quote(ODD, safe="")
    device = service.done("PUT", path, {"deviceId": ODD})
    assert device["deviceId"] == ODD
    assert service.done("GET", path + "/")["deviceId"] == ODD
    service.done("PUT", f"{path}/modules/{quote(ODD, safe='')}", {"moduleId": ODD})
    twin = service.done("PATCH", path.replace("devices", "twins"), {"tags": {"a": 1}})
    assert (twin["deviceId"], twin["tags"]) == (ODD, {"a": 1})
    query = {"query": "SELECT deviceId FROM devices WHERE deviceId = '{}'".format(ODD.replace("'", "''"))}
    assert service.done("POST", "/devices/query", query) == [{"deviceId": ODD}]
    token = render_sas(f"{hub.host_name}/devices/{ODD}", key_of(device), int(time.time()) + 60)
    assert service.ask("GET", path, token=token).status_code == 200
    service.done("DELETE", path)


@pytest.mark.parametrize("name", ["a/b", "a/modules/$edgeAgent", "a/../b"])
def test_a_slash_in_an_id_is_no_way_to_another(service, name):
    service.ask("PUT", "/devices/a", {"capabilities": {"iotEdge": True}})
    refused = service.ask("GET", f"/devices/{quote(name, safe='')}")
    assert refused.status_code in (400, 404)
    assert service.ask("PUT", f"/devices/{quote(name, safe='')}", {}).status_code in (400, 404)


@pytest.mark.parametrize("name", ["query", "keys", "a b", "a+b", "ä", "a:b", "a" * 129, "\x00"])
def test_an_id_that_cannot_be_is_refused(service, name):
    assert service.ask("PUT", f"/devices/{quote(name)}", {}).status_code in (400, 405)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2021-04-12", 200),
        ("2019-10-01", 200),
        ("2021-11-30-preview", 200),
        ("2099-01-01", 200),
        ("", 400),
        (None, 400),
        ("2021", 400),
        ("2021-04-12-beta", 400),
        ("2021-04-12\n", 400),
    ],
)
def test_any_date_is_an_api_version(service, version, status):
    params = {} if version is None else {"api-version": version}
    response = service.http.get(
        f"https://{service.hub.host_name}/devices", params=params, headers={"Authorization": service.token()}
    )
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/devices", "/configurations", "/statistics/devices", "/health"])
def test_a_trailing_slash_changes_nothing(service, path):
    plain, slashed = service.ask("GET", path), service.ask("GET", path + "/")
    assert (slashed.status_code, slashed.json()) == (plain.status_code, plain.json()) == (200, plain.json())
    assert service.ask("GET", path + "//").status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE", "PURGE"])
def test_a_method_that_is_not_there_says_which_are(service, method):
    response = service.ask(method, "/devices/d")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, PUT")
    assert response.headers["content-type"].startswith("application/json")


def test_an_update_with_nulls_is_one_without_those_members(service):
    device = service.new_device()
    path = f"/devices/{device['deviceId']}"
    nulls = dict.fromkeys(
        ("deviceId", "status", "authentication", "capabilities", "deviceScope", "parentScopes", "etag")
    )
    updated = service.done("PUT", path, nulls, headers={"If-Match": "*"})
    assert {**updated, "etag": device["etag"]} == device


def test_a_leaf_that_becomes_an_edge_device_has_a_scope_of_its_own(service):
    parent = service.new_device()
    leaf = service.done("PUT", "/devices/leaf-9", {"deviceScope": parent["deviceScope"]})
    assert (leaf["deviceScope"], leaf["parentScopes"]) == (parent["deviceScope"], [parent["deviceScope"]])
    edge = service.done(
        "PUT", "/devices/leaf-9", {"capabilities": {"iotEdge": True}}, headers={"If-Match": "*"}
    )
    assert edge["deviceScope"].startswith("ms-azure-iot-edge://leaf-9-")
    assert edge["parentScopes"] == [parent["deviceScope"]]
    other = {"deviceScope": parent["deviceScope"]}
    assert (
        service.done("PUT", "/devices/leaf-9", other, headers={"If-Match": "*"})["deviceScope"]
        == (edge["deviceScope"])
    ), "for ever"


def test_a_modules_credential_calls_methods_below_its_own_device_only(hub, service):
    """Whom it may call is told by the answer: 404 (nobody listens) or 401."""
    edge, other = service.new_device(), service.new_device()
    name = edge["deviceId"]
    child, sibling = f"child-of-{name}", f"sibling-of-{name}"
    for leaf in (child, sibling):
        service.done("PUT", f"/devices/{leaf}", {"deviceScope": edge["deviceScope"]})
    at_edge, at_leaf = service.new_module(name), service.new_module(child)

    def status(device, module, key, target, claim=None, path="methods"):
        token = render_sas(f"{hub.host_name}/devices/{device}/modules/{module}", key, int(time.time()) + 60)
        headers = {"x-ms-edge-moduleId": claim or f"{device}/{module}"}
        body = {"methodName": "x"} if path == "methods" else {}
        return service.ask("POST", f"/twins/{target}/{path}", body, token, headers, None).status_code

    assert status(name, "m", key_of(at_edge), name) == 404
    assert status(name, "m", key_of(at_edge), f"{name}/modules/$edgeAgent") == 404
    assert status(name, "m", key_of(at_edge), child) == 404
    assert status(name, "m", key_of(at_edge), other["deviceId"]) == 401
    assert status(name, "m", key_of(at_edge), "absent") == 401
    assert status(name, "m", key_of(edge), name) == 401, "a device's key is not its module's"
    assert status(name, "m", key_of(at_edge), name, claim=f"{name}/$edgeAgent") == 401
    assert status(name, "m", key_of(at_edge), name, claim=name) == 401
    assert status(child, "m", key_of(at_leaf), child) == 404
    assert status(child, "m", key_of(at_leaf), sibling) == 401, "siblings share a parent's scope"
    assert status(child, "m", key_of(at_leaf), name) == 401
    service.done("PUT", f"/devices/{name}", {"status": "disabled"}, headers={"If-Match": "*"})
    assert status(name, "m", key_of(at_edge), name) == 401, "a disabled device's modules call nobody"
