"""Random and mutated bytes against a running hub: nobody else notices, and it keeps its size."""

import asyncio
import contextlib
import random
import ssl
import time

import pytest

from edgeferry.hub.tls import READ_BYTES, shrink_read_buffer
from edgeferry.wire import mqtt, topics
from tests.hub.clients import MqttClient, key_of
from tests.hub.test_mqtt import connect_packet, raw, read_to_end
from tests.hub.test_mqtt_rules import resident_kib, take

ROUNDS = 60


@pytest.fixture
def device(service):
    """(device id, key) of a fresh device."""
    made = service.new_device(edge=False)
    return made["deviceId"], key_of(made)


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Some bytes changed, dropped or put in."""
    text = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        text[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 3))
    return bytes(text)


def say(connection, data: bytes) -> None:
    """Says it, hangs up its own half, and waits until the hub has."""
    connection.settimeout(20)
    with contextlib.suppress(OSError):
        connection.sendall(data)
        connection.unwrap()
    with contextlib.suppress(OSError):
        read_to_end(connection)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_from_whoever_it_is_end_in_a_closed_connection(hub, device, seed):
    chance = random.Random(seed)
    name, key = device
    good = connect_packet(hub, name, None, key)
    before = resident_kib(hub)
    with MqttClient(hub, name, None, key) as bystander:
        for round_ in range(ROUNDS):
            data = (
                chance.randbytes(chance.randint(1, 3000))
                if round_ % 2
                else mutate(chance, good[:60]) + good[60:]
            )
            if round_ % 2 == 0 and data == good:
                continue
            with raw(hub) as connection:
                say(connection, data)
        if not bystander.paho.is_connected():  # a mutation that left the identity whole took its place
            bystander.wait_for("connect")
        assert bystander.twin()["desired"] == {"$version": 1}
    assert resident_kib(hub) - before < 50 * 1024
    assert hub.process.poll() is None
    assert '"failure"' not in (hub.state / "log").read_text()
    assert "Traceback" not in (hub.state / "log").read_text()


@pytest.mark.parametrize("seed", range(3))
def test_bytes_from_a_client_that_is_in_harm_nobody(hub, service, device, seed):
    chance = random.Random(seed)
    name, key = device
    other = service.new_device(edge=False)
    packets = [
        mqtt.render_packet(one)
        for one in (
            mqtt.Publish(topics.render_telemetry(name, None, {"$.ct": "a/b", "k": "v"}), b"body", 1, 7),
            mqtt.Publish(topics.render_twin_get("1"), b" ", 1, 8),
            mqtt.Publish(topics.render_reported_patch("2"), b'{"a": {"b": [1, 2]}}', 1, 9),
            mqtt.Publish(topics.render_method_response(200, "1"), b"{}", 0),
            mqtt.Subscribe(3, ((topics.METHODS, 1), (topics.TWIN_RESPONSES, 0))),
            mqtt.Unsubscribe(4, (topics.METHODS,)),
            mqtt.PingReq(),
        )
    ]
    before = resident_kib(hub)
    for _ in range(ROUNDS):
        with raw(hub) as connection:
            connection.sendall(connect_packet(hub, name, None, key))
            assert take(connection, 4)[3] == 0
            say(connection, b"".join(mutate(chance, chance.choice(packets)) for _ in range(5)))
    with MqttClient(hub, other["deviceId"], None, key_of(other)) as client:
        assert client.twin()["desired"] == {"$version": 1}
    assert service.done("GET", f"/twins/{other['deviceId']}")["properties"]["reported"]["$version"] == 1
    assert resident_kib(hub) - before < 50 * 1024
    assert "Traceback" not in (hub.state / "log").read_text()


def test_before_connect_only_so_much_is_listened_to(hub):
    """A first packet that says it is longer than 16 KiB ends it at once, whatever it would have been."""
    for length, ends in ((b"\x80\x80\x02", True), (b"\x80\x7f", False)):  # 32 KiB; just below 16 KiB
        with raw(hub) as connection:
            connection.sendall(b"\x10" + length + b"\x00\x04MQTT\x04")
            connection.settimeout(1)
            if ends:
                assert read_to_end(connection) == b""
            else:
                with pytest.raises(TimeoutError):
                    connection.recv(1)


def test_who_never_says_who_it_is_is_closed_in_time(hub):
    began = time.monotonic()
    with raw(hub) as connection:
        connection.settimeout(40)
        connection.sendall(b"\x10")
        assert read_to_end(connection) == b""
    assert time.monotonic() - began < 30


def test_a_nested_report_is_refused_and_the_hub_lives(hub, device):
    name, key = device
    with MqttClient(hub, name, None, key) as client:
        for body in (b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000):
            assert client.report(body).status == 400
        assert client.twin()["reported"] == {"$version": 1}


def test_an_idle_client_costs_little(hub, service, device):
    """asyncio alone would take 256 KiB for each to read through."""
    token = service.token("device").encode()
    names = [service.new_device(edge=False)["deviceId"] for _ in range(100)]

    async def measure() -> float:
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        writers = []

        async def enter(name: str) -> None:
            reader, writer = await asyncio.open_connection(hub.address, hub.mqtt_port, ssl=context)
            user = topics.username(hub.host_name, name)
            writer.write(mqtt.render_packet(mqtt.Connect(name, user, token, False, 60)))
            assert (await reader.readexactly(4))[3] == 0
            writers.append(writer)

        for name in names[:20]:
            await enter(name)
        before = resident_kib(hub)
        for name in names[20:]:
            await enter(name)
        after = resident_kib(hub)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        return (after - before) / 80

    assert asyncio.run(measure()) < 150


def test_a_transport_with_other_insides_is_left_as_it_is():
    class Other(asyncio.Transport):
        pass

    assert shrink_read_buffer(Other()) is False
    assert READ_BYTES == 16 * 1024
