import json
import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest

from edgeferry.wire import mqtt, topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, key_of


@pytest.fixture
def module(service):
    """(device id, module id, key) of a fresh module."""
    device = service.new_device()["deviceId"]
    return device, "m", key_of(service.new_module(device))


def raw(hub) -> ssl.SSLSocket:
    """A TLS connection to the MQTT door, to say wrong things over."""
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    plain = socket.create_connection((hub.address, hub.mqtt_port), timeout=60)
    return context.wrap_socket(plain, server_hostname=hub.address)


def connect_packet(hub, device, name, key, keep_alive_s=60, expires_in_s=3600, will=None) -> bytes:
    resource = topics.resource(hub.host_name, device, name)
    return mqtt.render_packet(
        mqtt.Connect(
            client_id=topics.client_id(device, name),
            username=topics.username(hub.host_name, device, name),
            password=render_sas(resource, key, int(time.time()) + expires_in_s).encode(),
            clean_session=False,
            keep_alive_s=keep_alive_s,
            will=will,
        )
    )


def read_to_end(connection) -> bytes:
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionError:
        pass
    return data


def test_a_twin_is_read_reported_and_told_of_changes(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        assert client.connack == (0, False)
        client.subscribe(topics.TWIN_RESPONSES, topics.DESIRED_PATCHES)
        assert client.twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
        assert client.report({"state": {"ok": True}}) == topics.TwinResponse(204, "2", 2)
        patch = {"properties": {"desired": {"a": {"b": 1}, "gone": None}}}
        service.done("PATCH", f"/twins/{device}/modules/{name}", patch)
        topic, body = client.message()
        assert topics.parse_desired_patch(topic) == 2
        assert json.loads(body) == {"a": {"b": 1}, "gone": None, "$version": 2}
        service.done("PUT", f"/twins/{device}/modules/{name}", {"properties": {"desired": {"c": 1}}})
        assert json.loads(client.message()[1]) == {"a": None, "c": 1, "$version": 3}
    shown = service.done("GET", f"/twins/{device}/modules/{name}")["properties"]["reported"]
    assert (shown["state"], shown["$version"]) == ({"ok": True}, 2)


def test_what_is_acknowledged_is_already_readable_over_rest(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        for number in range(20):
            client.publish(topics.render_reported_patch("7"), json.dumps({"n": number}).encode())
            reported = service.done("GET", f"/twins/{device}/modules/{name}")["properties"]["reported"]
            assert reported["n"] == number


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        pytest.param(b"{", 400, id="not JSON"),
        pytest.param(b"[1]", 400, id="a list"),
        pytest.param({"a.b": 1}, 400, id="a name with a dot"),
        pytest.param({f"k{n}": "x" * 4000 for n in range(9)}, 400, id="more than 32 KiB"),
    ],
)
def test_a_wrong_report_is_refused_in_words_both_sdks_understand(hub, module, patch, status):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.publish(
            topics.render_reported_patch("9"),
            patch if isinstance(patch, bytes) else json.dumps(patch).encode(),
        )
        topic, body = client.message()
        assert topics.parse_twin_response(topic) == topics.TwinResponse(status, "9")
        assert json.loads(body)["errorCode"] // 1000 == status
        assert client.twin()["reported"] == {"$version": 1}


def test_a_method_reaches_the_module_and_its_answer_comes_back(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)

        def answer():
            topic, body = client.message()
            call = topics.parse_method(topic)
            reply = json.dumps({"asked": call.name, "with": json.loads(body)}).encode()
            client.publish(topics.render_method_response(207, call.rid), reply)

        thread = threading.Thread(target=answer)
        thread.start()
        said = service.done(
            "POST", f"/twins/{device}/modules/{name}/methods", {"methodName": "my method/1", "payload": [1]}
        )
        thread.join()
        assert said == {"status": 207, "payload": {"asked": "my method/1", "with": [1]}}


def test_a_method_is_answered_within_milliseconds(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)

        def reply(_client, _user, message):
            rid = topics.parse_method(message.topic).rid
            client.paho.publish(topics.render_method_response(200, rid), b"null", qos=0)

        client.paho.on_message = reply
        took = []
        for _ in range(60):
            began = time.monotonic()
            service.done("POST", f"/twins/{device}/modules/{name}/methods", {"methodName": "ping"})
            took.append(time.monotonic() - began)
    # Without TCP_NODELAY on both doors each call waits some 40 ms for a delayed acknowledgement.
    assert min(took) < 0.03


def test_a_method_nobody_answers_in_time_is_a_gateway_timeout(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)
        body = {"methodName": "slow", "responseTimeoutInSeconds": 5}
        response = service.ask("POST", f"/twins/{device}/modules/{name}/methods", body)
        assert (response.status_code, response.headers["iothub-errorcode"]) == (504, "GatewayTimeout")


def test_a_method_waits_for_a_module_that_connects_within_the_connect_timeout(hub, service, module):
    device, name, key = module
    answers = []
    body = {"methodName": "hello", "connectTimeoutInSeconds": 10}

    def ask():
        answers.append(service.ask("POST", f"/twins/{device}/modules/{name}/methods", body))

    thread = threading.Thread(target=ask)
    thread.start()
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)
        call = topics.parse_method(client.message()[0])
        client.publish(topics.render_method_response(200, call.rid), b"")
        thread.join()
    assert answers[0].json() == {"status": 200, "payload": None}


def test_a_module_that_leaves_while_asked_is_reported_so(hub, service, module):
    device, name, key = module
    answers = []
    client = MqttClient(hub, device, name, key).connect()
    client.subscribe(topics.METHODS)

    def ask():
        answers.append(service.ask("POST", f"/twins/{device}/modules/{name}/methods", {"methodName": "x"}))

    thread = threading.Thread(target=ask)
    thread.start()
    client.message()
    client.close()
    thread.join()
    assert answers[0].headers["iothub-errorcode"] == "DeviceConnectionClosedRemotely"


def test_subscriptions_and_twins_survive_a_restart_of_the_hub(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.DESIRED_PATCHES, topics.METHODS)
        client.report({"before": 1})
    hub.stop()
    hub.start()
    with MqttClient(hub, device, name, key) as client:
        assert client.connack == (0, True)
        assert client.twin()["reported"] == {"before": 1, "$version": 2}
        service.done("PATCH", f"/twins/{device}/modules/{name}", {"properties": {"desired": {"x": 1}}})
        assert json.loads(client.message()[1]) == {"x": 1, "$version": 2}


def test_what_was_acknowledged_survives_kill_9(hub, service, module):
    device, name, key = module
    client = MqttClient(hub, device, name, key).connect()
    client.subscribe(topics.DESIRED_PATCHES)
    client.publish(topics.render_reported_patch("1"), b'{"last": "word"}')
    hub.process.kill()
    hub.process.wait()
    client.close()
    hub.start()
    twin = service.done("GET", f"/twins/{device}/modules/{name}")
    assert twin["properties"]["reported"]["last"] == "word"
    service.done("PATCH", f"/twins/{device}", {"tags": {"env": "x"}})
    hub.process.kill()
    hub.process.wait()
    hub.start()
    assert service.done("GET", f"/twins/{device}")["tags"] == {"env": "x"}
    with MqttClient(hub, device, name, key) as client:
        assert client.connack == (0, True)


def test_a_clean_session_forgets_the_subscriptions(hub, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)
    with MqttClient(hub, device, name, key) as client:
        assert client.connack == (0, True)
    with MqttClient(hub, device, name, key, clean=True) as client:
        assert client.connack == (0, False)
    with MqttClient(hub, device, name, key) as client:
        assert client.connack == (0, False)


def test_an_unsubscribed_client_is_told_nothing(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.DESIRED_PATCHES)
        client.paho.unsubscribe(topics.DESIRED_PATCHES)
        client.twin()  # answered after the UNSUBSCRIBE was
        service.done("PATCH", f"/twins/{device}/modules/{name}", {"properties": {"desired": {"x": 1}}})
        client.publish(topics.render_twin_get("5"), b" ")
        assert topics.parse_twin_response(client.message()[0]).rid == "5"


def test_either_key_connects_and_no_other_does(hub, service, module):
    device, name, key = module
    shown = service.done("GET", f"/devices/{device}/modules/{name}")
    secondary = shown["authentication"]["symmetricKey"]["secondaryKey"]
    device_key = key_of(service.done("GET", f"/devices/{device}"))
    agent_key = key_of(service.done("GET", f"/devices/{device}/modules/$edgeAgent"))
    for credential, code in ((key, 0), (secondary, 0), (device_key, 135), (agent_key, 135)):
        with MqttClient(hub, device, name, credential) as client:
            assert client.connack[0] == code


def test_a_devices_own_signature_does_not_open_its_modules(hub, service, module):
    device, name, _ = module
    key = key_of(service.done("GET", f"/devices/{device}"))
    token = render_sas(topics.resource(hub.host_name, device), key, int(time.time()) + 60)
    with MqttClient(hub, device, None, key, token=token) as client:
        assert client.connack[0] == 0
    with MqttClient(hub, device, name, key, token=token) as client:
        assert client.connack[0] == 135


@pytest.mark.parametrize(("policy", "code"), [("device", 0), ("iothubowner", 0), ("service", 135)])
def test_a_policy_that_may_connect_devices_connects_any(hub, service, module, policy, code):
    device, name, _ = module
    with MqttClient(hub, device, name, "", token=service.token(policy)) as client:
        assert client.connack[0] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"expires_at": 1000}, 5, id="an expired signature"),
        pytest.param({"user": "hub/another/m/?api-version=2021-04-12"}, 4, id="two identities at once"),
        pytest.param({"user": "nonsense"}, 4, id="a malformed user name"),
        pytest.param({"device": "nobody"}, 5, id="an unknown device"),
    ],
)
def test_a_refusal_says_which_kind_it_is(hub, module, change, code):
    device, name, key = module
    given = {"device": device, "module": name, "key": key, **change}
    paho_code = {4: 134, 5: 135}[code]
    with MqttClient(hub, **given) as client:
        assert client.connack[0] == paho_code


def test_a_disabled_device_is_thrown_out_and_kept_out(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        service.done("PUT", f"/devices/{device}", {"status": "disabled"}, headers={"If-Match": "*"})
        assert client.wait_for("disconnect")
    with MqttClient(hub, device, name, key) as client:
        assert client.connack[0] == 135


def test_a_deleted_module_is_thrown_out(hub, service, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.subscribe(topics.METHODS)
        service.done("DELETE", f"/devices/{device}/modules/{name}")
        assert client.wait_for("disconnect")
    fresh = key_of(service.new_module(device, name))
    with MqttClient(hub, device, name, fresh) as client:
        assert client.connack == (0, False), "subscriptions went with the identity"


def test_a_new_connection_of_the_same_identity_closes_the_old(hub, service, module):
    device, name, key = module
    with raw(hub) as old:
        old.sendall(connect_packet(hub, device, name, key))
        assert old.recv(4)[3] == 0
        with MqttClient(hub, device, name, key):
            assert read_to_end(old) == b""
            twin = service.done("GET", f"/twins/{device}/modules/{name}")
            assert twin["connectionState"] == "Connected"
    assert wait_until(
        lambda: service.done("GET", f"/twins/{device}/modules/{name}")["connectionState"] == "Disconnected"
    )


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(mqtt.Subscribe(1, (("#", 0),)), id="everything"),
        pytest.param(mqtt.Subscribe(1, (("$iothub/#", 0),)), id="everybody's twins"),
        pytest.param(mqtt.Subscribe(1, (("devices/other/messages/devicebound/#", 0),)), id="another's"),
        pytest.param(mqtt.Publish("devices/other/messages/events/", b"x", 1, 1), id="another's telemetry"),
        pytest.param(
            mqtt.Publish("$iothub/twin/PATCH/properties/desired/?$rid=1", b"{}", 1, 1), id="desired"
        ),
        pytest.param(mqtt.Publish("any/topic", b"{}", 1, 1), id="a topic of its own"),
        pytest.param(mqtt.Publish("devices/d/messages/events/", b"x", 2, 1), id="QoS 2"),
        pytest.param(mqtt.ConnAck(0), id="a server's packet"),
    ],
)
def test_what_a_client_may_not_do_ends_its_connection(hub, module, packet):
    device, name, key = module
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, device, name, key))
        assert connection.recv(4)[3] == 0
        connection.sendall(mqtt.render_packet(packet))
        assert read_to_end(connection) == b""


def test_another_protocol_level_is_refused_in_its_own_words(hub):
    for packet, answer in (
        (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc", b"\x20\x03\x00\x84\x00"),
        (b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03abc", b"\x20\x02\x00\x01"),
    ):
        with raw(hub) as connection:
            connection.sendall(packet)
            assert read_to_end(connection) == answer


def test_garbage_and_giants_end_the_connection_and_nobody_else_notices(hub, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x10\xff\xff\xff\xff\x7f",
            b"\x10\xff\xff\xff\x7f",
            b"\x00" * 99,
        ):
            with raw(hub) as connection:
                connection.sendall(garbage)
                assert read_to_end(connection) == b""
        assert client.twin()["desired"] == {"$version": 1}
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, device, name, key))
        assert connection.recv(4)[3] == 0
        connection.sendall(b"\x30\x80\x80\x80\x01")  # announces 2 MiB
        assert read_to_end(connection) == b""


def test_telemetry_is_acknowledged(hub, module):
    device, name, key = module
    with MqttClient(hub, device, name, key) as client:
        client.publish(topics.render_telemetry(device, name, {"$.on": "out", "a b": "c/d"}), b"x" * 200_000)


def test_a_silent_client_is_dropped_after_one_and_a_half_keep_alives(hub, module):
    device, name, key = module
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, device, name, key, keep_alive_s=1))
        assert connection.recv(4)[3] == 0
        began = time.monotonic()
        assert read_to_end(connection) == b""
        assert 1.0 < time.monotonic() - began < 30


def test_a_connection_ends_when_its_signature_does(hub, module):
    device, name, key = module
    with raw(hub) as connection:
        # Five minutes of skew are granted, so this one counts for another five seconds.
        connection.sendall(connect_packet(hub, device, name, key, expires_in_s=-295))
        assert connection.recv(4)[3] == 0
        began = time.monotonic()
        assert read_to_end(connection) == b""
        assert time.monotonic() - began < 30


def test_a_client_that_does_not_read_is_dropped_and_holds_nobody_up(hub, service, module):
    device, name, key = module
    other = key_of(service.new_module(device, "other"))
    big = {f"k{number}": "x" * 4000 for number in range(7)}
    with raw(hub) as slow:
        slow.sendall(connect_packet(hub, device, name, key))
        assert slow.recv(4)[3] == 0
        slow.sendall(
            mqtt.render_packet(mqtt.Publish(topics.render_reported_patch("1"), json.dumps(big).encode()))
        )
        ask = mqtt.render_packet(mqtt.Publish(topics.render_twin_get("1"), b" "))
        slow.settimeout(2)
        with suppress(OSError):
            for _ in range(600):  # 17 MB of answers, none of them read
                slow.sendall(ask)
        with MqttClient(hub, device, "other", other) as client:
            assert client.twin()["desired"] == {"$version": 1}
        path = f"/twins/{device}/modules/{name}"
        gone = wait_until(lambda: service.done("GET", path)["connectionState"] == "Disconnected")
        assert gone


def wait_until(fact, timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
