"""Smoke tests as commands do them: a real hub, a real companion and one that lies, as processes and links."""

import hashlib
import json
import time
from types import SimpleNamespace
from uuid import uuid4

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.device.link import Handlers, Link, sign_with_key
from edgeferry.domain.smoke import Answer, EqualCase, Evidence, SmokeRequest, Verdict
from edgeferry.errors import RegistryError
from edgeferry.ports import show_nobody
from edgeferry.wire.cases import CASES_TYPE, render_cases
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.verdict import METHOD_EVIDENCE_BYTES, render_verdicts
from edgeferry.workflows.smoke import find_fix, smoke, smoke_each
from tests.device.conftest import DIGEST, case_set, device, hub, server, wait_until  # noqa: F401
from tests.device.test_companion import companion  # noqa: F401

CASES = render_cases(case_set())
SHA256 = hashlib.sha256(CASES).hexdigest()
LAYER = ModelLayer("edgeferry-x", "taxi", "taxi-v3-x", DIGEST, SHA256, "n1", "*", 1000)


@pytest.fixture
def services(hub):  # noqa: F811
    """What the workflow touches: the hub, and a registry that holds the cases of the release."""
    said = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    client = HubClient(SharedKeyLogin(lambda _: said, time.time), str(hub.ca_file))
    attached = {("taxi", DIGEST, CASES_TYPE): [b"other cases", CASES]}
    registry = SimpleNamespace(attached=lambda *asked: attached[asked])
    yield SimpleNamespace(
        hub=client, registry=registry, new_id=lambda: uuid4().hex, say=print, work=show_nobody
    )
    client.close()


def test_a_companion_shows_what_it_judged_and_is_believed(services, companion, server):  # noqa: F811
    companion.want(SmokeRequest("taxi", server.url, DIGEST, "3", SHA256, "n1"))
    companion.verdict("n1")
    result = smoke(services, companion.device, LAYER)
    assert (result.passed, result.state, result.fix) == (True, "Passed", ""), result.reason
    assert {one.case for one in result.verdict.evidence} == {case.id for case in case_set().cases}


def test_without_the_cases_the_companions_word_does_not_do_and_that_is_said(
    services,
    companion,  # noqa: F811
    server,  # noqa: F811
    capsys,
):
    def refuse(*asked):
        raise RegistryError("it is away", fix="wait")

    services.registry.attached = refuse
    companion.want(SmokeRequest("taxi", server.url, DIGEST, "3", SHA256, "n1"))
    companion.verdict("n1")
    result = smoke(services, companion.device, LAYER)
    assert (result.passed, result.state) == (False, "Inconclusive")
    assert result.reason.endswith("not at hand to check that: it is away")
    assert (result.fix, find_fix("taxi", [result])) == ("wait", "wait"), "what is in the way, not the model"
    assert "it is away; without them no companion's verdict counts" in capsys.readouterr().out


def say_passed(payload, evidence):
    """The answer of a companion to which everything is fine."""
    count = len(case_set().cases)
    said = ("3", SHA256, payload["nonce"], "all is well", count, 0, 1.0, 1.0, "2026-01-01T00:00:00.000Z")
    return render_verdicts([Verdict("taxi", "Passed", DIGEST, *said, evidence)], METHOD_EVIDENCE_BYTES)


WRONG = tuple(
    Evidence(case.id, (Answer(200, (1.0,) * len(getattr(case, "rows", (0,))), 1.0),))
    for case in case_set().cases
)


@pytest.mark.parametrize(
    ("lie", "state", "reason"),
    [
        pytest.param(
            lambda said: say_passed(said, WRONG),
            "Failed",
            "says Passed, but held-out-0: row 1: answered 1.0, expected 12.0",
            id="passes wrong answers",
        ),
        pytest.param(lambda said: say_passed(said, ()), "Inconclusive", "shows the answers to 0", id="none"),
        pytest.param(
            lambda said: say_passed({"nonce": "old"}, WRONG),
            "Inconclusive",
            "another question",
            id="an old one",
        ),
        pytest.param(lambda said: {"verdicts": "Passed"}, "Inconclusive", "cannot be read", id="nonsense"),
        pytest.param(lambda said: {"verdicts": {}}, "Inconclusive", "knows no taxi", id="of no model"),
        pytest.param(lambda said: None, "Inconclusive", "cannot be read", id="nothing"),
    ],
)
def test_a_companion_that_lies_is_not_believed(services, hub, device, lie, state, reason):  # noqa: F811
    connection = hub.create_module(device, "companion")
    handlers = Handlers(
        lambda desired, version: None,
        lambda reported: None,
        lambda: None,
        lambda name, said: (200, lie(said)),
    )
    link = Link(lambda refused: connection, hub.ca_file, handlers, sign=sign_with_key)
    link.start()
    try:
        wait_until(lambda: link.connected)
        result = smoke(services, device, LAYER)
    finally:
        link.stop()
    assert find_fix("taxi", [result]) == f"edgeferry logs taxi --device {device}"
    assert (result.passed, result.state) == (False, state)
    assert reason in result.reason


def test_a_companion_that_is_not_there_is_not_believed(services, device):  # noqa: F811
    assert [each.state for each in smoke_each(services, [device], LAYER, 1)] == ["Inconclusive"]
    assert isinstance(case_set().cases[0], EqualCase)
