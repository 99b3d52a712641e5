"""Captures of a running model server: what was written is what clients got; the companion brings it home."""

import concurrent.futures
import http.client
import json
from dataclasses import replace

import httpx
import pytest

from edgeferry.device.modules.captured import answer_captures
from edgeferry.device.modules.small_server import serve_small
from edgeferry.domain.capture import Cursor
from edgeferry.domain.smoke import SmokeRequest
from edgeferry.wire.capture import parse_record
from edgeferry.wire.capture_page import (
    PageRequest,
    parse_counts,
    parse_page,
    render_page_query,
    render_source,
)
from edgeferry.wire.verdict import parse_verdicts, render_smoke_request
from tests.device.conftest import DIGEST, answers, end, start_server, wait_until, write_model
from tests.device.test_companion import companion  # noqa: F401


@pytest.fixture
def server(tmp_path):
    """A model server that captures, ready."""
    (tmp_path / "captures").mkdir()
    cases_sha256 = write_model(tmp_path / "model")
    started = start_server(tmp_path / "model", cases_sha256=cases_sha256, captures=tmp_path / "captures")
    try:
        wait_until(lambda: answers(started.url + "/health"))
        yield started
    finally:
        end(started.process)


def read_all(ask):
    """The records that pages from `ask(cursor)` hold, as a reader at home puts them together."""
    text, cursor, more = "", Cursor(), True
    while more:
        page = parse_page(ask(cursor))
        text, cursor, more = text + page.text, page.next, page.more
    return [parse_record(line.encode()) for line in text.split("\n")[:-1]]


def pages_of(server):
    def ask(cursor):
        query = render_page_query(PageRequest(cursor, 1000, ""))
        return httpx.get(f"{server.captures_url}/captures?{query}", trust_env=False, timeout=60).json()

    return ask


def send(server, requests):
    """[(request id, body, answer)] of a client that keeps its connection."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    got = []
    try:
        for name, body in requests:
            connection.request("POST", "/score", body, {"X-Request-Id": name})
            got.append((name, body, connection.getresponse().read().decode()))
    finally:
        connection.close()
    return got


def send_many(server, clients, count):
    """What each of many clients at once asked and got."""
    work = [
        [
            (f"{client}-{step}", f'{{"data": [[{client}.5, {step}]]}}')
            for step in range(client, count, clients)
        ]
        for client in range(clients)
    ]
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return [answer for got in pool.map(lambda requests: send(server, requests), work) for answer in got]


def test_a_thousand_requests_from_16_clients_are_a_thousand_records_with_the_clients_answers(server):
    got = send_many(server, clients=16, count=1000)
    records = read_all(pages_of(server))
    assert len(records) == len(got) == 1000
    assert {(r.id, f'{{"data": {r.inputs}}}', r.output) for r in records} == set(got)
    assert [record.sequence for record in records] == list(range(1, 1001))
    assert {(r.status, r.purpose, r.model, r.version, r.digest) for r in records} == {
        (200, "user", "taxi", "3", DIGEST)
    }
    assert all(0 < record.latency_ms < 10_000 for record in records)
    health = httpx.get(server.url + "/health", trust_env=False, timeout=60).json()
    assert {**health["captures"], "state": "", "reason": ""} == {
        "written": 1000,
        "dropped": 0,
        "refused": 0,
        "state": "",
        "reason": "",
    }


def test_nothing_that_was_answered_is_lost_when_the_server_is_killed(server, tmp_path):
    got = send_many(server, clients=4, count=200)
    server.process.kill()
    server.process.wait(60)
    again = start_server(tmp_path / "model", captures=tmp_path / "captures")
    try:
        wait_until(lambda: answers(again.url + "/health"))
        got += send(again, [("after", '{"data": [[1, 2]]}')])
        records = read_all(pages_of(again))
        assert {(record.id, record.output) for record in records} == {(name, out) for name, _, out in got}
        assert [record.sequence for record in records] == list(range(1, 202))
    finally:
        end(again.process)


def test_bad_requests_are_counted_and_not_stored(server):
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        assert client.post("/score", json={"data": [[1]]}).status_code == 400
        assert client.post("/score", json={"data": [[1, 2]]}).status_code == 200
    counts = parse_counts(
        httpx.get(server.captures_url + "/captures/count", trust_env=False, timeout=60).json()
    )
    assert (counts.user, counts.refused, counts.dropped, counts.last) == (1, 1, 0, 1)


def test_a_model_that_fails_is_a_record_with_its_refusal(tmp_path):
    (tmp_path / "captures").mkdir()
    write_model(tmp_path / "model")
    card = json.loads((tmp_path / "model" / "model.json").read_bytes())
    script = "def init(): pass\ndef run(raw): raise KeyError('fuel')\n"
    (tmp_path / "model" / "score.py").write_text(script)
    (tmp_path / "model" / "model.json").write_text(
        json.dumps({**card, "runtime": "score", "artifact": "score.py"})
    )
    server = start_server(tmp_path / "model", captures=tmp_path / "captures")
    try:
        wait_until(lambda: answers(server.url + "/health"))
        answer = httpx.post(server.url + "/score", content=b"my own format", trust_env=False, timeout=60)
        assert answer.status_code == 500
        (record,) = read_all(pages_of(server))
        assert (record.status, json.loads(record.inputs)) == (500, "my own format")
        assert record.output == answer.text
        assert "fuel" in record.output
    finally:
        end(server.process)


def test_a_model_answers_though_its_captures_have_no_place(tmp_path):
    write_model(tmp_path / "model")
    server = start_server(tmp_path / "model", captures=tmp_path / "nowhere")
    try:
        wait_until(lambda: answers(server.url + "/health"))
        answer = httpx.post(server.url + "/score", json={"data": [[2, 7]]}, trust_env=False, timeout=60)
        assert answer.json() == [12.0]
        health = httpx.get(server.url + "/health", trust_env=False, timeout=60).json()
        told = health["captures"]
        assert (told["written"], told["dropped"], told["state"]) == (0, 1, "failing")
        assert "No such file" in told["reason"]
    finally:
        end(server.process)


def test_the_port_that_scores_hands_out_no_captures(server):
    assert httpx.get(server.url + "/captures", trust_env=False, timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/other", 404, id="unknown path"),
        pytest.param("/captures?after=x", 400, id="no cursor"),
        pytest.param("/captures?limit=-1", 400, id="no limit"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_fix(server, path, status):
    answer = httpx.get(server.captures_url + path, trust_env=False, timeout=60)
    assert answer.status_code == status
    assert answer.json()["error"]["fix"]


def test_the_companion_brings_captures_home_and_its_own_questions_are_marked(companion, hub, server):  # noqa: F811
    request = SmokeRequest("taxi", server.url, DIGEST, "3", server.cases_sha256, "n1")
    hub.patch_desired(
        companion.device,
        "companion",
        {
            "models": {"taxi": render_smoke_request(request)},
            "captures": {"taxi": render_source(server.captures_url)},
        },
    )
    assert companion.verdict("n1").state == "Passed"
    got = send_many(server, clients=2, count=300)

    def ask(cursor):
        text = f"{cursor.after}+{cursor.skip}" if cursor.skip else cursor.after
        answer = hub.call(companion.device, "companion", "captures", {"model": "taxi", "after": text})
        assert answer["status"] == 200
        assert len(json.dumps(answer)) < 100_000
        return answer["payload"]

    records = read_all(ask)
    users = [record for record in records if record.purpose == "user"]
    assert {(record.id, record.output) for record in users} == {(name, out) for name, _, out in got}
    smoke = [record for record in records if record.purpose == "smoke"]
    assert len(smoke) == 2  # of three cases, one is to be refused
    answer = hub.call(companion.device, "companion", "countCaptures", {"model": "taxi"})
    assert replace(parse_counts(answer["payload"]), refused=0) == parse_counts(
        {"user": 300, "smoke": 2, "damaged": 0, "expired": 0, "dropped": 0, "refused": 0, "first": 1}
        | {"last": 302}
    )
    fresh = hub.call(companion.device, "companion", "smokeTest", {"model": "taxi", "nonce": "fresh"})
    assert parse_verdicts(fresh["payload"])["taxi"].state == "Passed"
    answer = hub.call(companion.device, "companion", "countCaptures", {"model": "taxi"})
    assert (answer["payload"]["user"], answer["payload"]["smoke"]) == (300, 4)


@pytest.mark.parametrize(
    ("payload", "status", "message"),
    [
        pytest.param({"model": "boat"}, 404, "boat", id="unknown model"),
        pytest.param({}, 404, "None", id="no model"),
        pytest.param({"model": ["taxi"]}, 404, "taxi", id="a model that is no name"),
        pytest.param({"model": "taxi", "after": "x"}, 400, "no place", id="no cursor"),
        pytest.param({"model": "taxi"}, 504, "no answer", id="nobody there"),
    ],
)
def test_captures_that_cannot_be_had_say_why(companion, hub, payload, status, message):  # noqa: F811
    source = {"captures": {"taxi": render_source("http://127.0.0.1:1")}}
    version = hub.patch_desired(companion.device, "companion", source)
    assert version
    answer = wait_until(lambda: call_when_ready(hub, companion.device, payload, status))
    assert answer["status"] == status
    assert message in answer["payload"]["message"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param(b'{"error": {"message": "captures are off here"}}', "captures are off here", id="ours"),
        pytest.param(b'{"error": "kaputt"}', "kaputt", id="a text"),
        pytest.param(b'{"error": ["kaputt"]}', "answers 500", id="a list"),
        pytest.param(b'{"error": null}', "answers 500", id="nothing"),
    ],
)
def test_a_server_that_refuses_in_its_own_way_is_quoted(said, message):
    server = serve_small(lambda target: (500, said), "127.0.0.1", 0, "odd")
    source = {"taxi": render_source(f"http://127.0.0.1:{server.server_address[1]}")}
    try:
        status, answer = answer_captures("captures", {"model": "taxi"}, source)
    finally:
        server.shutdown()
        server.server_close()
    assert status == 500
    assert message in answer["message"]


def call_when_ready(hub, device, payload, status):
    """The answer once the companion is connected and has its desired properties."""
    try:
        answer = hub.call(device, "companion", "captures", payload)
    except AssertionError:
        return None
    return answer if answer["status"] == status else None
