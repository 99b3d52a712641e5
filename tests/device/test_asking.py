import dataclasses
import threading

import pytest

from edgeferry.device.modules.asking import ask
from edgeferry.domain.smoke import CaseSet, EqualCase, SmokeRequest
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


def test_a_latency_that_nobody_can_keep_fails_and_says_so(served):
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
