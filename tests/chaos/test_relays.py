"""The relays that stand between a device and its servers fail as they are told."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from edgeferry.wire import topics
from tests.chaos.pictures import Picture, base_layer, push_picture
from tests.chaos.relays import HubRelay, RegistryRelay
from tests.engines import LOGIN, RunningRegistry
from tests.hub.clients import MqttClient
from tests.hubs import RunningHub, free_address
from tests.registries import free_port


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def relay(hub: RunningHub) -> Iterator[HubRelay]:
    files = (str(hub.state / "server.pem"), str(hub.state / "server.key"))
    listen = (hub.address, free_port(hub.address))
    relay = HubRelay(listen, (hub.address, hub.mqtt_port), files, str(hub.ca_file)).start()
    yield relay
    relay.stop()


@pytest.fixture
def client(hub: RunningHub, relay: HubRelay) -> Iterator[MqttClient]:
    """A device that speaks to the hub through the relay."""
    there = replace(hub, mqtt_port=relay.listen[1])
    device = f"d-{uuid.uuid4().hex[:8]}"
    with MqttClient(there, device, None, hub.create_device(device), clean=True) as client:
        client.subscribe(topics.DESIRED_PATCHES, topics.TWIN_RESPONSES)
        yield client


def change(client: MqttClient, value: int) -> None:
    client.hub.ask("PATCH", f"/twins/{client.device}", {"properties": {"desired": {"value": value}}})


def test_messages_pass_and_each_way_takes_as_long_as_told(relay: HubRelay, client: MqttClient) -> None:
    change(client, 1)
    assert b'"value":1' in client.message()[1].replace(b" ", b"")
    relay.delay_s = 0.3
    began = time.monotonic()
    assert client.report({"it": 1}).status == 204
    assert time.monotonic() - began >= 0.6
    assert len(relay.attempts) == 1


def test_a_message_comes_as_often_as_the_relay_makes_it(relay: HubRelay, client: MqttClient) -> None:
    relay.mangle = lambda said: [said, said]
    change(client, 2)
    assert client.message() == client.message()


def test_a_relay_that_refuses_ends_connections(relay: HubRelay, client: MqttClient) -> None:
    relay.refusing = True
    relay.drop()
    client.wait_for("disconnect")
    tried = len(relay.attempts)
    deadline = time.monotonic() + 30
    while len(relay.attempts) == tried:
        assert time.monotonic() < deadline, "the client does not try again"
        time.sleep(0.05)
    assert not client.paho.is_connected()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def picture(registry: RunningRegistry, pytestconfig: pytest.Config) -> Picture:
    assert pytestconfig.cache is not None
    return push_picture(registry.address, base_layer(pytestconfig.cache.mkdir("busybox")), b"note")


def test_a_registry_fails_as_told(registry: RunningRegistry, picture: Picture) -> None:
    relay = RegistryRelay(("127.0.0.1", 0), registry.address).start()
    name, _, digest = picture.reference.partition("/")[2].partition("@")
    manifest, blob = f"/v2/{name}/manifests/{digest}", f"/v2/{name}/blobs/{picture.id}"
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    try:
        with httpx.Client(
            base_url=f"http://{relay.address}", auth=LOGIN, trust_env=False, headers=kind
        ) as http:
            whole = http.get(blob).content
            assert http.get(manifest).json()["config"]["digest"] == picture.id
            relay.status = 503
            assert http.get(manifest).status_code == 503
            relay.heal()
            relay.blob_fault = "wrong"
            got = http.get(blob).content
            assert got != whole
            assert len(got) == len(whole)
            relay.blob_fault = "half"
            with pytest.raises(httpx.RemoteProtocolError):
                http.get(blob)
            relay.blob_fault = "manifest"
            assert http.get(blob).content == whole
            relay.heal()
            relay.bytes_per_s = len(whole)
            began = time.monotonic()
            assert http.get(blob).content == whole
            assert time.monotonic() - began >= 0.9
    finally:
        relay.stop()
