import gc
import threading

import pytest

from edgeferry.device.link import Handlers, Link, place
from edgeferry.errors import HubError
from edgeferry.wire.connection import ConnectionString
from tests.device.conftest import wait_until


class Seen:
    """What a link said, and how it connects."""

    def __init__(self, connection):
        self.connection = connection
        self.desired = []
        self.reported = []
        self.methods = []
        self.asked = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def connect_as(self, refused):
        self.asked.append(refused)
        return self.connection

    def on_desired(self, desired, version):
        self.desired.append((desired, version))

    def on_method(self, name, payload):
        self.methods.append((name, payload))
        self.may_answer.wait(10)
        if name == "broken":
            return 200, payload["missing"]
        return 201, {"echo": payload}

    def link(self, hub, **options):
        handlers = Handlers(
            lambda desired, version: self.desired.append((desired, version)),
            self.reported.append,
            lambda: None,
            self.on_method,
        )
        return Link(self.connect_as, hub.ca_file, handlers, **options)


@pytest.fixture
def seen(hub, device):
    return Seen(hub.create_module(device, "probe"))


@pytest.fixture
def link(hub, seen):
    link = seen.link(hub)
    link.start()
    try:
        wait_until(lambda: link.connected, what="connected")
        yield link
    finally:
        link.stop()


def test_the_twin_arrives_after_connecting(hub, device, seen):
    hub.patch_desired(device, "probe", {"a": {"b": 1}})
    link = seen.link(hub)
    link.start()
    try:
        wait_until(lambda: link.connected)
        assert seen.desired == [({"a": {"b": 1}}, 2)]
        assert seen.reported == [{}]
    finally:
        link.stop()
    assert not link.connected


def test_a_desired_patch_is_merged_and_told_once(hub, device, seen, link):
    hub.patch_desired(device, "probe", {"a": {"b": 1, "c": 2}})
    hub.patch_desired(device, "probe", {"a": {"b": None, "d": 3}})
    wait_until(lambda: seen.desired[-1][1] == 3)
    assert seen.desired == [({}, 1), ({"a": {"b": 1, "c": 2}}, 2), ({"a": {"c": 2, "d": 3}}, 3)]


def test_reported_properties_reach_the_hub(hub, device, link):
    link.report({"x": {"y": [1]}})
    link.report({"x": {"z": None}, "w": 2})
    reported = hub.reported(device, "probe")
    assert (reported["x"], reported["w"]) == ({"y": [1]}, 2)


def test_a_report_the_hub_refuses_is_an_error_with_its_status(link):
    with pytest.raises(HubError) as caught:
        link.report({"x": "y" * 40_000})
    assert caught.value.status in (400, 413)
    assert not caught.value.retryable


def test_a_report_without_connection_is_a_retryable_error(hub, seen):
    with pytest.raises(HubError) as caught:
        seen.link(hub).report({"x": 1})
    assert caught.value.retryable


def test_methods_are_answered_with_status_and_payload(hub, device, seen, link):
    answer = hub.call(device, "probe", "my method/1", {"n": 1})
    assert answer == {"status": 201, "payload": {"echo": {"n": 1}}}
    assert seen.methods == [("my method/1", {"n": 1})]


def test_a_method_that_cannot_read_its_payload_answers_400(hub, device, link):
    answer = hub.call(device, "probe", "broken", {})
    assert answer["status"] == 400
    assert "missing" in answer["payload"]["message"]


def test_a_slow_method_does_not_hold_up_the_link(hub, device, seen, link):
    seen.may_answer.clear()
    caller = threading.Thread(target=hub.call, args=(device, "probe", "slow", {}))
    caller.start()
    try:
        wait_until(lambda: seen.methods)
        hub.patch_desired(device, "probe", {"meanwhile": 1})
        wait_until(lambda: seen.desired[-1][0] == {"meanwhile": 1})
        link.report({"meanwhile": 1})
    finally:
        seen.may_answer.set()
        caller.join(10)


def test_the_link_comes_back_after_a_hub_restart_with_what_changed_meanwhile(own_hub):
    own_hub.create_device("d")
    seen = Seen(own_hub.create_module("d", "probe"))
    link = seen.link(own_hub)
    link.start()
    try:
        wait_until(lambda: link.connected)
        own_hub.stop()
        wait_until(lambda: not link.connected)
        own_hub.start()
        own_hub.patch_desired("d", "probe", {"back": True})
        wait_until(lambda: seen.desired[-1][0] == {"back": True}, what="the change arrives")
        wait_until(lambda: link.connected)
        own_hub.patch_desired("d", "probe", {"live": True})
        wait_until(lambda: seen.desired[-1][0] == {"back": True, "live": True})
        link.report({"still": "here"})
    finally:
        link.stop()


def test_an_older_desired_version_changes_nothing(hub, device, seen):
    link = seen.link(hub, seen_version=100)
    link.start()
    try:
        wait_until(lambda: link.connected)
        hub.patch_desired(device, "probe", {"old": 1})
        link.report({"now": 1})
        assert seen.desired == []
    finally:
        link.stop()


def test_a_refused_key_is_told_to_who_gives_the_credential(hub, device, seen):
    good = seen.connection
    seen.connection = ConnectionString(
        good.host_name, "d3Jvbmc=", None, device, "probe", good.gateway_host_name
    )
    link = seen.link(hub)
    link.start()
    try:
        wait_until(lambda: True in seen.asked, what="refusal noticed")
        assert not link.connected
        seen.connection = good
        wait_until(lambda: link.connected, what="connected with the right key")
    finally:
        link.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket to gc
def test_a_hub_with_another_certificate_authority_is_not_trusted(hub, seen, tmp_path, own_hub):
    handlers = Handlers(lambda *_: None, seen.reported.append, lambda: None, seen.on_method)
    link = Link(seen.connect_as, own_hub.ca_file, handlers)
    link.start()
    try:
        wait_until(lambda: len(seen.asked) >= 2, what="tried twice")
        assert seen.reported == []
    finally:
        link.stop()
        gc.collect()


@pytest.mark.parametrize(
    ("host_name", "gateway", "found"),
    [
        ("hub.azure-devices.net", None, ("hub.azure-devices.net", 8883)),
        ("127.0.0.7:8443", None, ("127.0.0.7", 8883)),
        ("127.0.0.7:8443", "edgeferry-hub", ("edgeferry-hub", 8883)),
        ("127.0.0.7:8443", "127.0.0.7:18883", ("127.0.0.7", 18883)),
    ],
)
def test_the_gateway_says_where_to_connect(host_name, gateway, found):
    assert place(ConnectionString(host_name, "key", None, "d", None, gateway)) == found
