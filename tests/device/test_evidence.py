"""What users got, from the server that counts it to the twin that a rollout is judged by."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeferry.device.modules.asking import now
from edgeferry.device.modules.evidence import has_news
from edgeferry.device.modules.metrics import Tally
from edgeferry.domain.sketch import NOT_A_NUMBER, bin_of
from edgeferry.domain.smoke import SmokeRequest
from edgeferry.wire.capture import PURPOSE_HEADER
from edgeferry.wire.evidence_report import EvidenceReport, parse_metrics
from edgeferry.wire.facts import parse_evidence
from tests.device.conftest import (
    DIGEST,
    Server,
    answers,
    end,
    free_port,
    start_server,
    wait_until,
    write_model,
)
from tests.device.test_companion import Running
from tests.device.test_scoring import samples
from tests.hubs import RunningHub

PAGE_OF_ANOTHER = """edgeferry_model_info{version="3",digest="sha256:dd"} 1
process_start_time_seconds 1
"""
SCRIPT = """
import json, math
def init(): pass
def run(raw):
    rows = json.loads(raw)["data"]
    if rows == "break": raise KeyError("zone")
    return {"result": [sum(row) for row in rows], "note": "none"} if rows != "text" else "text"
"""


def start_ready(folder: Path, port: int = 0, digest: str = DIGEST, slope: float = 2.0) -> Server:
    cases_sha256 = write_model(folder, slope=slope)
    server = start_server(folder, port=port, digest=digest, cases_sha256=cases_sha256)
    wait_until(lambda: answers(server.url + "/health"))
    return server


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Server]:
    server = start_ready(tmp_path)
    try:
        yield server
    finally:
        end(server.process)


def score(server: Server, *rows: list[float], **headers: str) -> int:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    body = {"data": list(rows)}
    return httpx.post(
        f"{server.url}/score", json=body, headers=names, trust_env=False, timeout=60
    ).status_code


def read(server: Server) -> EvidenceReport:
    found = parse_metrics(httpx.get(f"{server.url}/metrics", trust_env=False, timeout=60).text, now())
    assert found is not None
    return found


def test_a_server_counts_what_users_got_and_not_what_smoke_tests_got(counting: Server) -> None:
    empty = read(counting)
    assert (empty.digest, empty.version, empty.requests, empty.outputs) == (DIGEST, "3", 0, {})
    assert empty.since <= empty.at
    assert score(counting, [2, 7], [2, 7], [-10, 7]) == 200
    assert score(counting, [0, -1]) == 200
    assert score(counting, [1]) == 400
    assert score(counting, [1e308, 0]) == 400  # the answer is infinite
    assert score(counting, [5, 5], **{PURPOSE_HEADER: "smoke"}) == 200
    counted = read(counting)
    assert (counted.requests, counted.errors) == (3, 0)
    assert counted.outputs == {bin_of(12): 2, bin_of(-12): 1, 0: 1, NOT_A_NUMBER: 1}
    assert sum(counted.latency.values()) == 3
    assert all(0 < each < bin_of(10_000) for each in counted.latency)
    assert counted.since == empty.since


def test_many_answers_are_all_counted() -> None:
    tally = Tally()
    numbers = [step / 7 for step in range(3000)]
    for number in numbers:
        tally.add(number, [number, -number])
    counted = parse_metrics(f"{PAGE_OF_ANOTHER}{tally.render()}", now())
    assert counted is not None
    assert counted.outputs == Counter(bin_of(each) for number in numbers for each in (number, -number))
    assert counted.latency == Counter(map(bin_of, numbers))


@pytest.mark.parametrize(("rows", "requests"), [(16, 1), (17, 2), (64, 4), (250, 16)])
def test_a_long_answer_is_counted_in_part_and_each_of_its_rows_has_its_turn(rows: int, requests: int) -> None:
    tally = Tally()
    answers = [2.0**row for row in range(rows)]
    for _ in range(requests):
        tally.add(1.0, answers)
    counted = parse_metrics(f"{PAGE_OF_ANOTHER}{tally.render()}", now())
    assert counted is not None
    assert counted.outputs == {bin_of(each): 1 for each in answers}
    assert counted.requests == requests


def test_a_model_that_fails_or_has_no_time_is_counted_as_an_error(tmp_path: Path) -> None:
    write_model(tmp_path)
    card = json.loads((tmp_path / "model.json").read_bytes())
    (tmp_path / "score.py").write_text(SCRIPT)
    (tmp_path / "model.json").write_text(json.dumps({**card, "runtime": "score", "artifact": "score.py"}))
    server = start_server(tmp_path)
    try:
        wait_until(lambda: answers(server.url + "/health"))

        def post(data: object, **headers: str) -> int:
            names = {name.replace("_", "-"): text for name, text in headers.items()}
            said = httpx.post(
                f"{server.url}/score", json={"data": data}, headers=names, trust_env=False, timeout=60
            )
            return said.status_code

        assert post([[1, 2], [3, 4]]) == 200
        assert post("text") == 200
        assert post("break") == 500
        assert post("break", **{PURPOSE_HEADER: "smoke"}) == 500
        assert post([[1, 2]], X_Edgeferry_Deadline_Ms="0") in (503, 504)
        counted = read(server)
        assert (counted.requests, counted.errors) == (4, 2)
        assert counted.outputs == {bin_of(3): 1, bin_of(7): 1}
        shown = samples(httpx.get(f"{server.url}/metrics", trust_env=False, timeout=60).text)
        assert shown[f'edgeferry_evidence_outputs_total{{bin="{bin_of(7)}",from="7"}}'] == 1
    finally:
        end(server.process)


@pytest.fixture
def companion(hub: RunningHub, device: str) -> Iterator[Running]:
    running = Running(hub, device, hub.create_module(device, "companion"))
    running.start()
    try:
        yield running
    finally:
        if running.process:
            running.stop()


def ask(companion: Running, payload: dict[str, Any]) -> dict[str, Any]:
    """The answer of the companion's method, once it is connected."""

    def called() -> Any:
        with contextlib.suppress(AssertionError):
            return companion.hub.call(companion.device, "companion", "evidence", payload)

    answer: dict[str, Any] = wait_until(called)
    return answer


def test_evidence_gets_home_and_that_of_another_version_is_its_own(
    companion: Running, hub: RunningHub, tmp_path: Path
) -> None:
    port = free_port()

    def reported(digest: str, requests: int) -> Any:
        """The companion's twin, once it has so many requests of that digest."""

        def twin() -> Any:
            twin = {**hub.twin(companion.device, "companion"), "deviceId": companion.device}
            found = parse_evidence(twin, "taxi")
            return found and (found.digest, found.requests) == (digest, requests) and twin

        return wait_until(twin, what=f"{requests} requests of {digest}")

    def serve_and_ask(digest: str, slope: float, rows: int) -> Any:
        server = start_ready(tmp_path / digest, port, digest, slope)
        try:
            for row in range(rows):
                assert score(server, [row + 1, 0]) == 200
            companion.want(SmokeRequest("taxi", server.url, digest, "3", server.cases_sha256, digest))
            wait_until(lambda: "taxi" in ask(companion, {}).get("payload", {}).get("evidence", {}))
            answer = ask(companion, {"model": "taxi"})
            assert answer["status"] == 200
            assert answer["payload"]["evidence"]["taxi"]["requests"] == rows
            return reported(digest, rows)
        finally:
            end(server.process)

    twin = serve_and_ask("sha256:one", 2.0, 3)
    first = parse_evidence(twin, "taxi")
    assert first is not None
    assert first.outputs == {bin_of(3): 1, bin_of(5): 1, bin_of(7): 1}
    assert (first.device, first.errors, sum(first.latency.values())) == (companion.device, 0, 3)
    companion.stop()
    companion.start()
    twin = serve_and_ask("sha256:two", 4.0, 2)
    second = parse_evidence(twin, "taxi")
    assert second is not None
    assert second.outputs == {bin_of(5): 1, bin_of(9): 1}
    assert ask(companion, {"model": "boat"})["status"] == 404
    companion.want(None)
    wait_until(lambda: ask(companion, {})["payload"] == {"evidence": {}})
    wait_until(lambda: not hub.reported(companion.device, "companion").get("evidence"))


BASE = EvidenceReport(DIGEST, "3", "2026-03-01T10:00:00.000Z", "2026-03-01T10:01:00.000Z", 100, 0)


@pytest.mark.parametrize(
    ("held", "counted", "told"),
    [
        pytest.param(BASE, BASE, False, id="nothing happened"),
        pytest.param(BASE, replace(BASE, at="later"), False, id="only time passed"),
        pytest.param(BASE, replace(BASE, requests=109), False, id="less than a tenth more"),
        pytest.param(BASE, replace(BASE, requests=110), True, id="a tenth more"),
        pytest.param(BASE, replace(BASE, errors=1), True, id="the first error"),
        pytest.param(
            replace(BASE, errors=50), replace(BASE, requests=101, errors=51), False, id="some more errors"
        ),
        pytest.param(replace(BASE, requests=0), replace(BASE, requests=1), True, id="the first request"),
        pytest.param(BASE, replace(BASE, since="later", requests=3), True, id="a server started anew"),
    ],
)
def test_the_hub_is_told_what_is_worth_a_message(
    held: EvidenceReport, counted: EvidenceReport, told: bool
) -> None:
    assert has_news(held, counted) is told


def test_a_day_of_requests_is_some_eighty_messages() -> None:
    held, messages = replace(BASE, requests=0), 0
    for second in range(60, 86_401, 60):
        if has_news(held, counted := replace(BASE, requests=second)):
            held, messages = counted, messages + 1
    assert messages == pytest.approx(math.log(86_400 / 600) / math.log(1.1) + 10, abs=10)
