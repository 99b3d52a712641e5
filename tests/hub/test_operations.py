"""What an operator sees of a hub: its log, its numbers, how it ends, how much it takes at once."""

import contextlib
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509

from edgeferry.domain.limits import AZURE_RATES, Operation, Rate, take
from edgeferry.hub.access import Access
from edgeferry.hub.admission import Admission, Admitted, Refused
from edgeferry.hub.assigner import new_identity
from edgeferry.hub.logs import mask
from edgeferry.hub.rates import Rates
from edgeferry.hub.server import new_key
from edgeferry.hub.store import open_store
from edgeferry.hub.tls import open_tls
from edgeferry.wire import mqtt as packets
from edgeferry.wire import topics
from edgeferry.wire.sas import render_sas
from tests.hub.clients import MqttClient, Service, key_of
from tests.hubs import RunningHub, free_address

CANARY = "CANARYcanaryCANARYcanaryCANARYcanary12345678"


@contextlib.contextmanager
def owner(hub: RunningHub) -> Iterator[Service]:
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    with httpx.Client(verify=context, trust_env=False, timeout=40) as http:
        yield Service(hub, http)


@pytest.fixture
def lone(tmp_path):
    """A hub of this test's own."""
    running = RunningHub(tmp_path, free_address(), 8443, 8883)
    yield running
    running.stop()


def routes() -> list[tuple[str, str]]:
    names = ("/devices", "/devices/d", "/devices/d/modules", "/devices/d/modules/m", "/twins/d", "/nowhere")
    names += ("/twins/d/modules/m", "/twins/d/methods", "/configurations/c", "/devices/query", "/health")
    return [(method, path) for path in names for method in ("GET", "PUT", "POST", "PATCH", "DELETE")]


FORMS = (
    CANARY,
    f"Basic {CANARY}",
    f"Bearer {CANARY}",
    f"SharedAccessSignature {CANARY}",
    f"SharedAccessSignature sr=x&sig={CANARY}&se=9999999999&skn=iothubowner",
    f"SharedAccessSignature sr=x&sig={quote(CANARY + '=', safe='')}&se=9999999999",
    f"SharedAccessSignature sr={CANARY}&sig=%%%&se={CANARY}",
    f"HostName=h;SharedAccessKeyName=p;SharedAccessKey={CANARY}=",
)


def test_no_secret_is_logged_whatever_comes_in(lone):
    lone.start()
    with owner(lone) as service:
        device = service.new_device()
        for method, path in routes():
            for form in FORMS:
                service.ask(method, path, {"key": f"{CANARY}="} if method != "GET" else None, token=form)
        own_keys = {"symmetricKey": {"primaryKey": f"{CANARY}=", "secondaryKey": f"{CANARY}="}}
        body = {"deviceId": "keyed", "authentication": {"type": "sas", **own_keys}}
        service.ask("PUT", "/devices/keyed", body)
        service.ask("GET", f"/devices/{quote('SharedAccessKey=' + CANARY + '=')}")
        service.ask("GET", f"/twins/{quote('x&sig=' + CANARY)}")
    name = device["deviceId"]
    for form in FORMS:
        with MqttClient(lone, name, None, key_of(device), token=form) as client:
            assert client.connack[0] != 0
        with MqttClient(lone, name, None, key_of(device), user=f"h/{form}/?api-version=2021-04-12") as client:
            assert client.connack[0] != 0
    with MqttClient(lone, f"SharedAccessKey={CANARY}=", None, key_of(device)) as client:
        assert client.connack[0] != 0
    lone.stop()
    log = (lone.state / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) > 100
    assert {"at", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    assert CANARY not in log
    assert key_of(device) not in log
    assert "****" in log  # or nothing came through that could have been masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /devices/device-1", "GET /devices/device-1"),
        ("sr=h&sig=abc%3D&se=1", "sr=h&sig=****&se=1"),
        ("HostName=h;SharedAccessKey=YWJj=;x", "HostName=h;SharedAccessKey=****;x"),
        ("Bearer abc def", "Bearer **** def"),
        ("dCwrE/s7tzhatab39UXwlMneh/iZY3Y6m5gEysbDJLw= x", "**** x"),
        ('{"primaryKey": "abc"}', '{"primaryKey": "****"}'),
        ("sha256:" + "0123456789abcdef" * 4, "sha256:" + "0123456789abcdef" * 4),
    ],
)
def test_masks(text, masked):
    assert mask(text) == masked


def test_a_long_text_is_masked_while_others_wait():
    """As long as a request line may be; tried from each letter anew it takes a minute."""
    piece = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%2b"
    began = time.process_time()
    assert mask(2000 * piece) == 2000 * piece
    assert mask(2000 * piece + "=") == "****"
    assert time.process_time() - began < 10


def test_metrics_count_what_happened_and_name_no_device(lone):
    lone.start()
    with owner(lone) as service:
        device = service.new_device()
        name = device["deviceId"]
        service.ask("GET", "/devices/nobody")
        service.ask("GET", f"/never/{name}")
        with MqttClient(lone, name, None, key_of(device)) as client:
            client.subscribe(topics.DESIRED_PATCHES)
            service.done("PATCH", f"/twins/{name}", {"properties": {"desired": {"a": 1}}})
            client.message()
            numbers = scrape(service)
        with MqttClient(lone, name, None, key_of(device), token="nonsense"):
            pass
        after = scrape(service)
    count = "edgeferry_hub_request_seconds_count"
    assert numbers[count + '{method="PUT",route="/devices/{device}",status="200"}'] == 1
    assert numbers[count + '{method="GET",route="/devices/{device}",status="404"}'] == 1
    assert numbers[count + '{method="",route="other",status="404"}'] == 1
    assert numbers["edgeferry_hub_connections"] == 1
    assert numbers['edgeferry_hub_connects_total{code="0"}'] == 1
    assert numbers["edgeferry_hub_pushes_total"] == 1
    assert after['edgeferry_hub_connects_total{code="5"}'] == 1
    assert not [key for key in after if name in key]


def scrape(service: Service) -> dict[str, float]:
    said = service.http.get(f"https://{service.hub.host_name}/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in said.text.splitlines() if not line.startswith("#")]
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}


def test_told_to_stop_it_answers_what_is_in_flight_and_leaves_one_file(lone):
    lone.start()
    answers = []
    with owner(lone) as service:
        device = service.new_device()
        name = device["deviceId"]
        with MqttClient(lone, name, None, key_of(device)) as client:
            client.subscribe(topics.METHODS)
            body = {"methodName": "slow", "responseTimeoutInSeconds": 30}
            asking = threading.Thread(
                target=lambda: answers.append(service.ask("POST", f"/twins/{name}/methods", body))
            )
            asking.start()
            topic, _ = client.message()
            process = lone.process
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: '"event": "stopping"' in (lone.state / "log").read_text())
            with pytest.raises(ConnectionRefusedError):
                MqttClient(lone, name, None, key_of(device)).paho.connect(lone.address, lone.mqtt_port)
            rid = topic.partition("$rid=")[2]
            client.publish(f"$iothub/methods/res/200/?$rid={rid}", b'{"done":true}')
            asking.join(20)
            assert process.wait(60) == 0
    assert [(each.status_code, each.json()["payload"]) for each in answers] == [(200, {"done": True})]
    assert [file.name for file in lone.state.glob("hub.db*")] == ["hub.db"]
    reasons = [json.loads(line).get("reason") for line in (lone.state / "log").read_text().splitlines()]
    assert "the hub stops" in reasons


def test_a_connection_that_rests_does_not_hold_up_the_end(lone):
    lone.start()
    with owner(lone) as service:
        service.new_device()  # the connection is kept, and its client looks at it only when it asks again
        lone.process.terminate()
        assert lone.process.wait(60) == 0
    assert "graceful shutdown exceeded" not in (lone.state / "log").read_text()


def test_a_method_that_nobody_answers_does_not_hold_up_the_end(lone):
    lone.start()
    with owner(lone) as service:
        device = service.new_device()
        name = device["deviceId"]
        with MqttClient(lone, name, None, key_of(device)) as client:
            client.subscribe(topics.METHODS)
            body = {"methodName": "never", "responseTimeoutInSeconds": 300}

            def ask():
                with contextlib.suppress(httpx.HTTPError):
                    service.ask("POST", f"/twins/{name}/methods", body)

            asking = threading.Thread(target=ask)
            asking.start()
            client.message()
            process = lone.process
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            asking.join(20)


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_certificate_is_renewed_for_a_context_in_use(tmp_path):
    tls = open_tls(tmp_path, ["hub.test"], ["127.0.0.5"])
    before = (tmp_path / "server.pem").read_bytes()
    tls.renew()
    assert (tmp_path / "server.pem").read_bytes() == before
    (tmp_path / "server.key").unlink()  # as good as one that runs out
    tls.renew()
    after = (tmp_path / "server.pem").read_bytes()
    assert after != before
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    ours, theirs = (ssl.MemoryBIO() for _ in range(2))
    server = tls.context.wrap_bio(ours, theirs, server_side=True)
    seen = client.wrap_bio(theirs, ours, server_hostname="hub.test")
    for _ in range(4):
        for side in (seen, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = x509.load_der_x509_certificate(seen.getpeercert(binary_form=True))
    assert shown == x509.load_pem_x509_certificate(after)


def test_a_bucket_gives_its_count_then_refills():
    rate = Rate(2, 10)
    bucket, waits = None, []
    for now in (0, 0, 0, 5, 5, 1000, 1000, 1000):
        bucket, wait = take(bucket, rate, float(now))
        waits.append(wait)
    assert waits == [0, 0, 5, 0, 5, 0, 0, 5]


def test_like_azure_it_throttles_each_kind_by_itself(lone):
    lone.options = ("--limits", "azure")
    lone.start()
    queries = AZURE_RATES[Operation.QUERIES]
    with owner(lone) as service:
        said = [service.ask("POST", "/devices/query", {"query": "SELECT * FROM devices"}) for _ in range(25)]
        assert [each.status_code for each in said[: queries.count]] == [200] * queries.count
        refused = next(each for each in said if each.status_code == 429)
        assert refused.headers["iothub-errorcode"] == "ThrottlingException"
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert refused.json()["Message"].startswith("ErrorCode:ThrottlingException;")
        assert service.ask("GET", "/devices").status_code == 200
        nobody = service.ask("POST", "/devices/query", {"query": "SELECT * FROM devices"}, token="nonsense")
        assert nobody.status_code == 401


def test_by_default_it_does_not_throttle(lone):
    lone.start()
    with owner(lone) as service:
        said = [service.ask("POST", "/devices/query", {"query": "SELECT * FROM devices"}) for _ in range(30)]
    assert {each.status_code for each in said} == {200}


def test_limits_off_lifts_sizes_and_counts_but_not_nesting(lone):
    large = {"properties": {"desired": {f"k{number}": "x" * 6000 for number in range(16)}}}
    deep: dict = {}
    for _ in range(40):
        deep = {"d": deep}

    def ask_all(service: Service) -> list[int]:
        device = service.new_device()["deviceId"]
        said = [service.ask("PATCH", f"/twins/{device}", large)]
        said.append(service.ask("PATCH", f"/twins/{device}", {"tags": {"t": "x" * 9000}}))
        said += [service.ask("PUT", f"/devices/{device}/modules/m{one}", {}) for one in range(52)][-1:]
        body = {"content": {"modulesContent": {"m": {"properties.desired.a": "x" * 40_000}}}}
        body |= {"targetCondition": "", "priority": 1}
        said.append(service.ask("PUT", "/configurations/large", body))
        body["content"]["modulesContent"]["m"]["properties.desired.a"] = 1
        said += [service.ask("PUT", f"/configurations/c{number}", body) for number in range(101)][-1:]
        said.append(service.ask("PATCH", f"/twins/{device}", {"tags": deep}))
        return [each.status_code for each in said]

    lone.start()
    with owner(lone) as service:
        assert ask_all(service) == [400, 400, 413, 400, 413, 400]
        for number in range(100):
            service.done("DELETE", f"/configurations/c{number}")
    lone.stop()
    lone.options = ("--limits", "off")
    lone.start()
    with owner(lone) as service:
        assert ask_all(service) == [200, 200, 200, 200, 200, 400]


def test_too_many_connects_are_told_to_come_back(tmp_path):
    with contextlib.closing(open_store(tmp_path / "hub.db")) as store:
        identity = new_identity("d", None, "2026-01-02T03:04:05.000000Z", new_key)
        with store.transaction():
            store.save_identity(identity)
        rates = Rates({Operation.CONNECTIONS: Rate(1, 60)}, lambda: 0.0)
        admission = Admission(store, Access(store, {}), time.time, rates)
        password = render_sas(topics.resource("h", "d"), identity.primary_key, int(time.time()) + 60)
        connect = packets.Connect(
            "d", username=topics.username("h", "d"), password=password.encode(), clean_session=True
        )
        first, second = admission.judge(connect), admission.judge(connect)
    assert isinstance(first, Admitted)
    assert second == Refused(packets.NOT_READY, "more than 1 connections in 60 s")


def test_metrics_tell_of_assignments_and_commits(lone):
    lone.start()
    with owner(lone) as service:
        for _ in range(3):
            service.new_device()
        before = scrape(service)
        content = {"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {}}}}}
        service.done("PUT", "/configurations/all", {"id": "all", "content": content, "targetCondition": "*"})
        after = scrape(service)

    def grown(name: str) -> float:
        return after[f"edgeferry_hub_{name}"] - before[f"edgeferry_hub_{name}"]

    assert grown("devices_assigned_total") == 3
    assert grown("assignment_seconds_count") == 1
    assert grown("pushes_total") == 3
    assert grown("store_commits") >= 2
    assert after["edgeferry_hub_pending_devices"] == 0
