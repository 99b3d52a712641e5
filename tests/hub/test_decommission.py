"""A deleted device is out at once: its connections are closed, and its credential is worth nothing."""

import socket
import time
from contextlib import ExitStack

import pytest

from edgeferry.wire import topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, key_of

SOON_S = 20.0
"""Long before a keep-alive, or the patience with a client that does not answer TLS' goodbye, is over."""


def delete(service, device):
    service.done("DELETE", f"/devices/{device}")


def delete_in_bulk(service, device):
    service.done("POST", "/devices", [{"id": device, "importMode": "delete"}])


@pytest.mark.parametrize("way", [delete, delete_in_bulk])
def test_a_deleted_devices_connections_are_closed_and_it_is_refused(hub, service, way):
    device = service.new_device()
    name, key = device["deviceId"], key_of(device)
    module_key = key_of(service.new_module(name))
    with ExitStack() as stack:  # paho takes its time to close: not counted
        first, second = ((None, key), ("m", module_key))
        connected = [stack.enter_context(MqttClient(hub, name, *one)) for one in (first, second)]
        for client in connected:
            client.subscribe(topics.METHODS)
        since = time.monotonic()
        way(service, name)
        assert refused_by_rest(hub, service, name, key), "the very next request"
        for client in connected:
            client.wait_for("disconnect")
        for one in (first, second):
            assert stack.enter_context(MqttClient(hub, name, *one)).connack[0] == 135
        assert time.monotonic() - since < SOON_S


def refused_by_rest(hub, service, device, key) -> bool:
    token = render_sas(topics.resource(hub.host_name, device), key, int(time.time()) + 600)
    return service.ask("GET", f"/devices/{device}/modules/$edgeAgent", token=token).status_code == 401


def test_one_that_does_not_read_is_closed_all_the_same(hub, service):
    device = service.new_device()
    name = device["deviceId"]
    client = MqttClient(hub, name, None, key_of(device)).connect()
    plain = socket.socket(fileno=socket.dup(client.paho.socket().fileno()))
    try:
        client.paho.loop_stop()  # from here on it neither reads nor answers, not even TLS' goodbye
        since = time.monotonic()
        delete(service, name)
        while not is_over(plain):
            assert time.monotonic() - since < SOON_S, "still open"
            time.sleep(0.01)
    finally:
        plain.close()
        client.close()


def is_over(connection: socket.socket) -> bool:
    """Whether the other side has closed the TCP connection."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # TCP_ESTABLISHED
