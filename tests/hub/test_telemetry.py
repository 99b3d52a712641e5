import base64
import resource
import sqlite3
import ssl
import threading
import time
from contextlib import ExitStack, closing, suppress

import httpx
import pytest

from edgeferry.wire import mqtt, topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, Service, key_of
from tests.hub.test_mqtt import connect_packet, raw, read_to_end, wait_until
from tests.hubs import RunningHub, free_address

EVENTS = "/messages/events"


@pytest.fixture
def device(service):
    """(device id, key) of a fresh device."""
    made = service.new_device(edge=False)
    return made["deviceId"], key_of(made)


@pytest.fixture
def here(service):
    """A cursor behind all that was said before."""
    return read(service)["next"]


def ask(service, **query):
    return service.http.get(
        f"https://{service.hub.host_name}{EVENTS}",
        params={"api-version": "2021-04-12", **query},
        headers={"Authorization": service.token()},
        timeout=90,
    )


def read(service, after: str = "end", **query) -> dict:
    response = ask(service, after=after, **query)
    assert response.status_code == 200, response.text
    return response.json()


def read_all(service, after: str) -> list[dict]:
    messages = []
    while (page := read(service, after, limit=1000))["messages"]:
        messages += page["messages"]
        after = page["next"]
    return messages


def tell(client: MqttClient, body: bytes = b"{}", **properties) -> None:
    client.publish(topics.render_telemetry(client.device, client.module, properties), body)


# keeping and reading


def test_a_message_is_read_with_all_that_it_carried(hub, service, device, here):
    name, key = device
    bag = {"$.mid": "m 1", "$.ct": "application/json", "$.ce": "utf-8", "a b": "c/d=ü", "$.on": "out"}
    with MqttClient(hub, name, None, key) as client:
        tell(client, '{"t": [1, null, "ü"]}'.encode(), **bag)
    [message] = read(service, here)["messages"]
    assert message.pop("sequence") > 0
    assert message.pop("enqueuedTime").endswith("Z")
    assert message == {
        "deviceId": name,
        "systemProperties": {
            "messageId": "m 1",
            "contentType": "application/json",
            "contentEncoding": "utf-8",
            "outputName": "out",
        },
        "properties": {"a b": "c/d=ü"},
        "encoding": "json",
        "body": {"t": [1, None, "ü"]},
    }


@pytest.mark.parametrize(
    ("bag", "body"),
    [
        pytest.param({}, b"{}", id="says nothing"),
        pytest.param({"$.ct": "application/json"}, b"{}", id="names no encoding, as Azure wants it named"),
        pytest.param({"$.ct": "application/json", "$.ce": "utf-8"}, b"{", id="is no JSON"),
        pytest.param({"$.ct": "application/json;charset=utf-8"}, b"NaN", id="is not a number"),
        pytest.param({"$.ct": "text/plain", "$.ce": "utf-8"}, b"1", id="is a text"),
        pytest.param({}, b"", id="is empty"),
    ],
)
def test_a_body_that_does_not_say_json_in_utf_8_comes_as_base64(hub, service, device, here, bag, body):
    with MqttClient(hub, device[0], None, device[1]) as client:
        tell(client, body, **bag)
    [message] = read(service, here)["messages"]
    assert (message["encoding"], base64.b64decode(message["body"])) == ("base64", body)


def test_a_module_is_named_and_a_valueless_property_has_none(hub, service, here):
    device = service.new_device()["deviceId"]
    key = key_of(service.new_module(device))
    with MqttClient(hub, device, "m", key) as client:
        client.publish(f"devices/{device}/modules/m/messages/events/flag&a=", b"x")
    [message] = read(service, here)["messages"]
    assert (message["moduleId"], message["properties"]) == ("m", {"flag": None, "a": ""})


def test_pages_follow_each_other_without_gap_or_repetition(hub, service, device, here):
    with MqttClient(hub, device[0], None, device[1]) as client:
        for number in range(25):
            tell(client, str(number).encode())
    bodies, cursor, pages = [], here, 0
    while (page := read(service, cursor, limit=10))["messages"]:
        bodies += [int(base64.b64decode(one["body"])) for one in page["messages"]]
        cursor, pages = page["next"], pages + 1
        assert page["lost"] == 0
    assert (bodies, pages) == (list(range(25)), 3)


def test_one_device_is_read_alone(hub, service, device, here):
    other = service.new_device(edge=False)
    with (
        MqttClient(hub, device[0], None, device[1]) as one,
        MqttClient(hub, other["deviceId"], None, key_of(other)) as two,
    ):
        for client in (one, two, one, two):
            tell(client)
    page = read(service, here, device=other["deviceId"])
    assert {one["deviceId"] for one in page["messages"]} == {other["deviceId"]}
    assert len(page["messages"]) == 2
    assert read(service, page["next"])["messages"] == []


def test_a_page_is_not_larger_than_a_reader_can_carry(hub, service, device, here):
    with MqttClient(hub, device[0], None, device[1]) as client:
        for _ in range(20):
            tell(client, b"x" * 250_000)
    page = read(service, here, limit=1000)
    assert 1 < len(page["messages"]) < 20
    assert len(read_all(service, here)) == 20


def test_who_waits_is_woken_by_the_message_and_by_nobody_elses(hub, service, device):
    other = service.new_device(edge=False)
    answers = []

    def wait():
        answers.append(read(service, "end", wait=60, device=device[0]))

    thread = threading.Thread(target=wait)
    began = time.monotonic()
    thread.start()
    with (
        MqttClient(hub, device[0], None, device[1]) as mine,
        MqttClient(hub, other["deviceId"], None, key_of(other)) as theirs,
    ):
        while thread.is_alive() and time.monotonic() - began < 30:
            tell(theirs)
            if time.monotonic() - began > 0.5:
                tell(mine)
    thread.join()
    assert {one["deviceId"] for one in answers[0]["messages"]} == {device[0]}
    assert time.monotonic() - began < 30, "it was not woken, it waited to the end"


def test_who_waits_in_vain_is_answered_in_time(service):
    began = time.monotonic()
    assert read(service, "end", wait=1)["messages"] == []
    assert time.monotonic() - began >= 0.9


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "wait=61", "wait=-1", "wait=1.5", "after=nonsense", "after=0-1"],
)
def test_a_wrong_question_is_refused_with_what_is_right(service, query):
    name, _, value = query.partition("=")
    response = ask(service, **{name: value})
    assert (response.status_code, response.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")


@pytest.mark.parametrize(("policy", "status"), [("service", 200), ("device", 401), ("registryRead", 401)])
def test_reading_takes_the_right_service_connect(service, policy, status):
    assert service.ask("GET", EVENTS, token=service.token(policy)).status_code == status


def test_a_device_may_not_read_what_devices_said(hub, service, device):
    token = render_sas(topics.resource(hub.host_name, device[0]), device[1], int(time.time()) + 60)
    assert service.ask("GET", EVENTS, token=token).status_code == 401


# wills, retain


@pytest.mark.parametrize("goodbye", [True, False], ids=["DISCONNECT", "cut off"])
def test_a_will_becomes_telemetry_unless_the_client_says_goodbye(hub, service, device, here, goodbye):
    name, key = device
    will = mqtt.Will(topics.render_telemetry(name, None, {"why": "power"}), b"gone", 1, True)
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, name, None, key, will=will))
        assert connection.recv(4)[3] == 0
        if goodbye:
            connection.sendall(mqtt.render_packet(mqtt.Disconnect()))
            assert read_to_end(connection) == b""
    with MqttClient(hub, name, None, key) as client:
        tell(client, b"after")
    messages = read(service, here, wait=5)["messages"]
    wills = [one for one in messages if one["properties"].get("iothub-MessageType") == "Will"]
    if goodbye:
        assert wills == []
        return
    [one] = wills
    assert base64.b64decode(one["body"]) == b"gone"
    assert one["properties"] == {"why": "power", "iothub-MessageType": "Will", "x-opt-retain": "true"}


@pytest.mark.parametrize("how", ["a wrong packet", "another connection", "deletion"])
def test_a_will_is_taken_whoever_ends_the_connection(hub, service, device, here, how):
    name, key = device
    will = mqtt.Will(topics.render_telemetry(name, None, {}), b"gone", 0, False)
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, name, None, key, will=will))
        assert connection.recv(4)[3] == 0
        if how == "a wrong packet":
            connection.sendall(b"\x00\x00")
        elif how == "deletion":
            service.done("DELETE", f"/devices/{name}", headers={"If-Match": "*"})
        else:
            with MqttClient(hub, name, None, key):
                pass
        read_to_end(connection)
    [one] = read(service, here, wait=10)["messages"]
    assert one["properties"] == {"iothub-MessageType": "Will"}


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        pytest.param("devices/another/messages/events/", 5, id="another's"),
        pytest.param("devices/{}/modules/m/messages/events/", 5, id="its module's"),
        pytest.param("$iothub/twin/PATCH/properties/reported/?$rid=1", 4, id="its twin"),
        pytest.param("any/topic", 4, id="a topic of its own"),
    ],
)
def test_a_will_for_anything_but_its_own_telemetry_is_refused_at_the_door(hub, device, topic, code):
    name, key = device
    with raw(hub) as connection:
        will = mqtt.Will(topic.format(name), b"x", 0, False)
        connection.sendall(connect_packet(hub, name, None, key, will=will))
        assert read_to_end(connection) == mqtt.render_packet(mqtt.ConnAck(code))


def test_retain_is_told_to_the_reader(hub, service, device, here):
    with MqttClient(hub, device[0], None, device[1]) as client:
        topic = topics.render_telemetry(device[0], None, {})
        info = client.paho.publish(topic, b"x", qos=1, retain=True)
        info.wait_for_publish(10)
    [one] = read(service, here)["messages"]
    assert one["properties"] == {"x-opt-retain": "true"}


# what survives


def test_every_acknowledged_message_survives_kill_9(hub, service, device, here):
    name, key = device
    topic = topics.render_telemetry(name, None, {})
    with raw(hub) as connection:
        connection.sendall(connect_packet(hub, name, None, key))
        assert connection.recv(4)[3] == 0

        def pump():
            with suppress(OSError):
                for number in range(1, 50_000):
                    packet = mqtt.Publish(topic, str(number).encode(), 1, number)
                    connection.sendall(mqtt.render_packet(packet))

        thread = threading.Thread(target=pump)
        thread.start()
        acks = b""
        while len(acks) < 4 * 1000:
            acks += connection.recv(4096)
        hub.process.kill()
        acks += read_to_end(connection)
        thread.join()
    hub.process.wait()
    hub.start()
    acknowledged = [mqtt.parse_packet(acks[at : at + 4]).packet_id for at in range(0, len(acks) - 3, 4)]
    assert acknowledged == list(range(1, len(acknowledged) + 1)), "PUBACKs come in the order of the PUBLISHes"
    bodies = [int(base64.b64decode(one["body"])) for one in read_all(service, here)]
    assert bodies == list(range(1, len(bodies) + 1))
    assert len(bodies) >= len(acknowledged) >= 1000
    numbers = [one["sequence"] for one in read_all(service, "")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_presence_survives_a_restart_and_nobody_is_connected_after_kill_9(hub, service, device):
    name, key = device
    other = service.new_device(edge=False)
    with MqttClient(hub, name, None, key), MqttClient(hub, other["deviceId"], None, key_of(other)) as leaver:
        leaver.close()
        assert wait_until(lambda: shown(service, other["deviceId"])["connectionState"] == "Disconnected")
        before = shown(service, name)
        left = shown(service, other["deviceId"])
        assert before["connectionState"] == "Connected"
        assert before["lastActivityTime"] > "2020"
        assert wait_until(lambda: written(hub, name) == 1 and written(hub, other["deviceId"]) == 0)
        hub.process.kill()
        hub.process.wait()
    hub.start()
    after = shown(service, name)
    assert after["connectionState"] == "Disconnected"
    assert after["lastActivityTime"] == before["lastActivityTime"]
    assert after["connectionStateUpdatedTime"] > before["connectionStateUpdatedTime"]
    assert shown(service, other["deviceId"]) == left
    hub.stop()
    hub.start()
    assert shown(service, name) == after


def test_activity_is_remembered_to_within_seconds(hub, service, device):
    name, key = device
    with MqttClient(hub, name, None, key) as client:
        connected = shown(service, name)["lastActivityTime"]
        assert wait_until(lambda: tell(client) or shown(service, name)["lastActivityTime"] > connected)
        said = shown(service, name)["lastActivityTime"]
        with closing(sqlite3.connect(hub.state / "messages.db")) as database:
            query = "SELECT active_at FROM presence WHERE device = ?"
            assert wait_until(lambda: database.execute(query, (name,)).fetchone()[0] >= said)


def test_a_device_made_anew_was_never_seen(hub, service, device):
    name, key = device
    with MqttClient(hub, name, None, key):
        service.done("DELETE", f"/devices/{name}", headers={"If-Match": "*"})
    service.done("PUT", f"/devices/{name}", {"deviceId": name})
    assert shown(service, name)["lastActivityTime"] == "0001-01-01T00:00:00Z"
    assert shown(service, name)["connectionState"] == "Disconnected"


def written(hub, device: str) -> int:
    """Whether the file says that the device is connected."""
    with closing(sqlite3.connect(hub.state / "messages.db")) as database:
        query = "SELECT connected FROM presence WHERE device = ?"
        return database.execute(query, (device,)).fetchone()[0]


def shown(service, device: str) -> dict:
    names = ("connectionState", "connectionStateUpdatedTime", "lastActivityTime")
    document = service.done("GET", f"/devices/{device}")
    return {name: document[name] for name in names}


# a disk that does not take it


def test_a_full_disk_costs_the_connection_and_nothing_else(small_hub):
    service = small_hub()
    key = service.hub.create_device("d")
    _, hard = resource.prlimit(service.hub.process.pid, resource.RLIMIT_FSIZE)
    with MqttClient(service.hub, "d", None, key) as client:
        tell(client, b"before")
        resource.prlimit(service.hub.process.pid, resource.RLIMIT_FSIZE, (150_000, hard))
        info = client.paho.publish(topics.render_telemetry("d", None, {}), b"x" * 250_000, qos=1)
        assert client.wait_for("disconnect")
        assert not info.is_published()
    assert service.done("PATCH", "/twins/d", {"tags": {"a": "b"}})["tags"] == {"a": "b"}
    resource.prlimit(service.hub.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    with MqttClient(service.hub, "d", None, key) as client:
        tell(client, b"after")
    bodies = [base64.b64decode(one["body"]) for one in read(service, "")["messages"]]
    assert bodies == [b"before", b"after"]


def test_a_disk_that_stands_still_costs_the_connection_and_holds_no_twin_up(hub, service, device, here):
    name, key = device
    with (
        MqttClient(hub, name, None, key) as client,
        closing(sqlite3.connect(hub.state / "messages.db", isolation_level=None)) as blocker,
    ):
        blocker.execute("BEGIN IMMEDIATE")
        info = client.paho.publish(topics.render_telemetry(name, None, {}), b"x", qos=1)
        twin = service.done("PATCH", f"/twins/{name}", {"tags": {"a": "b"}})
        assert twin["tags"] == {"a": "b"}
        assert client.wait_for("disconnect")
        assert not info.is_published()
        blocker.execute("ROLLBACK")
    with MqttClient(hub, name, None, key) as client:
        tell(client, b"again")
    assert base64.b64decode(read_all(service, here)[-1]["body"]) == b"again"


# bounds


@pytest.fixture
def small_hub(tmp_path):
    """Starts hubs that keep little, on the same state folder: `start(count=…, bytes=…, age=…)`."""
    with ExitStack() as stack:

        def start(**bounds) -> Service:
            options = tuple(
                part for name, value in bounds.items() for part in (f"--messages-{name}", str(value))
            )
            hub = RunningHub(tmp_path, free_address(), 8443, 8883, options=options)
            stack.callback(hub.stop)
            hub.start()
            context = ssl.create_default_context(cafile=str(hub.ca_file))
            return Service(
                hub, stack.enter_context(httpx.Client(verify=context, trust_env=False, timeout=40))
            )

        yield start


def test_empty_messages_take_room_too(small_hub):
    service = small_hub(bytes=640)
    with MqttClient(service.hub, "d", None, service.hub.create_device("d")) as client:
        for _ in range(30):
            tell(client, b"")
    assert [one["sequence"] for one in read(service, "")["messages"]] == list(range(21, 31))


@pytest.mark.parametrize("bounds", [{"count": 10}, {"bytes": 10_000}], ids=["count", "bytes"])
def test_the_oldest_go_first_and_the_reader_is_told_how_many(small_hub, bounds):
    service = small_hub(**bounds)
    key = service.hub.create_device("d")
    with MqttClient(service.hub, "d", None, key) as client:
        tell(client, b"0".zfill(936))
        cursor = read(service)["next"]
        for number in range(1, 31):
            tell(client, str(number).encode().zfill(936))
    page = read(service, cursor)
    kept = [int(base64.b64decode(one["body"])) for one in page["messages"]]
    assert kept == list(range(21, 31))
    assert page["lost"] == 20
    assert read(service, "")["lost"] == 0, "who asks for what there is has lost nothing"
    assert read(service, page["next"]) == {"messages": [], "next": page["next"], "lost": 0}


def test_old_messages_go_and_their_numbers_are_not_given_again(small_hub):
    service = small_hub(age=1)
    key = service.hub.create_device("d")
    with MqttClient(service.hub, "d", None, key) as client:
        tell(client)
        assert wait_until(lambda: read(service, "")["messages"] == [], 20)
    service.hub.stop()
    service = small_hub()
    with MqttClient(service.hub, "d", None, key) as client:
        tell(client)
    assert [one["sequence"] for one in read(service, "")["messages"]] == [2]


def test_a_cursor_of_other_messages_is_refused(small_hub, tmp_path):
    service = small_hub()
    cursor = read(service)["next"]
    service.hub.stop()
    for file in tmp_path.glob("messages.db*"):
        file.unlink()
    service = small_hub()
    response = ask(service, after=cursor)
    assert response.headers["iothub-errorcode"] == "ArgumentInvalid"


def test_messages_of_a_newer_edgeferry_are_left_alone(small_hub, tmp_path):
    small_hub().hub.stop()
    with closing(sqlite3.connect(tmp_path / "messages.db")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(AssertionError, match="newer edgeferry"):
        small_hub()


def test_who_waits_when_the_hub_stops_is_answered(small_hub):
    service = small_hub()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(read(service, "end", wait=60)))
    thread.start()
    log = service.hub.state / "log"
    time.sleep(1)  # nothing tells from outside that the question has arrived
    service.hub.stop()
    thread.join()
    assert answers[0]["messages"] == []
    assert "failure" not in log.read_text()
