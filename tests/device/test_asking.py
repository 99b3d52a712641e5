import contextlib
import dataclasses
import itertools
import socket
import threading

import pytest

from edgeferry.device.modules import asking, caller
from edgeferry.device.modules.asking import ask
from edgeferry.domain.smoke import CaseSet, EqualCase, MemoryCase, SmokeRequest
from edgeferry.domain.smoke_proof import Question, weigh
from tests.device.conftest import (
    DIGEST,
    answers,
    case_set,
    end,
    free_port,
    start_server,
    wait_until,
    write_model,
)
from tests.device.odd_server import answer, serving


def request_for(server, **changes):
    request = SmokeRequest("taxi", server.url, DIGEST, "3", server.cases_sha256, "n1")
    return dataclasses.replace(request, **changes)


def asked(request, patience_s=0.0):
    return ask(request, patience_s=patience_s, stopping=threading.Event())


def test_a_model_that_answers_as_the_pipeline_did_passes(server):
    verdict = asked(request_for(server))
    assert (verdict.state, verdict.asked, verdict.failed) == ("Passed", 3, 0), verdict.reason
    assert (verdict.digest, verdict.version, verdict.nonce) == (DIGEST, "3", "n1")
    assert verdict.cases_sha256 == server.cases_sha256
    assert 0 < verdict.latency_ms <= verdict.slowest_ms < 2000
    assert verdict.at.endswith("Z")


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        pytest.param({"cases_sha256": "0" * 64}, "Failed", "are not those of the release", id="other cases"),
        pytest.param({"version": "4"}, "Failed", "version 4 was asked for", id="other version in the image"),
        pytest.param({"model": "boat"}, "Failed", "says it is taxi", id="other model in the image"),
        pytest.param({"digest": "sha256:new"}, "Inconclusive", "sha256:new was asked for", id="other image"),
        pytest.param({"url": "http://127.0.0.1:1"}, "Inconclusive", "refused", id="nobody listens"),
        pytest.param({"url": "ftp://x"}, "Inconclusive", "not an http:// address", id="no web address"),
        pytest.param({"url": "http://a:b"}, "Inconclusive", "not an http:// address", id="a port in words"),
        pytest.param({"url": "http://[::1"}, "Inconclusive", "not an http:// address", id="half an address"),
        pytest.param({"url": "http://a..b"}, "Inconclusive", "no answer to /health", id="no host's name"),
    ],
)
def test_what_is_not_what_was_asked_for_never_passes(server, changes, state, reason):
    verdict = asked(request_for(server, **changes))
    assert verdict.state == state
    assert reason in verdict.reason
    assert verdict.asked == 0


@pytest.fixture
def served(tmp_path):
    """Starts servers of models written to the test's folder."""
    started = []

    def serve(**options):
        port = options.pop("port", 0)
        cases_sha256 = write_model(tmp_path, **options)
        server = start_server(tmp_path, port=port, cases_sha256=cases_sha256)
        started.append(server.process)
        return server

    yield serve
    for process in started:
        end(process)


def test_one_wrong_answer_fails(served):
    server = served(slope=2.0 + 1e-6)
    wait_until(lambda: answers(server.url + "/health"))
    verdict = asked(request_for(server))
    assert (verdict.state, verdict.failed, verdict.asked) == ("Failed", 1, 3)
    assert "held-out-0: row 1: answered 12.000002" in verdict.reason


def test_a_latency_that_nobody_can_keep_fails_and_says_so(served, monkeypatch):
    monkeypatch.setattr(asking, "TRY_PAUSE_S", 0.01)
    server = served(cases=dataclasses.replace(case_set(), latency_ms=0.001))
    wait_until(lambda: answers(server.url + "/health"))
    verdict = asked(request_for(server))
    assert verdict.state == "Failed"
    assert "right, but after" in verdict.reason


def test_cases_without_a_comparison_are_inconclusive(served):
    nothing = CaseSet("taxi", "3", case_set().tolerance, 1000.0, case_set().cases[1:])
    server = served(cases=nothing)
    wait_until(lambda: answers(server.url + "/health"))
    assert asked(request_for(server)).state == "Inconclusive"


def test_a_case_the_model_refuses_fails(served):
    odd = CaseSet("taxi", "3", case_set().tolerance, 1000.0, (EqualCase("odd", ((1.0,),), (1.0,)),))
    server = served(cases=odd)
    wait_until(lambda: answers(server.url + "/health"))
    verdict = asked(request_for(server))
    assert verdict.state == "Failed"
    assert "answered 400" in verdict.reason


def test_a_model_that_is_still_starting_is_waited_for(served):
    port = free_port()
    server = served(port=port)
    assert asked(request_for(server), patience_s=20).state == "Passed"


def test_waiting_ends_when_the_companion_stops():
    stopping = threading.Event()
    stopping.set()
    request = SmokeRequest("taxi", "http://127.0.0.1:1", DIGEST, "3", "0", "n1")
    assert ask(request, patience_s=60, stopping=stopping).state == "Inconclusive"


@pytest.fixture
def odd():
    with serving(case_set()) as server:
        yield server


def first(*odd_answers, then=answer):
    """Scores with these answers first."""
    waiting = list(odd_answers)
    return lambda body: waiting.pop(0) if waiting else then(body)


BUSY = (503, b"{}", {"Retry-After": "0"})


@pytest.mark.parametrize(
    ("score", "state", "reason"),
    [
        pytest.param(answer, "Passed", "3 of 3", id="as it should be"),
        pytest.param(first(BUSY, BUSY), "Passed", "3 of 3", id="busy for a moment"),
        pytest.param(first(None), "Passed", "3 of 3", id="a connection that broke once"),
        pytest.param(lambda body: None, "Failed", "no answer to /score", id="never an answer"),
        pytest.param(
            lambda body: (*answer(body)[:2], {"Content-Type": "text/html"}),
            "Failed",
            "text/html",
            id="a page",
        ),
        pytest.param(lambda body: (200, b"[NaN]", {}), "Failed", "not a list of numbers", id="NaN"),
        pytest.param(
            lambda body: (200, b'{"error": "no"}', {}),
            "Failed",
            "not a list of numbers",
            id="an error as 200",
        ),
        pytest.param(
            lambda body: (200, b"[12.0]", {"Content-Length": "9"}), "Failed", "is cut short", id="cut short"
        ),
        pytest.param(
            lambda body: (200, b"[12.0, 12.0]", {}), "Failed", "2 answers to 1", id="an extra answer"
        ),
    ],
)
def test_what_a_server_may_answer(odd, score, state, reason):
    odd.score = score
    verdict = asked(odd.request())
    assert (verdict.state, reason in verdict.reason) == (state, True), verdict.reason


@pytest.mark.parametrize("dripping", ["head", "body"])
def test_a_server_that_drips_its_answer_is_not_waited_for(dripping, monkeypatch):
    monkeypatch.setattr(caller, "ANSWER_S", 0.5)
    whole = {"head": b"HTTP/1.1 200 OK\r\nX: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}[dripping]
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            with listening.accept()[0] as client, contextlib.suppress(OSError):
                client.sendall(whole)
                while not ended.wait(0.02):
                    client.sendall(b"x")

        dripper = threading.Thread(target=drip, daemon=True)
        dripper.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        verdict = asked(SmokeRequest("taxi", url, DIGEST, "3", "0", "n1"))
        ended.set()
        dripper.join(10)
    assert verdict.state == "Inconclusive"
    assert "no answer to /health: not all of it within 0.5 s" in verdict.reason


def test_whatever_breaks_while_a_model_is_asked_it_is_not_judged_and_says_what(odd):
    class Breaking(threading.Event):
        def wait(self, timeout=None):
            raise RuntimeError("can't start new thread")

    odd.score = lambda body: BUSY
    verdict = ask(odd.request(), patience_s=0.0, stopping=Breaking())
    assert verdict.state == "Inconclusive"
    assert verdict.reason == "it could not be asked: RuntimeError: can't start new thread"


def test_a_server_that_stays_busy_is_not_judged(odd, monkeypatch):
    monkeypatch.setattr(asking, "BUSY_S", 0.1)
    odd.score = lambda body: BUSY
    verdict = asked(odd.request())
    assert verdict.state == "Inconclusive"
    assert "too busy to be asked: answered 503" in verdict.reason


def test_a_server_that_goes_away_while_it_is_asked_is_not_judged(odd, monkeypatch):
    monkeypatch.setattr(asking, "RETURN_S", 0.1)

    def go(body):
        odd.health["ready"] = False

    odd.score = go
    verdict = asked(odd.request())
    assert verdict.state == "Inconclusive"
    assert "not ready" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"started_at": 2.0}, "replaced or ended", id="started again"),
        pytest.param({"digest": "sha256:new"}, "replaced or ended", id="replaced"),
    ],
)
def test_a_verdict_is_about_one_server_from_the_first_case_to_the_last(odd, changes, reason):
    def change(body):
        odd.health |= changes
        return answer(body)

    odd.score = change
    verdict = asked(odd.request())
    assert (verdict.state, reason in verdict.reason) == ("Inconclusive", True), verdict.reason


def test_another_model_file_than_was_packaged_fails():
    with serving(dataclasses.replace(case_set(), model_sha256="bb" * 32)) as odd:
        verdict = asked(odd.request())
    assert verdict.state == "Failed"
    assert "serves a model of sha256 aa" in verdict.reason


def measured(memory):
    """The verdict on a model whose memory goes so, and how often it was asked."""
    growing = MemoryCase("memory", ((2.0, 7.0),), 1_000_000, repeats=30)
    cases = dataclasses.replace(case_set(), cases=(*case_set().cases, growing))
    with serving(cases) as odd:
        odd.memory = memory
        return asked(odd.request()), odd.asked


def test_a_server_that_grows_each_time_leaks_and_one_that_grew_once_does_not(monkeypatch):
    monkeypatch.setattr(asking, "TRY_PAUSE_S", 0.01)
    leaking, _ = measured(itertools.count(50_000_000, 2_000_000))
    assert leaking.state == "Failed"
    assert "memory: grew by 2.0 MB in up to 30 requests" in leaking.reason
    warming, requests = measured(itertools.chain([50_000_000], itertools.repeat(60_000_000)))
    assert warming.state == "Passed", warming.reason
    assert requests == 3 + 2 * (20 + 30)
    (shown,) = [one for one in warming.evidence if one.case == "memory"]
    assert [one.memory_bytes for one in shown.answers] == [60_000_000, 60_000_000]


def test_what_the_companion_shows_is_what_it_judged(server):
    verdict = asked(request_for(server))
    question = Question(DIGEST, server.cases_sha256, "n1", case_set())
    assert weigh(verdict, question) == ("Passed", "3 of 3 cases hold")
