import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import httpx
import pytest

from edgeferry.device.modules.companion import Companion
from edgeferry.device.modules.watching import Pace
from edgeferry.domain.smoke import SmokeRequest
from edgeferry.wire.connection import render_connection_string
from edgeferry.wire.verdict import parse_verdict, parse_verdicts, render_smoke_request, render_verdict
from tests.device.conftest import DIGEST, case_set, end, free_port, start_server, wait_until, write_model
from tests.device.odd_server import answer, serving


@dataclass
class Running:
    """A companion process and what the hub knows of it."""

    hub: object
    device: str
    connection: object
    process: subprocess.Popen | None = None
    url: str = ""

    def start(self, nonce=""):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        program = [sys.executable, "-m", "edgeferry.device.modules.companion"]
        self.process = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            env={
                **os.environ,
                "EdgeHubConnectionString": render_connection_string(self.connection),
                "EdgeModuleCACertificateFile": str(self.hub.ca_file),
                "EDGEFERRY_NONCE": nonce,
            },
            stderr=subprocess.PIPE,
        )

    def stop(self):
        assert end(self.process) == 0
        self.process = None

    def want(self, request):
        value = render_smoke_request(request) if isinstance(request, SmokeRequest) else request
        self.hub.patch_desired(self.device, "companion", {"models": {"taxi": value}})

    def verdict(self, nonce):
        """The verdict at the hub, once it is about that nonce."""

        def reported():
            said = self.hub.reported(self.device, "companion").get("verdicts", {}).get("taxi")
            return parse_verdict("taxi", said) if said and said["nonce"] == nonce else None

        return wait_until(reported, what=f"a verdict on {nonce}")


@pytest.fixture
def companion(hub, device):
    running = Running(hub, device, hub.create_module(device, "companion"))
    running.start()
    try:
        yield running
    finally:
        if running.process:
            running.stop()


@pytest.fixture
def request_(server):
    return SmokeRequest("taxi", server.url, DIGEST, "3", server.cases_sha256, "n1")


def test_a_request_in_the_twin_becomes_a_verdict_in_the_twin(companion, request_):
    companion.want(request_)
    verdict = companion.verdict("n1")
    assert (verdict.state, verdict.asked, verdict.digest) == ("Passed", 3, DIGEST), verdict.reason
    offline = httpx.get(companion.url + "/verdict", trust_env=False, timeout=60).json()
    assert parse_verdicts(offline) == {"taxi": verdict}
    companion.want(replace(request_, nonce="n2", cases_sha256="0" * 64))
    assert companion.verdict("n2").state == "Failed"


def test_a_model_that_is_no_longer_asked_for_has_no_verdict(companion, hub, request_):
    companion.want(request_)
    companion.verdict("n1")
    companion.want(None)
    wait_until(lambda: not hub.reported(companion.device, "companion").get("verdicts"))
    assert httpx.get(companion.url + "/verdict", trust_env=False, timeout=60).json() == {"verdicts": {}}


def test_a_request_that_cannot_be_read_is_inconclusive(companion, request_):
    companion.want({"url": request_.url})
    verdict = companion.verdict("")
    assert verdict.state == "Inconclusive"
    assert "digest is missing" in verdict.reason


def test_the_method_asks_afresh_with_its_own_nonce_and_leaves_the_twin_alone(companion, hub, request_):
    companion.want(request_)
    companion.verdict("n1")
    answer = hub.call(companion.device, "companion", "smokeTest", {"model": "taxi", "nonce": "fresh"})
    assert answer["status"] == 200
    fresh = parse_verdicts(answer["payload"])["taxi"]
    assert (fresh.state, fresh.nonce, fresh.asked) == ("Passed", "fresh", 3)
    assert companion.verdict("n1").nonce == "n1"


@pytest.mark.parametrize(
    ("method", "payload", "status"),
    [
        pytest.param("smokeTest", {"model": "taxi"}, 400, id="no nonce"),
        pytest.param("smokeTest", None, 400, id="no payload"),
        pytest.param("smokeTest", {"model": "boat", "nonce": "x"}, 404, id="unknown model"),
        pytest.param("somethingElse", {}, 404, id="unknown method"),
    ],
)
def test_a_method_call_that_cannot_be_answered_says_why(companion, hub, method, payload, status):
    wait_until(lambda: verdicts_offline(companion.url) is not None)
    answer = wait_until(lambda: call_when_connected(hub, companion.device, method, payload))
    assert answer["status"] == status
    assert answer["payload"]["message"]


def call_when_connected(hub, device, method, payload):
    with contextlib.suppress(AssertionError):
        return hub.call(device, "companion", method, payload)


def test_a_conclusive_verdict_stands_after_a_restart_and_not_for_the_companion_of_another_rollout(
    companion, request_
):
    companion.want(request_)
    before = companion.verdict("n1")
    companion.stop()
    companion.start()
    offline = wait_until(lambda: verdicts_offline(companion.url))
    assert offline == {"taxi": before}
    companion.stop()
    companion.start(nonce="another rollout")
    wait_until(lambda: companion.verdict("n1").companion == "another rollout")
    after = companion.verdict("n1")
    assert (after.state, after.at > before.at) == ("Passed", True)
    assert companion.hub.reported(companion.device, "companion")["companion"] == "another rollout"
    companion.want(None)
    wait_until(lambda: not companion.hub.reported(companion.device, "companion").get("verdicts"))
    assert companion.hub.reported(companion.device, "companion")["companion"] == "another rollout"


def verdicts_offline(url):
    try:
        return parse_verdicts(httpx.get(url + "/verdict", trust_env=False, timeout=60).json())
    except httpx.TransportError:
        return None


def test_a_model_that_comes_late_is_inconclusive_first_and_gets_its_verdict_in_the_end(tmp_path):
    port = free_port()
    wanted = SmokeRequest("taxi", f"http://127.0.0.1:{port}", DIGEST, "3", write_model(tmp_path), "late")
    companion = Companion(Pace(patience_s=0.1, again_s=0.1))
    companion.take_desired({"models": {"taxi": render_smoke_request(wanted)}}, 2)
    try:
        states = lambda: [verdict.state for verdict in companion.verdicts()]  # noqa: E731
        wait_until(lambda: states() == ["Inconclusive"])
        server = start_server(tmp_path, port=port)
        try:
            wait_until(lambda: states() == ["Passed"])
        finally:
            end(server.process)
    finally:
        companion.stop()


def test_other_paths_are_not_found(companion):
    wait_until(lambda: verdicts_offline(companion.url) is not None)
    assert httpx.get(companion.url + "/other", trust_env=False, timeout=60).status_code == 404


def test_without_a_hub_to_connect_to_it_does_not_start():
    environment = {name: text for name, text in os.environ.items() if not name.startswith("Edge")}
    ran = subprocess.run(
        [sys.executable, "-m", "edgeferry.device.modules.companion"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "EdgeHubConnectionString is not set" in ran.stderr


@pytest.fixture
def odd():
    with serving(case_set()) as server:
        yield server


@pytest.fixture
def watching():
    """Companions that look often; ended at last."""
    started = []

    def watch(request, **smoke):
        companion = Companion(Pace(patience_s=0.2, again_s=0.1, look_s=0.05))
        started.append(companion)
        companion.take_desired({"models": {"taxi": render_smoke_request(request)}, "smoke": smoke}, 1)
        wait_until(lambda: companion.verdicts() and companion.verdicts()[0].state == "Passed")
        return companion

    yield watch
    for companion in started:
        companion.stop()


def cheaper(body):
    status, _, headers = answer(body)
    return status, b"[1.0]", headers


def test_a_model_that_turns_bad_is_found_on_schedule_and_told_in_the_log(odd, watching, caplog):
    companion = watching(odd.request(), schedule_s=0.1)
    first = companion.verdicts()[0].at
    wait_until(lambda: companion.verdicts()[0].at > first)
    with caplog.at_level("INFO", "edgeferry.device.modules.companion"):
        odd.score = cheaper
        wait_until(lambda: companion.verdicts()[0].state == "Failed")
    assert (companion.verdicts()[0].nonce, companion.verdicts()[0].failed) == ("n1", 2)
    assert any("Passed -> Failed" in message for message in caplog.messages)
    odd.score = answer
    wait_until(lambda: companion.verdicts()[0].state == "Passed")


def test_a_model_that_was_started_anew_is_asked_at_once_and_otherwise_left_alone(odd, watching):
    companion = watching(odd.request(), schedule_s=0)
    asked, looks = odd.asked, []
    odd_health = odd.health

    class Seen(dict):
        def items(self):
            looks.append(odd.asked)
            return super().items()

    odd.health = Seen(odd_health)
    wait_until(lambda: len(looks) > 5)
    assert odd.asked == asked
    odd.score = cheaper
    odd.health = {**odd_health, "started_at": 2.0}
    wait_until(lambda: companion.verdicts()[0].state == "Failed")


def test_after_a_power_cut_the_verdict_from_before_is_not_about_the_server_of_now(odd, watching):
    settled = watching(odd.request(), schedule_s=0).verdicts()[0]
    odd.score = cheaper
    odd.health["started_at"] = time.time() + 60
    companion = Companion(Pace(patience_s=0.2, again_s=0.1, look_s=0.05))
    companion.take_reported({"verdicts": {"taxi": render_verdict(settled)}})
    companion.take_desired(
        {"models": {"taxi": render_smoke_request(odd.request())}, "smoke": {"schedule_s": 0}}, 1
    )
    try:
        assert companion.verdicts()[0].state == "Passed"
        wait_until(lambda: companion.verdicts()[0].state == "Failed")
    finally:
        companion.stop()


def test_the_accelerators_payload_is_answered_as_its_smoke_module_does(odd, watching):
    companion = watching(odd.request(), schedule_s=0)
    for payload in ({"port": 31311, "model_type": "taxi"}, {"port": odd.url.rpartition(":")[2]}):
        status, said = companion.answer_method("smokeTest", payload)
        assert (status, said["infer_result"]) == (200, "[12.0]")
        assert said["verdicts"]["taxi"]["state"] == "Passed"
    odd.score = cheaper
    status, said = companion.answer_method("smokeTest", {"port": 1, "model_type": "taxi"})
    assert (status, said["results"]) == (400, "fail")
    assert "answered 1.0, expected 12.0" in said["reason"]
    status, said = companion.answer_method("smokeTest", {"port": 1, "model_type": "boat"})
    assert (status, said["results"]) == (400, "fail")
    assert "on this device: taxi" in said["reason"]
