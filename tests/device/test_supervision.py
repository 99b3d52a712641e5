import dataclasses

import pytest

from edgeferry.device.supervision import Supervision
from edgeferry.domain.manifest import ModuleSpec
from tests.device.test_retries import facts

SPEC = ModuleSpec(name="taxi", image="a:1")


def ended(at):
    return {"taxi": dataclasses.replace(facts("exited", 1), finished_at=at)}


RUNS = {"taxi": facts()}


def crashes(supervision, found):
    return list(supervision.find_crashes(found, lambda _: SPEC))


@pytest.fixture
def supervision():
    """One that has looked once."""
    supervision = Supervision(None, lambda _: 1.0)
    assert crashes(supervision, RUNS) == []
    return supervision


def test_an_end_is_told_once(supervision):
    assert crashes(supervision, ended("t1")) == [("taxi", "t1")]
    assert crashes(supervision, ended("t1")) == []
    assert crashes(supervision, RUNS) == []
    assert crashes(supervision, ended("t2")) == [("taxi", "t2")]


def test_what_had_ended_when_first_seen_or_after_the_engine_was_away_did_not_crash(supervision):
    assert crashes(Supervision(None, lambda _: 1.0), ended("t1")) == []
    supervision.forget_ends()
    assert crashes(supervision, ended("t1")) == []
    assert crashes(supervision, ended("t2")) == [("taxi", "t2")]


def test_an_end_that_somebody_wished_for_is_no_crash_then_or_later(supervision):
    with supervision.restarting("taxi"):
        assert crashes(supervision, ended("t1")) == []
    assert crashes(supervision, ended("t1")) == []
    assert crashes(supervision, ended("t2")) == [("taxi", "t2")]
