import concurrent.futures
import hashlib
import http.client
import json
import socket
import time

import httpx
import pytest

from edgeferry.domain.model import Column, Tolerance
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card
from tests.device.conftest import (
    DIGEST,
    answers,
    case_set,
    end,
    graph_bytes,
    start_server,
    wait_until,
    write_model,
)


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        yield client


def test_rows_are_scored_in_doubles(client):
    response = client.post("/score", json={"data": [[2.0, 7.0], {"hour": 1, "distance": 0.1}]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == [12.0, 0.1 * 2 + 1 + 1]


def test_health_says_which_model_from_which_image_answers(client):
    health = client.get("/health").json()
    assert health["captures"].pop("refused") >= 0
    assert 0 < time.time() - health.pop("started_at") < 3600
    assert health == {
        "live": True,
        "ready": True,
        "model": "taxi",
        "version": "3",
        "digest": DIGEST,
        "model_sha256": hashlib.sha256(graph_bytes()).hexdigest(),
        "captures": {"written": 0, "dropped": 0, "state": "off", "reason": ""},
    }


def test_cases_are_the_exact_bytes_of_the_file(client):
    assert client.get("/cases").content == render_cases(case_set())


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        pytest.param("POST", "/score", b"{", 400, "not JSON", id="torn JSON"),
        pytest.param("POST", "/score", b"", 400, "not JSON", id="empty body"),
        pytest.param("POST", "/score", b"[" * 200_000, 400, "nested too deeply", id="deep nesting"),
        pytest.param("POST", "/score", b'{"data": [[1]]}', 400, "row 1 has 1 values", id="short row"),
        pytest.param(
            "POST", "/score", b'{"data": [[1, 2], [1, "x"]]}', 400, "row 2, column 2 (hour)", id="a text"
        ),
        pytest.param("POST", "/score", b'{"data": [[NaN, 2]]}', 400, "NaN", id="NaN"),
        pytest.param(
            "POST", "/score", b'{"data": [[1e308, 1e308]]}', 400, "row 1: the model's answer", id="overflow"
        ),
        pytest.param("GET", "/score", b"", 405, "does not take GET", id="wrong method"),
        pytest.param("POST", "/health", b"", 405, "does not take POST", id="wrong method on health"),
        pytest.param("GET", "/nothing", b"", 404, "/nothing", id="unknown path"),
        pytest.param("GET", "/../etc/passwd", b"", 404, "cannot be answered", id="path climbing"),
    ],
)
def test_a_bad_request_is_refused_with_problem_and_fix(client, method, path, content, status, message):
    response = client.request(method, path, content=content)
    assert response.status_code == status
    error = response.json()["error"]
    assert message in error["message"]
    assert error["fix"]


def test_a_body_above_16_mib_is_refused_whether_its_length_is_told_or_not(client):
    body = b" " * (16 * 1024 * 1024 + 1)
    assert client.post("/score", content=body).status_code == 413
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    assert client.post("/score", content=chunks).status_code == 413
    assert client.get("/health").status_code == 200


def test_a_large_body_within_the_limit_is_scored(client):
    rows = [[float(number), 0.5] for number in range(40_000)]
    assert client.post("/score", json={"data": rows}).json() == [2 * row[0] + 1.5 for row in rows]


def test_nothing_random_makes_the_server_fail(client):
    seeds = (
        b"\x00",
        b"\xff" * 9,
        b"null",
        b"true",
        b'"x"',
        b"1",
        b"{}",
        b'{"data": null}',
        b'{"data": [[]]}',
    )
    for body in (*seeds, *(b'{"data": ' + seed + b"}" for seed in seeds)):
        assert 400 <= client.post("/score", content=body).status_code < 500, body


def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(server, client):
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert client.get("/health").status_code == 200


def test_many_clients_get_each_their_own_answer(server):
    def ask(number):
        host, _, port = server.url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port))
        try:
            found = []
            for step in range(20):
                connection.request("POST", "/score", json.dumps({"data": [[number, step]]}))
                found.append(json.loads(connection.getresponse().read())[0])
            return found
        finally:
            connection.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(ask, range(8))):
            assert found == [2.0 * number + step + 1 for step in range(20)]


def test_sigterm_lets_the_request_under_way_finish(tmp_path):
    write_model(tmp_path)
    started = start_server(tmp_path)
    wait_until(lambda: answers(started.url + "/health"))
    host, _, port = started.url.removeprefix("http://").partition(":")
    body = b'{"data": [[2, 7]]}'
    with socket.create_connection((host, int(port))) as slow:
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        slow.sendall(head + body[:5])
        time.sleep(0.1)
        started.process.terminate()
        wait_until(lambda: not answers(started.url + "/health"))
        slow.sendall(body[5:])
        assert b"".join(iter(lambda: slow.recv(4096), b"")).endswith(b"[12.0]")
    assert end(started.process) in (0, -15)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param("model.json", None, "cannot be read", id="no card"),
        pytest.param("model.json", b"{}", "no model card", id="a card that is none"),
        pytest.param("cases.json", None, "cannot be read", id="no cases"),
        pytest.param(
            "model.json",
            render_model_card(ModelCard("taxi", "3", (Column("one", "double"),), Tolerance(0, 0), "y")),
            "the card has 1 columns",
            id="graph and card of different width",
        ),
    ],
)
def test_a_model_that_does_not_belong_together_does_not_start(tmp_path, name, content, problem):
    write_model(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    started = start_server(tmp_path)
    _, stderr = started.process.communicate(timeout=60)
    assert started.process.returncode == 2
    assert problem in stderr.decode()
