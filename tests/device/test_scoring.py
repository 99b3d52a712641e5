"""What waits for a model, and what is said of it: loading, queue, deadlines, metrics, description."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeferry.device.modules.server import QUEUE_LENGTH
from edgeferry.wire.model_openapi import render_openapi
from edgeferry.wire.serving import parse_health, parse_model_card
from tests.device.conftest import (
    Server,
    answers,
    end,
    free_port,
    start_server,
    wait_until,
    write_model,
)
from tests.device.loops import open_client, render

SCRIPT = """
import time
from pathlib import Path
def wait(name):
    Path("{folder}", name + ".begun").touch()
    while not Path("{folder}", name).exists(): time.sleep(0.01)
def init(): wait("loaded")
def run(raw):
    if raw: wait(raw)
    return [1]
"""


class Slow:
    """A server whose model waits for files: `loaded` to load, and for each request the one it names."""

    def __init__(self, folder: Path, script: str = SCRIPT) -> None:
        self.folder = folder
        write_model(folder)
        card = json.loads((folder / "model.json").read_bytes())
        (folder / "score.py").write_text(script.format(folder=folder))
        (folder / "model.json").write_text(json.dumps({**card, "runtime": "score", "artifact": "score.py"}))
        self.server = start_server(folder)
        self.port = int(self.server.url.rpartition(":")[2])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.server.url + path, trust_env=False, timeout=60)

    def begins(self, name: str) -> None:
        wait_until((self.folder / f"{name}.begun").exists)

    def let(self, name: str) -> None:
        (self.folder / name).touch()

    def gauge(self, name: str) -> float:
        return samples(self.get("/metrics").text)[name]


def samples(text: str) -> dict[str, float]:
    """Values by name, with labels as Prometheus writes them."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[Slow]:
    slow = Slow(tmp_path)
    try:
        slow.begins("loaded")
        yield slow
    finally:
        end(slow.server.process)


@pytest.fixture
def slow(loading: Slow) -> Slow:
    loading.let("loaded")
    wait_until(lambda: answers(loading.server.url + "/health"))
    return loading


def test_while_the_model_loads_the_server_says_so(loading: Slow) -> None:
    health = loading.get("/health")
    assert (health.status_code, health.json()["live"], health.json()["ready"]) == (503, True, False)
    assert parse_health(health.content).version == "3"
    refused = httpx.post(loading.server.url + "/score", content=b"", trust_env=False, timeout=60)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "still being loaded" in refused.json()["error"]["message"]
    assert loading.gauge("edgeferry_ready") == 0
    assert loading.get("/cases").status_code == 200
    loading.let("loaded")
    wait_until(lambda: answers(loading.server.url + "/health"))
    assert httpx.post(loading.server.url + "/score", content=b"", trust_env=False, timeout=60).json() == [1]


def test_a_full_queue_refuses_the_next_one_and_then_goes_on(slow: Slow) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(open_client(slow.port)) for _ in range(QUEUE_LENGTH + 1)]
        clients[0].send(render(b"a"))
        slow.begins("a")
        for client in clients[1:]:
            client.send(render())
        wait_until(lambda: slow.gauge("edgeferry_queue_depth") == QUEUE_LENGTH)
        assert slow.gauge("edgeferry_in_flight") == QUEUE_LENGTH + 2  # and the question itself
        with open_client(slow.port) as late:
            late.send(render())
            status, headers, body = late.read()
            assert (status, headers["retry-after"], headers.get("connection")) == (503, "1", None)
            assert b"too many requests wait" in body
            slow.let("a")
            assert [client.read()[::2] for client in clients] == [(200, b"[1]")] * len(clients)
            late.send(render())
            assert late.read()[0] == 200


def test_a_deadline_that_passes_is_503_while_waiting_and_504_at_work(slow: Slow) -> None:
    with open_client(slow.port) as first, open_client(slow.port) as second:
        first.send(render(b"a", "X-Edgeferry-Deadline-Ms: 1000"))
        slow.begins("a")
        second.send(render(b"b", "X-Edgeferry-Deadline-Ms: 20"))
        status, headers, body = second.read()
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"within 0.02 s" in body
        status, _, body = first.read()
        assert status == 504
        assert b"did not answer within 1 s" in body
        slow.let("a")
        for client in (first, second):
            client.send(render())
            assert client.read()[::2] == (200, b"[1]")
    assert not (slow.folder / "b.begun").exists()


@pytest.mark.parametrize("said", ["soon", "-1", "1.5", "9" * 20])
def test_a_deadline_that_is_no_number_is_refused(slow: Slow, said: str) -> None:
    headers = {"X-Edgeferry-Deadline-Ms": said}
    refused = httpx.post(slow.server.url + "/score", headers=headers, trust_env=False, timeout=60)
    assert refused.status_code == 400
    assert "X-Edgeferry-Deadline-Ms" in refused.json()["error"]["message"]


def test_a_model_that_fails_to_load_is_told_before_the_server_ends(tmp_path: Path) -> None:
    failing = Slow(tmp_path, SCRIPT.replace('wait("loaded")', 'wait("loaded"); 1 / 0'))
    process = failing.server.process
    failing.begins("loaded")
    with open_client(failing.port) as client:
        client.send(b"GET /health HTTP/1.1\r\n")
        failing.let("loaded")
        assert process.stderr is not None
        while b"ending" not in process.stderr.readline():
            pass
        client.send(b"Host: x\r\n\r\n")
        status, _, body = client.read()
    said = json.loads(body)
    assert (status, said["live"], said["ready"]) == (503, False, False)
    assert "score.py did not start: ZeroDivisionError" in said["problem"]
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"score.py did not start" in stderr


def test_what_fails_behind_the_model_ends_the_server_too(tmp_path: Path) -> None:
    write_model(tmp_path)
    program = [sys.executable, "-m", "edgeferry.device.modules.server", "--host", "127.0.0.1"]
    ran = subprocess.run(
        [*program, "--port", str(free_port()), "--captures-port", "70000"],
        env={**os.environ, "EDGEFERRY_MODEL_DIR": str(tmp_path), "EDGEFERRY_CAPTURES": str(tmp_path / "c")},
        capture_output=True,
        timeout=60,
    )
    assert ran.returncode != 0
    assert b"port must be 0-65535" in ran.stderr


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        pytest.param({"X-Edgeferry-Deadline-Ms": "0"}, 504, "did not answer within 0 s", id="no time"),
        pytest.param({"X-Edgeferry-Deadline-Ms": "soon"}, 400, "X-Edgeferry-Deadline-Ms", id="no number"),
        pytest.param({"Content-Encoding": "gzip"}, 415, "Content-Encoding is gzip", id="a packed body"),
        pytest.param({"Content-Encoding": "identity"}, 200, "", id="a body that says it is not packed"),
        pytest.param({"X-Edgeferry-Deadline-Ms": "20000"}, 200, "", id="time enough"),
    ],
)
def test_a_quick_model_obeys_the_same_headers(
    server: Server, headers: dict[str, str], status: int, words: str
) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        before = samples(client.get("/metrics").text)["edgeferry_captures_refused_total"]
        answer = client.post("/score", content=b'{"data": [[1, 2]]}', headers=headers)
        after = samples(client.get("/metrics").text)["edgeferry_captures_refused_total"]
    assert (answer.status_code, after - before) == (status, status != 200)
    if words:
        assert words in answer.json()["error"]["message"]
    assert answer.headers.get("accept-encoding") == ("identity" if status == 415 else None)


def test_a_request_whose_client_has_left_is_not_scored(slow: Slow) -> None:
    with open_client(slow.port) as first:
        first.send(render(b"a"))
        slow.begins("a")
        with open_client(slow.port) as leaving:
            leaving.send(render(b"b"))
            wait_until(lambda: slow.gauge("edgeferry_queue_depth") == 1)
            leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: slow.gauge("edgeferry_in_flight") == 2)  # the first, and the question itself
        slow.let("a")
        assert first.read()[0] == 200
        first.send(render())
        assert first.read()[0] == 200
    assert not (slow.folder / "b.begun").exists()


def test_metrics_are_what_prometheus_reads_and_count_right(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        before = samples(client.get("/metrics").text)
        for row in ([1, 2], [3, 4], [1]):
            client.post("/score", json={"data": [row]})
        answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = samples(answer.text)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('edgeferry_requests_total{status="200"}') == 3  # two answers, and the first look
    assert grown('edgeferry_requests_total{status="400"}') == 1
    assert grown("edgeferry_score_seconds_count") == grown('edgeferry_score_seconds_bucket{le="+Inf"}') == 3
    assert 0 < grown("edgeferry_score_seconds_sum") < 10
    assert grown("edgeferry_captures_refused_total") == 1
    assert after["edgeferry_connections"] >= 1
    assert after["process_resident_memory_bytes"] > 20_000_000
    assert after["process_cpu_seconds_total"] > 0
    assert any(name.startswith("edgeferry_model_info{") and 'model="taxi"' in name for name in after)


def test_the_description_is_that_of_the_card(server: Server, tmp_path: Path) -> None:
    write_model(tmp_path)
    card = parse_model_card((tmp_path / "model.json").read_bytes())
    answer = httpx.get(server.url + "/openapi.json", trust_env=False, timeout=60)
    assert (answer.status_code, answer.content) == (200, render_openapi(card))


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("PUT", "/score", "POST"), ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/health", "GET, HEAD")],
)
def test_a_wrong_method_is_told_the_right_one(server: Server, method: str, path: str, allow: str) -> None:
    refused = httpx.request(method, server.url + path, trust_env=False, timeout=60)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("url", ["/score?version=3", "http://x/score", "/%73core"])
def test_an_address_may_be_spelled_as_http_allows(server: Server, url: str) -> None:
    with open_client(int(server.url.rpartition(":")[2])) as client:
        client.send(render(b'{"data": [[2, 7]]}', start=f"POST {url} HTTP/1.1"))
        assert client.read()[2] == b"[12.0]"
