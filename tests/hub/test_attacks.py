"""Attacks on the hub's REST door: who may ask what, and what requests must not be able to do to it."""

import base64
import json
import os
import re
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import uvicorn

from edgeferry.hub.access import RIGHTS
from edgeferry.hub.http import BoundedHttp
from edgeferry.hub.rest.table import (
    ConfigurationHandlers,
    IdentityHandlers,
    MessageHandlers,
    QueryHandlers,
    TwinHandlers,
    list_routes,
)
from edgeferry.wire import topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, Service, key_of

OPEN = {"/health", "/openapi.json"}
"""Paths that need no credential."""
OWN = {
    ("GET", "/devices/{device}"),
    ("GET", "/devices/{device}/modules"),
    *((method, "/devices/{device}/modules/{module}") for method in ("GET", "PUT", "DELETE")),
}
"""Routes that a device's own credential reaches, on itself and its modules."""


HANDLERS = (IdentityHandlers, TwinHandlers, ConfigurationHandlers, QueryHandlers, MessageHandlers)


def all_routes() -> list[tuple[str, str]]:
    """(method, path) of every route of the application, from its own table."""
    handlers = [object.__new__(kind) for kind in HANDLERS]
    operations = [route.operation for route in list_routes(*handlers, lambda: True, "0")]
    return sorted((one.method, one.path) for one in operations)


def guarded_routes() -> list[tuple[str, str]]:
    return [(method, path) for method, path in all_routes() if path not in OPEN]


def right_for(method: str, path: str) -> str:
    """The right that Microsoft's "Control access to IoT Hub" asks for."""
    if path.startswith(("/twins/", "/devices/query", "/messages/")) or path.endswith("/commands"):
        return "ServiceConnect"
    return "RegistryRead" if method == "GET" or path.endswith("/testQueries") else "RegistryWrite"


def fill(path: str, device: str, module: str = "m") -> str:
    return (
        path.replace("{device}", device).replace("{module}", module).replace("{configuration}", "no-such-one")
    )


def is_refused(response) -> bool:
    return (response.status_code, response.headers.get("iothub-errorcode")) == (
        401,
        "IotHubUnauthorizedAccess",
    )


@pytest.fixture(scope="module")
def victim(service) -> dict:
    """An edge device with a module m, which nobody in these tests may change."""
    device = service.new_device(tags={"kept": "yes"})
    service.new_module(device["deviceId"])
    return device


@pytest.fixture(autouse=True)
def unharmed(service, victim):
    """After each attack the hub answers, quickly, and the victim is as it was."""
    before = state_of(service, victim["deviceId"])
    yield
    assert service.http.get(f"https://{service.hub.host_name}/health").status_code == 200
    assert state_of(service, victim["deviceId"]) == before


def state_of(service: Service, device: str) -> list:
    paths = (
        f"/devices/{device}",
        f"/twins/{device}",
        f"/devices/{device}/modules",
        f"/twins/{device}/modules/m",
    )
    shown = [service.done("GET", path) for path in paths]
    for document in (shown[0], shown[1], *shown[2], shown[3]):
        for name in ("connectionState", "connectionStateUpdatedTime", "lastActivityTime"):
            document.pop(name, None)
    return shown


def signed(service: Service, resource: str, key: str, policy: str | None = None, seconds: int = 600) -> str:
    return render_sas(resource, key, int(time.time()) + seconds, policy)


def device_token(service: Service, device: dict, module: str | None = None) -> str:
    resource = topics.resource(service.hub.host_name, device["deviceId"], module)
    return signed(service, resource, key_of(device))


# --- rights


def test_the_table_of_routes_is_the_application_s_own():
    assert len(all_routes()) > 15
    assert set(all_routes()) >= OWN
    assert {path for _, path in all_routes()} >= OPEN


@pytest.mark.parametrize(("method", "path"), guarded_routes())
def test_no_route_answers_without_the_right_for_it(service, victim, method, path):
    where = fill(path, victim["deviceId"])
    needed = right_for(method, path)
    for policy, rights in RIGHTS.items():
        if needed not in rights:
            assert is_refused(service.ask(method, where, {}, token=service.token(policy))), policy
    enough = next(policy for policy, rights in RIGHTS.items() if needed in rights and len(rights) < 4)
    probe = fill(path, "no-such-device")  # so that the right itself destroys nothing
    assert service.ask(method, probe, {}, token=service.token(enough)).status_code != 401


@pytest.mark.parametrize(("method", "path"), guarded_routes())
def test_no_route_takes_a_forged_credential(service, victim, method, path):
    where = fill(path, victim["deviceId"])
    host = service.hub.host_name
    owner = service.policy_key()
    other = base64.b64encode(os.urandom(32)).decode()
    forged = {
        "none": "",
        "another scheme": "Bearer abc",
        "a key of nobody's": signed(service, host, other, "iothubowner"),
        "expired beyond the skew": signed(service, host, owner, "iothubowner", seconds=-400),
        "for another hub's resource": signed(service, f"{host}/devices/another", owner, "iothubowner"),
        "a resource that only begins alike": signed(
            service, f"{host}{where.rstrip('/')[:-1]}", owner, "iothubowner"
        ),
        "another policy's key": signed(service, host, service.policy_key("registryRead"), "iothubowner"),
        "a policy that is not there": signed(service, host, owner, "root"),
        "signature cut off": service.token().replace("sig=", "sig=&x="),
        "expiry raised after signing": re.sub(r"se=\d+", f"se={int(time.time()) + 9999}", service.token()),
        "an expiry that is no number": re.sub(r"se=\d+", "se=1e99", service.token()),
        "policy swapped after signing": service.token("registryRead").replace("registryRead", "iothubowner"),
        "policy taken away after signing": service.token().partition("&skn")[0],
    }
    for how, token in forged.items():
        assert is_refused(service.ask(method, where, {}, token=token)), how


@pytest.mark.parametrize(("method", "path"), guarded_routes())
def test_a_device_s_own_credential_reaches_its_own_routes_only(service, victim, method, path):
    device = service.new_device()
    module = service.new_module(device["deviceId"])
    token = device_token(service, device)
    module_token = signed(
        service, topics.resource(service.hub.host_name, device["deviceId"], "m"), key_of(module)
    )
    own = service.ask(method, fill(path, device["deviceId"], "mine"), {}, token=token)
    assert is_refused(own) is ((method, path) not in OWN)
    where = fill(path, victim["deviceId"])
    forged = {
        "another's device": token,
        "another's device, its module's key": module_token,
        "another's name, own key": device_token(service, {**device, "deviceId": victim["deviceId"]}),
        "another's module's name, own key": device_token(
            service, {**device, "deviceId": victim["deviceId"]}, "m"
        ),
        "own key as a policy": signed(service, service.hub.host_name, key_of(device), "iothubowner"),
        "own key for the whole hub": signed(service, service.hub.host_name, key_of(device)),
        "own key for all devices": signed(service, f"{service.hub.host_name}/devices", key_of(device)),
        "a resource that climbs": signed(
            service,
            f"{service.hub.host_name}/devices/{device['deviceId']}/../{victim['deviceId']}",
            key_of(device),
        ),
    }
    if "{device}" in path:
        for how, one in forged.items():
            assert is_refused(service.ask(method, where, {}, token=one)), how
        if (method, path) in OWN:
            mine = fill(path, device["deviceId"])
            assert is_refused(service.ask(method, mine, {}, token=module_token)), (
                "a module asks for its device"
            )
    climbing = f"/devices/{device['deviceId']}/../{victim['deviceId']}"
    for one in (climbing, climbing.replace("..", "%2e%2e"), climbing.replace("/../", "%2f..%2f")):
        assert service.ask("GET", one, token=token).status_code in (401, 404)


def test_a_signature_for_one_resource_encoded_anew_is_for_no_other(hub, service, victim):
    """A reader tries what clients may have signed, the resource as it is among them: encoded once more, the
    resource must not turn into one without a path, which is the whole hub."""
    own = service.new_device()["deviceId"]
    resource = topics.resource(hub.host_name, own)
    encoded = quote(resource, safe="")

    def twice(policy: str) -> str:
        token = signed(service, resource, service.policy_key(policy), policy)
        assert encoded in token
        return token.replace(encoded, quote(encoded, safe=""))

    for path in (f"/devices/{own}", f"/devices/{victim['deviceId']}"):
        assert is_refused(service.ask("GET", path, token=twice("iothubowner"))), path
    with MqttClient(hub, victim["deviceId"], None, "", token=twice("device")) as client:
        assert client.connack[0] != 0


def test_a_module_calls_methods_on_its_own_device_only(service, victim):
    """Azure's clients name the calling module in a header; it opens no other door."""
    device = service.new_device()
    name, key = device["deviceId"], key_of(service.new_module(device["deviceId"]))
    token = signed(service, topics.resource(service.hub.host_name, name, "m"), key)
    body = {"methodName": "any"}
    for claimed, where, refused in (
        (f"{name}/m", f"/twins/{name}/modules/m/methods", False),
        (f"{name}/m", f"/twins/{victim['deviceId']}/modules/m/methods", True),
        (f"{name}/m", f"/twins/{victim['deviceId']}/methods", True),
        (f"{victim['deviceId']}/m", f"/twins/{victim['deviceId']}/modules/m/methods", True),
        (f"{name}/$edgeAgent", f"/twins/{name}/methods", True),
        (f"{name}/m/../../{victim['deviceId']}", f"/twins/{victim['deviceId']}/methods", True),
        ("", f"/twins/{name}/modules/m/methods", True),
    ):
        response = service.ask("POST", where, body, token=token, headers={"x-ms-edge-moduleId": claimed})
        assert is_refused(response) is refused, (claimed, where)
    for method, path in guarded_routes():
        if not path.endswith("/methods"):
            headers = {"x-ms-edge-moduleId": f"{name}/m"}
            assert is_refused(service.ask(method, fill(path, name), {}, token=token, headers=headers)), path


def test_a_policys_token_for_one_device_opens_no_other_by_that_header(service, victim):
    name = service.new_device()["deviceId"]
    host, key = service.hub.host_name, service.policy_key("service")
    headers = {"x-ms-edge-moduleId": f"{name}/m"}
    for narrow in (f"{host}/devices/{name}", f"{host}/twins/{name}"):
        token = signed(service, narrow, key, "service")
        where = f"/twins/{victim['deviceId']}/methods"
        assert is_refused(service.ask("POST", where, {"methodName": "any"}, token=token, headers=headers))
    whole = service.ask("POST", where, {"methodName": "any"}, token=service.token("service"), headers=headers)
    assert whole.status_code == 404, "nobody listens, yet it may ask"


def test_a_credential_dies_with_the_key_that_made_it(hub, service):
    device = service.new_device()
    name, old = device["deviceId"], device_token(service, device)
    assert service.ask("GET", f"/devices/{name}", token=old).status_code == 200
    with MqttClient(hub, name, None, key_of(device)) as client:
        keys = {"primaryKey": base64.b64encode(os.urandom(32)).decode(), "secondaryKey": ""}
        body = {"deviceId": name, "authentication": {"type": "sas", "symmetricKey": keys}}
        changed = service.done("PUT", f"/devices/{name}", body, headers={"If-Match": "*"})
        client.wait_for("disconnect")
    secondary = changed["authentication"]["symmetricKey"]["secondaryKey"]
    assert is_refused(service.ask("GET", f"/devices/{name}", token=old))
    with MqttClient(hub, name, None, key_of(device)) as client:
        assert client.connack[0] != 0
    for key in (keys["primaryKey"], secondary):
        resource = topics.resource(hub.host_name, name)
        token = signed(service, resource, key)
        assert service.ask("GET", f"/devices/{name}", token=token).status_code == 200


def test_a_disabled_or_deleted_device_s_credential_is_refused(service):
    device = service.new_device()
    name, token = device["deviceId"], device_token(service, device)
    service.done("PUT", f"/devices/{name}", {**device, "status": "disabled"}, headers={"If-Match": "*"})
    assert is_refused(service.ask("GET", f"/devices/{name}", token=token))
    service.done("DELETE", f"/devices/{name}")
    assert is_refused(service.ask("GET", f"/devices/{name}", token=token))
    service.done("PUT", f"/devices/{name}", {"deviceId": name})
    assert is_refused(service.ask("GET", f"/devices/{name}", token=token)), "a namesake has other keys"


def test_no_answer_tells_a_key_to_who_may_only_use_twins(service, victim):
    keys = victim["authentication"]["symmetricKey"].values()
    for path, body in (
        (f"/twins/{victim['deviceId']}", None),
        ("/devices/query", {"query": "SELECT * FROM devices"}),
        ("/devices/query", {"query": "SELECT authentication, primaryKey FROM devices"}),
    ):
        said = service.ask("POST" if body else "GET", path, body, token=service.token("service")).text
        assert not any(key in said for key in keys)


# --- documents


def send(service: Service, method: str, path: str, body: bytes, headers=()):
    return service.http.request(
        method,
        f"https://{service.hub.host_name}{path}",
        content=body,
        params={"api-version": "2021-04-12"},
        headers={"Authorization": service.token(), "Content-Type": "application/json", **dict(headers)},
    )


_BRACKETS = 100_000
BODIES = {
    "not JSON": b"{",
    "nothing": b"",
    "only spaces": b"   ",
    "a list": b"[]",
    "a text": b'"x"',
    "brackets": b"[" * _BRACKETS,
    "closed brackets": b"[" * _BRACKETS + b"]" * _BRACKETS,
    "nested objects": b'{"tags":' * _BRACKETS + b"1" + b"}" * _BRACKETS,
    "tags nested deeply": b'{"tags":{"a":' + b'{"a":' * 900 + b"1" + b"}" * 901 + b"}",
    "desired nested deeply": b'{"properties":{"desired":{"a":' + b"[" * 900 + b"]" * 900 + b"}}}",
    "a huge integer": b'{"tags":{"a":' + b"9" * 5000 + b"}}",
    "an integer beyond the limit": b'{"tags":{"a":4503599627370497}}',
    "a huge exponent": b'{"tags":{"a":1e999}}',
    "NaN": b'{"tags":{"a":NaN}}',
    "Infinity": b'{"tags":{"a":-Infinity}}',
    "invalid UTF-8": b'{"tags":{"a":"\xff\xfe"}}',
    "UTF-16": '{"tags":{"a":1}}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"tags":{"a":1}}',
    "half a surrogate pair": b'{"tags":{"a":"\\ud800"}}',
    "half a surrogate pair in a name": b'{"tags":{"\\udc00":1}}',
    "a name with a NUL": b'{"tags":{"a\\u0000":1}}',
    "more tags than allowed": json.dumps({"tags": {f"t{n}": "x" * 100 for n in range(90)}}).encode(),
    "tags that are a list": b'{"tags":[1]}',
    "tags that are a text": b'{"tags":"x"}',
    "properties that are a list": b'{"properties":[]}',
    "desired that is a number": b'{"properties":{"desired":1}}',
    "too large": b'{"tags":{"a":"' + b"x" * (2 * 1024 * 1024) + b'"}}',
}


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize(("method", "path"), [route for route in guarded_routes() if route[0] != "GET"])
def test_a_malformed_body_is_refused_and_changes_nothing(service, victim, method, path, what):
    if method == "DELETE":
        return
    is_twin = path.startswith("/twins/")
    target = victim["deviceId"] if is_twin else "scratch"
    response = send(service, method, fill(path, target), BODIES[what], {"If-Match": '"*"'} if is_twin else {})
    assert response.status_code < 500
    if is_twin and not path.endswith("/methods"):
        assert 400 <= response.status_code < 500
        assert "ErrorCode:" in response.json()["Message"]


def test_of_a_name_that_stands_twice_the_last_counts_everywhere(service):
    name = service.new_device()["deviceId"]
    response = send(
        service, "PATCH", f"/twins/{name}", b'{"tags":{"a":1,"a":2},"tags":{"a":3,"b":{"c":1,"c":null}}}'
    )
    assert response.json()["tags"] == service.done("GET", f"/twins/{name}")["tags"] == {"a": 3, "b": {}}


def test_floats_and_names_come_back_as_they_went(service):
    name = service.new_device()["deviceId"]
    tags = {"f": 1e308, "g": 1.0, "é": "☃ 😀", "__proto__": {"x": 1}, "constructor": "c"}
    service.done("PATCH", f"/twins/{name}", {"tags": tags})
    assert service.done("GET", f"/twins/{name}")["tags"] == tags


# --- names


CLIMBS = (
    "..",
    ".",
    "../x",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "",
    " ",
    "query",
    "keys",
    "é",
    "x" * 129,
)
INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE identities; --",
    "a' --",
    '" OR 1=1',
    "x]] = 1 or [[y",
    "%",
    "_",
    "*",
)


@pytest.mark.parametrize("name", CLIMBS)
def test_a_name_that_climbs_or_cannot_be_one_creates_nothing(hub, service, victim, name):
    before = {path.name for path in hub.state.iterdir()}
    count = service.done("GET", "/statistics/devices")["totalDeviceCount"]
    for path in (
        f"/devices/{quote(name, safe='')}",
        f"/devices/{victim['deviceId']}/modules/{quote(name, safe='')}",
    ):
        if path.endswith(("/query", "/keys")) and "/modules/" in path:
            continue
        response = service.ask("PUT", path, {})
        assert 400 <= response.status_code < 500, path
    content = {"content": {"modulesContent": {"$edgeAgent": {"properties.desired.x": 1}}}}
    response = service.ask("PUT", f"/configurations/{quote(name, safe='')}", content)
    assert 400 <= response.status_code < 500 or name in ("query", "keys")
    if response.status_code < 300:
        service.done("DELETE", f"/configurations/{name}")
    assert {path.name for path in hub.state.iterdir()} == before
    assert service.done("GET", "/statistics/devices")["totalDeviceCount"] == count


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_in_ids_tags_and_conditions_stays_text(service, victim, text):
    """No table is dropped, no other device is found, nothing else is deleted."""
    count = service.done("GET", "/statistics/devices")["totalDeviceCount"]
    for method, path in (("GET", "devices"), ("DELETE", "devices"), ("GET", "twins"), ("PATCH", "twins")):
        response = service.ask(method, f"/{path}/{quote(text, safe='')}", {})
        assert response.status_code in (400, 404), path
    assert service.done("GET", "/statistics/devices")["totalDeviceCount"] == count
    device = service.new_device(tags={"note": text})["deviceId"]
    quoted = text.replace("'", "''")
    found = service.done(
        "POST", "/devices/query", {"query": f"SELECT deviceId FROM devices WHERE tags.note = '{quoted}'"}
    )
    assert found == [{"deviceId": device}]
    raw = service.ask(
        "POST", "/devices/query", {"query": f"SELECT deviceId FROM devices WHERE tags.note = '{text}'"}
    )
    assert raw.status_code in (200, 400)
    service.done("DELETE", f"/devices/{device}")


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("(" * 4000 + "true" + ")" * 4000, id="brackets"),
        pytest.param("NOT " * 2000 + "true", id="negations"),
        pytest.param(" OR ".join(["tags.a = 1"] * 600), id="many alternatives"),
        pytest.param("tags" + ".a" * 4000, id="a long path"),
        pytest.param("tags.a IN [" + ",".join(["1"] * 4000) + "]", id="a long list"),
        pytest.param("tags.a = '" + "x" * 9000 + "'", id="longer than allowed"),
        pytest.param("tags.a = 1" + "0" * 5000, id="a huge number"),
        pytest.param("tags.a = '\\ud800'", id="half a surrogate pair"),
        pytest.param("tags.a = 'x\0y'", id="a NUL"),
    ],
)
def test_a_condition_made_to_hurt_is_refused_or_answered_soon(service, condition):
    began = time.monotonic()
    response = service.ask("POST", "/devices/query", {"query": f"SELECT * FROM devices WHERE {condition}"})
    assert response.status_code in (200, 400), response.text
    content = {"modulesContent": {"$edgeAgent": {"properties.desired.x": 1}}}
    body = {"targetCondition": condition, "content": content}
    response = service.ask("PUT", "/configurations/hurts", body)
    assert response.status_code in (200, 400), response.text
    if response.status_code == 200:
        service.done("DELETE", "/configurations/hurts")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("header", ["!!", "eA", "e30=", "WzEsMl0=", "x" * 5000, "WyJhIl0="])
def test_a_continuation_that_is_not_ours_is_refused(service, header):
    response = service.ask(
        "POST", "/devices/query", {"query": "SELECT * FROM devices"}, headers={"x-ms-continuation": header}
    )
    assert response.status_code == 400


# --- sockets


def connect(hub) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    plain = socket.create_connection((hub.address, hub.https_port), timeout=30)
    return context.wrap_socket(plain, server_hostname=hub.address)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except OSError:
        pass
    return data


def memory_bytes(hub) -> int:
    with open(f"/proc/{hub.process.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def test_a_flood_of_headers_is_cut_off(hub, service):
    """Megabytes of headers, none of them the last, end in a closed connection and cost no memory."""
    before = memory_bytes(hub)
    with connect(hub) as connection:
        connection.sendall(b"GET /devices HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += connection.send(b"X-Flood: " + b"x" * 16000 + b"\r\n")
        except OSError:
            pass
    assert sent < 64 * 1024 * 1024
    assert memory_bytes(hub) - before < 32 * 1024 * 1024


def test_a_body_without_end_is_cut_off(hub, service):
    before = memory_bytes(hub)
    head = (
        f"PATCH /twins/x?api-version=2021-04-12 HTTP/1.1\r\nHost: x\r\nAuthorization: {service.token()}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with connect(hub) as connection:
        connection.sendall(head.encode())
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
    assert memory_bytes(hub) - before < 32 * 1024 * 1024
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost:", id="half a header"),
        pytest.param(
            b"PATCH /twins/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", id="half a body, no login"
        ),
    ],
)
def test_clients_that_dawdle_hold_up_nobody(hub, service, victim, start):
    """Hundreds of connections in the middle of a request: others are served as ever."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(hub)) for _ in range(150)]
        for one in slow:
            one.sendall(start)
        for _ in range(20):
            assert service.ask("GET", f"/twins/{victim['deviceId']}").status_code == 200
        for one in slow:
            if start:
                one.sendall(b" ")
        assert service.ask("GET", f"/twins/{victim['deviceId']}").status_code == 200


def test_a_request_that_dawdles_is_cut_off_and_its_successors_are_not():
    """Before the first byte, within the headers, within the body; a connection may rest between requests."""

    class Hasty(BoundedHttp):
        request_s = 1.0

    async def application(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, http=Hasty, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        head = b"PUT / HTTP/1.1\r\nHost: x\r\n"
        for start in (b"", head, head + b"Content-Length: 3\r\n\r\n{"):
            with socket.create_connection(listening.getsockname(), timeout=30) as one:
                one.sendall(start)
                assert read_all(one) == b""
        with socket.create_connection(listening.getsockname(), timeout=30) as one:
            for _ in range(2):
                one.sendall(head + b"Content-Length: 3\r\n\r\nabc")
                assert one.recv(65536).startswith(b"HTTP/1.1 204")
                time.sleep(1.2)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_rubbish_instead_of_http_or_tls_is_shown_the_door(hub):
    for rubbish in (
        b"\x00" * 1000,
        b"GET /\r\n\r\n" * 3,
        b"\x16\x03\x01\xff\xff" + b"x" * 2000,
        os.urandom(500),
    ):
        with socket.create_connection((hub.address, hub.https_port), timeout=30) as plain:
            plain.sendall(rubbish)
            plain.shutdown(socket.SHUT_WR)
            read_all(plain)
        with connect(hub) as connection:
            connection.sendall(rubbish + b"\r\n\r\n")
            assert b" 200 " not in read_all(connection)[:20]


def test_a_request_smuggled_behind_another_has_no_login_of_its_own(hub, service, victim):
    """A request with two lengths: what stands behind its end never runs with its login."""
    inner = f"DELETE /devices/{victim['deviceId']}?api-version=2021-04-12 HTTP/1.1\r\nHost: x\r\n\r\n"
    head = (
        f"PATCH /twins/x?api-version=2021-04-12 HTTP/1.1\r\nHost: x\r\nAuthorization: {service.token()}\r\n"
        f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
    )
    with connect(hub) as connection:
        connection.sendall(head.encode())
        connection.settimeout(2)
        said = read_all(connection)
    assert b" 204 " not in said
