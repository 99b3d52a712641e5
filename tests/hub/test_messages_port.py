"""The port `Messages` over our own hub, joined as the command line joins it."""

import json

import pytest

from edgeferry.domain.message import Message
from edgeferry.errors import HubError, UsageError
from edgeferry.settings import load_settings
from edgeferry.wire import topics
from edgeferry.wiring import open_messages
from tests.hub.clients import MqttClient, key_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that says nothing of a hub."""
    monkeypatch.delenv("EDGEFERRY_HUB__CONNECTION_STRING", raising=False)
    (tmp_path / "edgeferry.toml").write_text("")
    return tmp_path


@pytest.fixture
def messages(hub, project):
    text = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    flags = {"hub.connection_string": text, "hub.ca_file": str(hub.ca_file)}
    with open_messages(load_settings(project, flags), print) as opened:
        yield opened


def test_messages_are_read_followed_and_their_bytes_kept(hub, service, messages):
    device = service.new_device(edge=False)
    name = device["deviceId"]
    start = messages.read("end").next
    with MqttClient(hub, name, None, key_of(device)) as client:
        for body, bag in (
            (b"\xff\x00", {"a": "b"}),
            (b'{"t":1}', {"$.ct": "application/json;charset=utf-8"}),
        ):
            client.publish(topics.render_telemetry(name, None, bag), body)
    first = messages.read(start, limit=1)
    second = messages.read(first.next, wait_s=5, device=name)
    [one], [two] = first.messages, second.messages
    assert one == Message(name, None, one.enqueued_at, {}, {"a": "b"}, b"\xff\x00", one.sequence)
    assert (two.body, two.is_json, two.sequence) == (b'{"t":1}', True, one.sequence + 1)
    assert messages.read(second.next, wait_s=0.2).messages == []


def test_a_cursor_of_something_else_is_refused_with_what_is_right(messages):
    with pytest.raises(HubError, match="cursor"):
        messages.read("0:1")


def test_a_hub_of_azures_without_its_events_endpoint_says_what_to_set(project):
    flags = {
        "hub.connection_string": "HostName=h.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey=a2V5"
    }
    with (
        pytest.raises(UsageError, match="Event Hub-compatible") as caught,
        open_messages(load_settings(project, flags), print),
    ):
        pass
    assert "EDGEFERRY_HUB__EVENTS_CONNECTION_STRING" in caught.value.fix
