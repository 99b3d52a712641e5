"""The rules of MQTT 3.1.1 that the hub's door keeps, byte by byte, over a bare connection; [numbers] are the
standard's."""

import threading
import time
from contextlib import contextmanager, suppress

import pytest

from edgeferry.wire import mqtt, topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, key_of
from tests.hub.test_mqtt import connect_packet, raw, read_to_end, wait_until


@pytest.fixture
def device(service):
    """(device id, key) of a fresh device."""
    made = service.new_device(edge=False)
    return made["deviceId"], key_of(made)


@contextmanager
def connected(hub, name, key, session=False, **more):
    """A bare connection that the hub took."""
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, name, None, key, **more))
        assert take(connection, 4) == mqtt.render_packet(mqtt.ConnAck(0, session))
        yield connection


def take(connection, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        assert chunk, f"closed after {data!r}"
        data += chunk
    return data


def ask(connection, packet) -> mqtt.Packet:
    """The one packet that the hub answers with."""
    connection.sendall(packet if isinstance(packet, bytes) else mqtt.render_packet(packet))
    head = take(connection, 2)
    assert head[1] < 0x80
    return mqtt.parse_packet(head + take(connection, head[1]))


def telemetry(device: str, qos: int = 1, packet_id: int = 1, **more) -> mqtt.Publish:
    return mqtt.Publish(topics.render_telemetry(device, None, {}), b"x", qos, packet_id, **more)


# QoS


def test_qos_0_is_not_answered_and_qos_1_is(hub, device):
    with connected(hub, *device) as connection:
        connection.sendall(mqtt.render_packet(telemetry(device[0], 0, 0)))
        assert ask(connection, telemetry(device[0], 1, 77)) == mqtt.PubAck(77)  # [3.3.4]


def test_a_repeated_message_is_acknowledged_again(hub, device):
    with connected(hub, *device) as connection:
        for duplicate in (False, True):
            packet = telemetry(device[0], 1, 5, duplicate=duplicate)
            assert ask(connection, packet) == mqtt.PubAck(5)  # [4.3.2]


def test_acknowledgements_come_in_the_order_of_the_messages_whatever_they_wait_for(hub, device):
    name, key = device
    with connected(hub, name, key) as connection:
        data = b""
        for number in range(1, 101):
            # A message waits for the disk's group commit, a twin's report is written at once.
            packet = (
                telemetry(name, 1, number)
                if number % 2
                else mqtt.Publish(topics.render_reported_patch("1"), b"[", 1, number)
            )
            data += mqtt.render_packet(packet)
        connection.sendall(data)
        acknowledged = []
        while len(acknowledged) < 100:
            head = take(connection, 2)
            length, shift, byte = head[1] & 0x7F, 7, head[1]
            while byte & 0x80:
                [byte] = take(connection, 1)
                length |= (byte & 0x7F) << shift
                shift += 7
            body = take(connection, length)
            if head[0] == 0x40:
                acknowledged.append(int.from_bytes(body, "big"))
    assert acknowledged == list(range(1, 101))  # [MQTT-4.6.0-2]


@pytest.mark.parametrize("packet_id", [1, 65535])
def test_qos_2_ends_the_connection_without_a_word(hub, device, packet_id):
    with connected(hub, *device) as connection:
        connection.sendall(mqtt.render_packet(telemetry(device[0], 2, packet_id)))
        assert read_to_end(connection) == b""


# subscriptions


def test_at_most_qos_1_is_granted_and_in_the_order_asked(hub, device):
    with connected(hub, *device) as connection:
        wished = ((topics.METHODS, 2), (topics.TWIN_RESPONSES, 0), (topics.DESIRED_PATCHES, 1))
        assert ask(connection, mqtt.Subscribe(9, wished)) == mqtt.SubAck(9, (1, 0, 1))  # [3.9.3]


def test_the_same_filter_again_is_no_mistake(hub, device):
    with connected(hub, *device) as connection:
        for packet_id in range(1, 60):
            answer = ask(connection, mqtt.Subscribe(packet_id, ((topics.METHODS, 0),)))
            assert answer == mqtt.SubAck(packet_id, (0,))


@pytest.mark.parametrize(("count", "taken"), [(50, True), (51, False)])
def test_fifty_subscriptions_and_no_more(hub, device, count, taken):
    with connected(hub, *device) as connection:
        connection.sendall(mqtt.render_packet(mqtt.Subscribe(1, ((topics.METHODS, 0),) * count)))
        assert (connection.recv(1) == b"\x90") is taken


def test_what_was_not_subscribed_is_unsubscribed_all_the_same(hub, device):
    with connected(hub, *device) as connection:
        assert ask(connection, mqtt.Unsubscribe(3, ("no/such",))) == mqtt.UnsubAck(3)  # [3.10.4]


@pytest.mark.parametrize(
    "name",
    [
        "#",
        "+",
        "/#",
        "$SYS/#",
        "$iothub/#",
        "$iothub/+/res/#",
        "$iothub/twin/#",
        "$iothub/twin/PATCH/#",
        "$iothub/methods/#",
        "$iothub/methods/POST/+",
        "devices/#",
        "devices/+/messages/devicebound/#",
        "devices/other/messages/devicebound/#",
        "devices/{}/#",
        "devices/{}/messages/#",
        "devices/{}/messages/events/#",
        "devices/{}/modules/m/inputs/#",
        "devices/{}x/messages/devicebound/#",
        "$share/group/devices/{}/messages/devicebound/#",
    ],
)
def test_no_filter_opens_more_than_ones_own(hub, device, name):
    with connected(hub, *device) as connection:
        wished = ((topics.METHODS, 0), (name.format(device[0]), 0))
        connection.sendall(mqtt.render_packet(mqtt.Subscribe(1, wished)))
        assert read_to_end(connection) == b""
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, device[0], None, device[1]))
        assert connection.recv(4) == mqtt.render_packet(mqtt.ConnAck(0, False)), "nothing of it was kept"


# sessions, keep-alive


def test_a_goodbye_ends_the_connection_and_keeps_the_session(hub, device):
    with connected(hub, *device) as connection:
        ask(connection, mqtt.Subscribe(1, ((topics.METHODS, 0),)))
        connection.sendall(mqtt.render_packet(mqtt.Disconnect()))
        assert read_to_end(connection) == b""  # [3.14.4]
    with connected(hub, *device, session=True):
        pass


def test_what_comes_after_a_goodbye_is_not_heard(hub, service, device):
    name, key = device
    with connected(hub, name, key) as connection:
        report = mqtt.Publish(topics.render_reported_patch("1"), b'{"late": true}')
        connection.sendall(mqtt.render_packet(mqtt.Disconnect()) + mqtt.render_packet(report))
        assert read_to_end(connection) == b""
    assert "late" not in service.done("GET", f"/twins/{name}")["properties"]["reported"]


def test_a_second_connect_ends_the_connection(hub, device):
    with connected(hub, *device) as connection:
        connection.sendall(connect_packet(hub, device[0], None, device[1]))
        assert read_to_end(connection) == b""  # [MQTT-3.1.0-2]


@pytest.mark.parametrize(
    "packet",
    [mqtt.PingReq(), mqtt.Disconnect(), mqtt.Subscribe(1, (("#", 0),)), telemetry("d")],
    ids=lambda packet: type(packet).__name__,
)
def test_the_first_packet_must_be_connect(hub, packet):
    with raw(hub) as connection:
        connection.sendall(mqtt.render_packet(packet))
        assert read_to_end(connection) == b""  # [MQTT-3.1.0-1]


def test_pings_keep_a_connection_alive_and_are_answered(hub, device):
    with connected(hub, *device, keep_alive_s=2) as connection:  # it ends after three seconds without
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert ask(connection, mqtt.PingReq()) == mqtt.PingResp()
            time.sleep(0.4)


def test_half_a_packet_is_no_sign_of_life(hub, device):
    with connected(hub, *device, keep_alive_s=1) as connection:
        connection.settimeout(0.3)
        data = mqtt.render_packet(telemetry(device[0]))[:-1]
        sent = 0
        with suppress(OSError):
            for byte in data:
                connection.sendall(bytes((byte,)))
                sent += 1
                with suppress(TimeoutError):
                    assert connection.recv(1) == b""
                    break
        assert sent < len(data), "each of its bytes kept it alive"


def test_a_packet_in_pieces_is_put_together(hub, device):
    with connected(hub, *device) as connection:
        data = mqtt.render_packet(telemetry(device[0], 1, 9))
        for byte in data[:-1]:
            connection.sendall(bytes((byte,)))
        assert ask(connection, data[-1:]) == mqtt.PubAck(9)


def test_many_packets_in_one_piece_are_taken_apart(hub, device):
    with connected(hub, *device) as connection:
        connection.sendall(mqtt.render_packet(mqtt.PingReq()) * 500)
        assert take(connection, 1000) == mqtt.render_packet(mqtt.PingResp()) * 500


# credentials


def test_a_renewed_token_takes_over_at_once_and_the_session_stays(hub, service, device):
    name, key = device
    with connected(hub, name, key, expires_in_s=30) as old:
        ask(old, mqtt.Subscribe(1, ((topics.DESIRED_PATCHES, 0),)))
        with connected(hub, name, key, expires_in_s=3600, session=True) as new:
            assert read_to_end(old) == b""
            service.done("PATCH", f"/twins/{name}", {"properties": {"desired": {"a": 1}}})
            head = take(new, 2)
            packet = mqtt.parse_packet(head + take(new, head[1]))
            assert packet.payload == b'{"a":1,"$version":2}'
            assert service.done("GET", f"/devices/{name}")["connectionState"] == "Connected"


def test_a_replayed_token_opens_nothing_once_the_key_is_another(hub, service, device):
    name, key = device
    token = render_sas(topics.resource(hub.host_name, name), key, int(time.time()) + 3600)
    with MqttClient(hub, name, None, key, token=token) as client:
        assert client.connack[0] == 0
        fresh = {"symmetricKey": {"primaryKey": "a" * 43 + "=", "secondaryKey": "b" * 43 + "="}}
        body = {"deviceId": name, "authentication": {"type": "sas", **fresh}}
        service.done("PUT", f"/devices/{name}", body, headers={"If-Match": "*"})
        assert client.wait_for("disconnect"), "who came in with the old key is put out"
        client.paho.loop_stop()
    with MqttClient(hub, name, None, key, token=token) as client:
        assert client.connack[0] == 135


def test_a_token_of_another_device_opens_nothing(hub, service, device):
    other = service.new_device(edge=False)
    token = render_sas(
        topics.resource(hub.host_name, other["deviceId"]), key_of(other), int(time.time()) + 60
    )
    with MqttClient(hub, device[0], None, "", token=token) as client:
        assert client.connack[0] == 135


def test_a_tampered_token_opens_nothing(hub, device):
    name, key = device
    soon = int(time.time()) + 60
    token = render_sas(topics.resource(hub.host_name, name), key, soon)
    for wrong in (
        token.replace(str(soon), str(soon + 9999)),
        token.replace("sig=", "sig=A"),
        token + "&skn=iothubowner",
        token.replace(name, name[:-1]),
        "",
        token.removeprefix("SharedAccessSignature "),
    ):
        with MqttClient(hub, name, None, "", token=wrong or " ") as client:
            assert client.connack[0] == 135


def test_a_disabled_device_is_cut_off_at_once_and_not_heard_any_more(hub, service, device):
    name, key = device
    with connected(hub, name, key) as connection:
        service.done("PUT", f"/devices/{name}", {"status": "disabled"}, headers={"If-Match": "*"})
        path = f"/devices/{name}"
        assert wait_until(lambda: service.done("GET", path)["connectionState"] == "Disconnected", 20)
        report = mqtt.Publish(topics.render_reported_patch("1"), b'{"late": true}', 1, 1)
        with suppress(OSError):
            connection.sendall(mqtt.render_packet(report))
            read_to_end(connection)
    assert "late" not in service.done("GET", f"/twins/{name}")["properties"]["reported"]


def test_another_devices_twin_is_out_of_reach(hub, service, device):
    other = service.new_device(edge=False)["deviceId"]
    before = service.done("GET", f"/twins/{other}")
    for topic in (
        f"devices/{other}/messages/events/",
        f"$iothub/twin/PATCH/properties/reported/{other}/?$rid=1",
        f"devices/{other}/twin/PATCH/properties/reported/?$rid=1",
        f"$iothub/{other}/twin/PATCH/properties/reported/?$rid=1",
    ):
        with connected(hub, *device) as connection:
            connection.sendall(mqtt.render_packet(mqtt.Publish(topic, b'{"mine": 1}', 0)))
            connection.sendall(mqtt.render_packet(mqtt.Disconnect()))
            read_to_end(connection)
    assert service.done("GET", f"/twins/{other}") == before


# harm to others


def test_one_that_floods_holds_nobody_up(hub, service, device):
    name, key = device
    calm = service.new_device(edge=False)
    stop = threading.Event()
    with connected(hub, name, key) as flood:
        packet = mqtt.render_packet(mqtt.Publish(topics.render_telemetry(name, None, {}), b"x" * 20_000, 0))

        def pump():
            with suppress(OSError):
                while not stop.is_set():
                    flood.sendall(packet)

        thread = threading.Thread(target=pump)
        thread.start()
        try:
            before = resident_kib(hub)
            with MqttClient(hub, calm["deviceId"], None, key_of(calm)) as client:
                for _ in range(20):
                    assert client.twin()["desired"] == {"$version": 1}
                    client.publish(topics.render_telemetry(calm["deviceId"], None, {}), b"y")
            assert resident_kib(hub) - before < 200 * 1024
        finally:
            stop.set()
            thread.join()


def resident_kib(hub) -> int:
    with open(f"/proc/{hub.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
